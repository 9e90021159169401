//! Which program emulates the machine, and what of it the machine holds once it runs.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::str::FromStr;

/// The program that emulates the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Emulator {
    /// QEMU's TCG: fast, with AMD's IOMMU
    #[default]
    Qemu,
    /// Bochs: an interpreter that was written apart from QEMU, so that it does not share its faults
    Bochs,
}

impl Emulator {
    /// Its name on the command line and in the names of logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Bochs => "bochs",
        }
    }

    /// Its processor with AMD's virtualisation and nested paging, as its own command line or file calls it.
    #[must_use]
    pub const fn usual_cpu(self) -> &'static str {
        match self {
            Self::Qemu => "qemu64,+svm,+npt",
            Self::Bochs => "ryzen",
        }
    }
}

impl FromStr for Emulator {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let named = [Self::Qemu, Self::Bochs].into_iter().find(|emulator| emulator.name() == name);
        named.ok_or_else(|| "the emulators are qemu and bochs".to_owned())
    }
}

/// What is typed into a machine's serial line goes here.
pub type Keyboard = Box<dyn Write + Send>;

/// An emulator that was started.
pub(crate) struct Started {
    pub(crate) child: Child,
    /// What the machine writes to its serial line.
    pub(crate) serial: Box<dyn Read + Send>,
    pub(crate) keyboard: Option<Keyboard>,
    /// Where Bochs writes why it ended; QEMU says it by its exit status.
    pub(crate) own_log: Option<PathBuf>,
}

/// Returns the command of an emulator, made to die with the process that starts it where the system has the tool for
/// that.
pub(crate) fn command(program: &str) -> Command {
    if !Path::new("/usr/bin/setpriv").exists() {
        return Command::new(program);
    }
    let mut command = Command::new("/usr/bin/setpriv");
    command.args(["--pdeathsig", "KILL", program]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulator_is_found_by_its_name_and_no_other_is() {
        assert_eq!("bochs".parse(), Ok(Emulator::Bochs));
        assert_eq!("qemu".parse(), Ok(Emulator::Qemu));
        assert!("simics".parse::<Emulator>().is_err());
    }
}
