//! What is wrong with the command line, as a line of the boot log.

use core::fmt;

/// What is wrong with a word of the command line, or with one of a list behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Complaint<'a> {
    /// No option has this name.
    Unknown {
        /// The name.
        name: &'a str,
    },
    /// The option is known, its value is not. The option keeps what it had.
    BadValue {
        /// The option's name.
        name: &'a str,
        /// What stood behind it.
        value: &'a str,
        /// What may stand there.
        allowed: &'static str,
    },
    /// A part of the option's value is not understood. The other parts count.
    BadPart {
        /// The option's name.
        name: &'a str,
        /// The part.
        part: &'a str,
        /// What may stand there.
        allowed: &'static str,
    },
    /// Xen has this option, and this build has nothing that it could change.
    NotBuilt {
        /// The option's name.
        name: &'a str,
    },
    /// Xen knows this part of the option's value, and this build has nothing that it could change. The other parts
    /// count.
    PartNotBuilt {
        /// The option's name.
        name: &'a str,
        /// The part.
        part: &'a str,
    },
}

impl fmt::Display for Complaint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { name } => write!(f, "parameter \"{name}\" unknown!"),
            Self::BadValue { name, value, allowed } => {
                write!(f, "parameter \"{name}\" has invalid value \"{value}\": allowed is {allowed}")
            }
            Self::BadPart { name, part, allowed } => {
                write!(f, "parameter \"{name}\": \"{part}\" is passed over: allowed is {allowed}")
            }
            Self::NotBuilt { name } => write!(f, "parameter \"{name}\" is not in this build: it changes nothing"),
            Self::PartNotBuilt { name, part } => {
                write!(f, "parameter \"{name}\": \"{part}\" is not in this build: it changes nothing")
            }
        }
    }
}
