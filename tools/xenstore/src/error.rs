//! What can go wrong.

use std::fmt;
use std::io;

use xenstore_wire::{BadPath, ErrorName, Kind};

/// What went wrong.
#[derive(Debug)]
pub enum Error {
    /// The daemon refused a request about something.
    Refused { kind: Kind, about: String, error: ErrorName },
    /// The daemon cannot be reached, or is gone.
    Connection(io::Error),
    /// The daemon said what makes no sense.
    Protocol(&'static str),
    /// What was given is no path.
    Path(BadPath),
    /// Others got in the way of a transaction, time and again.
    Contended,
}

impl Error {
    /// Gives the daemon's error, if it was that which refused.
    #[must_use]
    pub const fn name(&self) -> Option<ErrorName> {
        match self {
            Self::Refused { error, .. } => Some(*error),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { kind, about, error } => write!(formatter, "xenstore refused {kind:?} of {about}: {error}"),
            Self::Connection(error) => write!(formatter, "xenstore cannot be reached: {error}; is xenstored running?"),
            Self::Protocol(what) => write!(formatter, "xenstore said what makes no sense: {what}"),
            Self::Path(error) => error.fmt(formatter),
            Self::Contended => formatter.write_str("others got in the way of a transaction too often"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Connection(error)
    }
}

impl From<BadPath> for Error {
    fn from(error: BadPath) -> Self {
        Self::Path(error)
    }
}
