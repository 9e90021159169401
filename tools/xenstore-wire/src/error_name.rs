//! The errors that the daemon may answer with: they travel by name.

use std::fmt;

macro_rules! names {
    ($( $(#[$meta:meta])* $variant:ident = $name:literal, $number:literal; )*) => {
        /// An error of the daemon.
        ///
        /// **Source:** `io/xs_wire.h`, `xsd_errors`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorName { $( $(#[$meta])* $variant, )* }

        impl ErrorName {
            /// Every error there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Spells it as it travels.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Gives Linux's number for it.
            #[must_use]
            pub const fn number(self) -> i32 {
                match self { $(Self::$variant => $number,)* }
            }
        }
    };
}

names! {
    /// The request makes no sense.
    Invalid = "EINVAL", 22;
    /// The caller may not see or change the node, or not make this request.
    Access = "EACCES", 13;
    /// The watch is there already.
    Exists = "EEXIST", 17;
    /// Of no use here; part of the protocol.
    IsDirectory = "EISDIR", 21;
    /// There is no such node, watch, transaction or domain.
    Missing = "ENOENT", 2;
    /// Out of memory.
    Memory = "ENOMEM", 12;
    /// A quota is used up.
    Space = "ENOSPC", 28;
    /// A file or a device failed.
    InputOutput = "EIO", 5;
    /// Of no use here; part of the protocol.
    NotEmpty = "ENOTEMPTY", 39;
    /// The daemon knows no such request.
    NoSuchRequest = "ENOSYS", 38;
    /// The caller may only read.
    ReadOnly = "EROFS", 30;
    /// It cannot be done just now.
    Busy = "EBUSY", 16;
    /// The transaction met another: do it again.
    Again = "EAGAIN", 11;
    /// It is connected already.
    Connected = "EISCONN", 106;
    /// Too long, or too many watches.
    TooBig = "E2BIG", 7;
    /// The owner of a node may not be changed by this caller.
    NotPermitted = "EPERM", 1;
}

impl ErrorName {
    /// Reads the body of an error message, its NUL byte included.
    #[must_use]
    pub fn from_body(body: &[u8]) -> Option<Self> {
        let name = body.strip_suffix(&[0])?;
        Self::ALL.iter().copied().find(|error| error.name().as_bytes() == name)
    }
}

impl fmt::Display for ErrorName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl std::error::Error for ErrorName {}

#[cfg(test)]
mod tests {
    use super::ErrorName;

    #[test]
    fn each_name_is_read_as_it_is_spelled() {
        for &error in ErrorName::ALL {
            assert_eq!(ErrorName::from_body(format!("{error}\0").as_bytes()), Some(error));
        }
        assert_eq!(ErrorName::from_body(b"EINVAL"), None);
        assert_eq!(ErrorName::from_body(b"EWHAT\0"), None);
    }
}
