//! Hands the machine's serial line to the one who sits before the terminal.

use std::io::{IsTerminal, Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::Duration;

use anyhow::{Context, Result};
use xenolith_tests::Machine;

use crate::process;

/// Ctrl-q: what no program in dom0 wants for itself. Ctrl-a is Xen's, ctrl-] is that of `xl console`.
const LEAVE: u8 = 0x11;

/// How often the end of the machine and the wish to leave are looked for.
const LOOK: Duration = Duration::from_millis(100);

/// Connects the terminal with the machine until ctrl-q is typed, the input ends, or the machine does.
///
/// **Errors:** the terminal cannot be set, the machine takes no input.
pub fn hand_over(machine: &mut Machine) -> Result<()> {
    println!(
        "This is dom0's console now. Try: xl list, xl info, xl top, xl dmesg, xl console web (leave that by ctrl-]).\n\
         To leave: ctrl-q stops the machine at once; `poweroff -f` in dom0 ends it in order.\n"
    );
    let setting = Setting::raw()?;
    machine.console.show_from(machine.console.position());
    machine.send(b"\r")?;
    let left = pass_keys(machine)?;
    while !machine.console.is_closed() && left.try_recv() == Err(TryRecvError::Empty) {
        std::thread::sleep(LOOK);
    }
    drop(setting);
    machine.stop();
    println!("\nThe machine is stopped. Its whole console: {}", machine.log().display());
    Ok(())
}

/// Passes what is typed to the machine from a thread of its own, which says when the typing is over.
fn pass_keys(machine: &mut Machine) -> Result<Receiver<()>> {
    let mut keyboard = machine.take_keyboard().context("the machine takes no input")?;
    let (say, left) = mpsc::channel();
    std::thread::spawn(move || {
        let mut keys = [0; 256];
        let mut input = std::io::stdin().lock();
        while let Ok(count @ 1..) = input.read(&mut keys) {
            let typed = keys.get(..count).unwrap_or_default();
            let before = typed.split(|&key| key == LEAVE).next().unwrap_or_default();
            let sent = keyboard.write_all(before).and_then(|()| keyboard.flush());
            if before.len() < typed.len() || sent.is_err() {
                break;
            }
        }
        // Nobody may be waiting any more.
        let _ = say.send(());
    });
    Ok(left)
}

/// The terminal's setting before it was made to pass every key on; given back when this is dropped.
struct Setting(Option<String>);

impl Setting {
    fn raw() -> Result<Self> {
        if !std::io::stdin().is_terminal() {
            return Ok(Self(None));
        }
        let before = stty(&["-g"]).context("cannot read the terminal's setting")?;
        // Output keeps its processing, so that lines of other threads begin at the left.
        stty(&["raw", "-echo", "opost", "onlcr"]).context("cannot set the terminal")?;
        Ok(Self(Some(before.trim().to_owned())))
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            // There is no better place to complain to than the terminal itself.
            let _ = stty(&[before]);
        }
    }
}

fn stty(words: &[&str]) -> Result<String> {
    let output = Command::new("stty").args(words).stdin(Stdio::inherit()).output();
    let output =
        output.with_context(|| format!("cannot start {}", process::spelled(Command::new("stty").args(words))))?;
    anyhow::ensure!(output.status.success(), "stty {}: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
