//! The errors of the daemon: they are sent by name.

use std::fmt;

macro_rules! names {
    ($( $(#[$meta:meta])* $variant:ident = $name:literal, $number:literal; )*) => {
        /// An error of the daemon.
        ///
        /// **Source:** `io/xs_wire.h`, `xsd_errors`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum ErrorName { $( $(#[$meta])* $variant, )* }

        impl ErrorName {
            /// All errors.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the name that is sent.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Returns Linux's errno.
            #[must_use]
            pub const fn number(self) -> i32 {
                match self { $(Self::$variant => $number,)* }
            }
        }
    };
}

names! {
    /// The request is malformed.
    Invalid = "EINVAL", 22;
    /// The caller may not see or change the node, or may not make this request.
    Access = "EACCES", 13;
    /// The watch exists already.
    Exists = "EEXIST", 17;
    /// Not used by this daemon; part of the protocol.
    IsDirectory = "EISDIR", 21;
    /// There is no such node, watch, transaction or domain.
    Missing = "ENOENT", 2;
    /// Out of memory.
    Memory = "ENOMEM", 12;
    /// A quota is exceeded.
    Space = "ENOSPC", 28;
    /// A file or a device failed.
    InputOutput = "EIO", 5;
    /// Not used by this daemon; part of the protocol.
    NotEmpty = "ENOTEMPTY", 39;
    /// The daemon has no such request.
    NoSuchRequest = "ENOSYS", 38;
    /// The connection is read-only.
    ReadOnly = "EROFS", 30;
    /// The request cannot be done at the moment.
    Busy = "EBUSY", 16;
    /// The transaction conflicts with another one; the client must try it again.
    Again = "EAGAIN", 11;
    /// The domain is introduced already.
    Connected = "EISCONN", 106;
    /// A string is too long, or there are too many watches.
    TooBig = "E2BIG", 7;
    /// The caller may not change the owner of the node.
    NotPermitted = "EPERM", 1;
}

impl ErrorName {
    /// Parses the body of an error message, with its NUL byte.
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
