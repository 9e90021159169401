//! Errors of the client.

use std::fmt;
use std::io;

use xenstore_wire::{BadPath, ErrorName, Kind};

/// An error of the client.
#[derive(Debug)]
pub enum Error {
    /// The daemon refused a request. `about` is its path or domain.
    Refused { kind: Kind, about: String, error: ErrorName },
    /// The connection to the daemon failed.
    Connection(io::Error),
    /// The daemon broke the protocol.
    Protocol(&'static str),
    /// An argument is not a valid path.
    Path(BadPath),
    /// A transaction conflicted with others too often.
    Contended,
}

impl Error {
    /// Returns the daemon's error, if it refused the request.
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
