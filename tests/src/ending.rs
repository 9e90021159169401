//! How a machine came to its end.

use std::fmt;
use std::process::ExitStatus;
use std::time::Duration;

/// What a guest writes to the debug-exit port when all is well.
///
/// The emulator ends with twice the value plus one, so 0 would look like the emulator's own failure.
pub const DEBUG_EXIT_GOOD: u32 = 0x10;

/// How a machine came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The awaited line was seen and the machine was stopped.
    Seen(String),
    /// The machine switched itself off, or restarted (the emulator runs with `-no-reboot`).
    Off,
    /// The guest wrote this value to the debug-exit port.
    DebugExit(u32),
    /// The time was up and the machine was stopped.
    TimedOut(Duration),
    /// It wrote nothing for this long and was stopped.
    Silent(Duration),
    /// It wrote more to its serial line than any sound machine does, and was stopped.
    Flooded,
    /// The emulator itself failed, or was killed.
    EmulatorFailed(String),
}

impl Ending {
    /// Returns true if nothing speaks of a fault.
    #[must_use]
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Seen(_) | Self::Off | Self::DebugExit(DEBUG_EXIT_GOOD))
    }

    /// Reads the emulator's exit status.
    #[must_use]
    pub fn from_status(status: ExitStatus) -> Self {
        match status.code() {
            Some(0) => Self::Off,
            Some(code) if code > 1 && code % 2 == 1 => Self::DebugExit((code as u32) >> 1),
            _ => Self::EmulatorFailed(status.to_string()),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seen(line) => write!(f, "the awaited line came: {line}"),
            Self::Off => write!(f, "the machine switched itself off or restarted"),
            Self::DebugExit(DEBUG_EXIT_GOOD) => write!(f, "the guest reported success through the debug-exit port"),
            Self::DebugExit(value) => write!(f, "the guest reported failure {value:#x} through the debug-exit port"),
            Self::TimedOut(after) => write!(f, "nothing ended it within {} s, so it was stopped", after.as_secs()),
            Self::Silent(after) => write!(f, "it said nothing for {} s and was stopped", after.as_secs()),
            Self::Flooded => write!(f, "it flooded its serial line and was stopped"),
            Self::EmulatorFailed(how) => write!(f, "the emulator failed ({how})"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn exited(code: i32) -> Ending {
        Ending::from_status(ExitStatus::from_raw(code << 8))
    }

    #[test]
    fn the_debug_exit_port_is_told_from_the_emulators_own_failure() {
        assert_eq!(exited(33), Ending::DebugExit(DEBUG_EXIT_GOOD));
        assert!(exited(33).is_good());
        assert!(!exited(35).is_good());
        assert!(matches!(exited(1), Ending::EmulatorFailed(_)));
    }

    #[test]
    fn a_machine_that_was_killed_did_not_end_well() {
        assert!(!Ending::from_status(ExitStatus::from_raw(9)).is_good());
        assert!(exited(0).is_good());
    }
}
