//! Types of messages.

use xen_abi::io::xenstore as wire;

macro_rules! kinds {
    ($( $(#[$meta:meta])* $variant:ident = $number:ident; )*) => {
        /// Type of a message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $( $(#[$meta])* $variant, )* }

        impl Kind {
            /// All types.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the number of the type in a header.
            #[must_use]
            pub const fn number(self) -> u32 {
                match self { $(Self::$variant => wire::$number,)* }
            }

            /// Returns the type with this number; None if there is none.
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $(wire::$number => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

kinds! {
    /// `command|[parameters|]` to the daemon itself.
    Control = XS_CONTROL;
    /// `path|`. Response: the names of the node's children.
    Directory = XS_DIRECTORY;
    /// `path|`. Response: the value.
    Read = XS_READ;
    /// `path|`. Response: the permissions.
    GetPermissions = XS_GET_PERMS;
    /// `path|token|`.
    Watch = XS_WATCH;
    /// `path|token|`.
    Unwatch = XS_UNWATCH;
    /// `|`. Response: the ID of the transaction.
    TransactionStart = XS_TRANSACTION_START;
    /// `T|` to commit, or `F|` to abort.
    TransactionEnd = XS_TRANSACTION_END;
    /// `domid|gfn|port|`.
    Introduce = XS_INTRODUCE;
    /// `domid|`.
    Release = XS_RELEASE;
    /// `domid|`. Response: the path of the domain.
    GetDomainPath = XS_GET_DOMAIN_PATH;
    /// `path|value`.
    Write = XS_WRITE;
    /// `path|`.
    MakeDirectory = XS_MKDIR;
    /// `path|`.
    Remove = XS_RM;
    /// `path|permission|...`.
    SetPermissions = XS_SET_PERMS;
    /// `path|token|`, sent only by the daemon.
    WatchEvent = XS_WATCH_EVENT;
    /// The name of an error, sent only by the daemon.
    Error = XS_ERROR;
    /// `domid|`. Response: `T|` or `F|`.
    IsDomainIntroduced = XS_IS_DOMAIN_INTRODUCED;
    /// `domid|`.
    Resume = XS_RESUME;
    /// `domid|target|`.
    SetTarget = XS_SET_TARGET;
    /// `|`: remove all watches and transactions of the caller.
    ResetWatches = XS_RESET_WATCHES;
    /// `path|offset|`. Response: a generation, then names of children.
    DirectoryPart = XS_DIRECTORY_PART;
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn each_kind_has_its_own_number() {
        for &kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind.number()), Some(kind));
        }
        assert_eq!(Kind::from_number(20), None);
        assert_eq!(Kind::from_number(0xffff), None);
    }
}
