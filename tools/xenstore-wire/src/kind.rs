//! Kinds of messages.

use xen_abi::io::xenstore as wire;

macro_rules! kinds {
    ($( $(#[$meta:meta])* $variant:ident = $number:ident; )*) => {
        /// What a message is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind { $( $(#[$meta])* $variant, )* }

        impl Kind {
            /// Every kind there is.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Gives the number that stands for it in a header.
            #[must_use]
            pub const fn number(self) -> u32 {
                match self { $(Self::$variant => wire::$number,)* }
            }

            /// Finds the kind that a header names, if there is such a kind.
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
    /// `path|`, answered by the names of its children.
    Directory = XS_DIRECTORY;
    /// `path|`, answered by the value.
    Read = XS_READ;
    /// `path|`, answered by permissions.
    GetPermissions = XS_GET_PERMS;
    /// `path|token|`.
    Watch = XS_WATCH;
    /// `path|token|`.
    Unwatch = XS_UNWATCH;
    /// `|`, answered by the number of the transaction.
    TransactionStart = XS_TRANSACTION_START;
    /// `T|` or `F|`.
    TransactionEnd = XS_TRANSACTION_END;
    /// `domid|gfn|port|`.
    Introduce = XS_INTRODUCE;
    /// `domid|`.
    Release = XS_RELEASE;
    /// `domid|`, answered by a path.
    GetDomainPath = XS_GET_DOMAIN_PATH;
    /// `path|value`.
    Write = XS_WRITE;
    /// `path|`.
    MakeDirectory = XS_MKDIR;
    /// `path|`.
    Remove = XS_RM;
    /// `path|permission|...`.
    SetPermissions = XS_SET_PERMS;
    /// `path|token|`, sent by the daemon alone.
    WatchEvent = XS_WATCH_EVENT;
    /// The name of an error, sent by the daemon alone.
    Error = XS_ERROR;
    /// `domid|`, answered by `T|` or `F|`.
    IsDomainIntroduced = XS_IS_DOMAIN_INTRODUCED;
    /// `domid|`.
    Resume = XS_RESUME;
    /// `domid|target|`.
    SetTarget = XS_SET_TARGET;
    /// `|`: forget all watches and transactions of the caller.
    ResetWatches = XS_RESET_WATCHES;
    /// `path|offset|`, answered by a generation and names.
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
