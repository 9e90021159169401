//! Why a saved domain cannot be read or written: at which record, where in the file, and what is wrong.

use std::fmt;
use std::io;

/// What is wrong with a record.
#[derive(Debug)]
pub enum Cause {
    /// The file ends in it.
    Cut,
    /// It is no file of this form, or one of another.
    Form(&'static str),
    /// Its version is another than the ones that are read.
    Version { found: u32, known: u32 },
    /// Its length is not possible.
    Length(u64),
    /// What is in it is not possible.
    Content(&'static str),
    /// It is not known, and may not be left out.
    Unknown,
    /// It comes at a place where it may not, or a second time.
    Order,
    /// One that belongs before it is missing.
    Missing(&'static str),
    /// The file cannot be read or written.
    File(io::Error),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("the file ends in it; copy it anew"),
            Self::Form(what) => write!(f, "{what}; take a file that `xl save` or `xenolith-domain save` wrote"),
            Self::Version { found, known } => {
                write!(f, "version {found}, where {known} is read; save the domain anew by Xen 4.17 or later")
            }
            Self::Length(length) => write!(f, "its length {length} is not possible; copy the file anew"),
            Self::Content(what) => write!(f, "{what}; copy the file anew"),
            Self::Unknown => f.write_str("it is not known here; save the domain by Xen 4.17"),
            Self::Order => f.write_str("it comes twice or at the wrong place; copy the file anew"),
            Self::Missing(what) => write!(f, "{what} is missing before it; copy the file anew"),
            Self::File(error) => write!(f, "{error}"),
        }
    }
}

/// Why a saved domain cannot be read or written.
#[derive(Debug)]
pub struct StreamError {
    /// The name of the record or the header.
    pub record: String,
    /// Where it begins, in bytes from the beginning.
    pub offset: u64,
    pub cause: Cause,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {}", self.record, self.offset, self.cause)
    }
}

impl std::error::Error for StreamError {}
