//! Changes of the daemon's state, as the journal records them.

use std::sync::Arc;

use xenstore_wire::{Permission, StorePath};

/// A change. The changes of a request are in the journal all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node was created or set.
    Put { path: StorePath, value: Arc<[u8]>, permissions: Arc<[Permission]> },
    /// A node was removed with its descendants.
    Remove { path: StorePath },
    /// The permissions of a special watch were set.
    Special { name: String, permissions: Arc<[Permission]> },
    /// A watch was added, with its path as requested.
    Watch { connection: u32, path: Vec<u8>, token: Vec<u8> },
    /// A watch was removed.
    Unwatch { connection: u32, path: Vec<u8>, token: Vec<u8> },
    /// A transaction was opened.
    TransactionStarted { connection: u32, transaction: u32 },
    /// A transaction was closed.
    TransactionEnded { connection: u32, transaction: u32 },
    /// A connection was closed or reset: its watches and transactions are gone.
    Reset { connection: u32 },
    /// A socket was connected.
    Connected { connection: u32 },
    /// A domain was seen for the first time.
    DomainSeen { domain: u16 },
    /// A domain was introduced; `port` is the domain's own.
    Introduced { domain: u16, gfn: u64, port: u32 },
    /// A domain is gone.
    DomainGone { domain: u16 },
    /// The shutdown state of a domain was seen.
    ShutDown { domain: u16, is: bool },
    /// A target was set: `domain` acts for `target`.
    Target { domain: u16, target: u16 },
    /// A quota was set by name.
    Limit { name: String, soft: bool, value: u64 },
}
