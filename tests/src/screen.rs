//! The screen of a machine in Bochs, which shows it as text on a pseudo-terminal that it opens itself.
//!
//! Bochs waits for ever once the terminal is full, and with it the machine. So somebody has to read what is shown.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// What the opened end of every pseudo-terminal is called.
const MASTER: &str = "/dev/ptmx";

/// `O_NOCTTY`, for Linux on x86: the terminal does not become that of this process.
const NO_CONTROLLING_TERMINAL: i32 = 0o400;

/// Reads what the process shows, and drops it, for as long as the process lives. Does nothing where it has no screen.
///
/// **Errors:** the terminal cannot be opened, or not be set.
pub(crate) fn drop_what_is_shown(process: u32) -> Result<()> {
    let Some(terminal) = terminal(&PathBuf::from(format!("/proc/{process}"))) else { return Ok(()) };
    let opened = OpenOptions::new().read(true).custom_flags(NO_CONTROLLING_TERMINAL).open(&terminal);
    let mut shown = opened.with_context(|| format!("cannot open Bochs' screen {}", terminal.display()))?;
    set_raw(&terminal)?;
    std::thread::spawn(move || {
        // Ends by an error once the process has ended.
        let _ = io::copy::<File, _>(&mut shown, &mut io::sink());
    });
    Ok(())
}

/// Keeps the terminal from typing what is shown back at the machine.
fn set_raw(terminal: &Path) -> Result<()> {
    let set = Command::new("stty").arg("-F").arg(terminal).args(["raw", "-echo"]).output();
    let set = set.context("cannot start stty")?;
    if !set.status.success() {
        bail!("stty failed: {}", String::from_utf8_lossy(&set.stderr));
    }
    Ok(())
}

/// Returns the other end of the pseudo-terminal that a process holds, by what Linux says of it in `process`.
fn terminal(process: &Path) -> Option<PathBuf> {
    let descriptors = fs::read_dir(process.join("fd")).ok()?.flatten();
    let master =
        descriptors.into_iter().find(|fd| fs::read_link(fd.path()).is_ok_and(|file| file == Path::new(MASTER)))?;
    let said = fs::read_to_string(process.join("fdinfo").join(master.file_name())).ok()?;
    let index = said.lines().find_map(|line| line.strip_prefix("tty-index:"))?.trim();
    Some(Path::new("/dev/pts").join(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_terminal_of_a_process_that_opened_one_is_found() {
        let master =
            OpenOptions::new().read(true).write(true).custom_flags(NO_CONTROLLING_TERMINAL).open(MASTER).unwrap();
        let found = terminal(Path::new("/proc/self")).unwrap();
        assert!(found.starts_with("/dev/pts") && found.exists(), "{}", found.display());
        drop(master);
    }

    #[test]
    fn a_process_without_one_has_no_screen() {
        assert_eq!(terminal(Path::new("/proc/1/no-such-process")), None);
        assert!(drop_what_is_shown(u32::MAX).is_ok());
    }
}
