//! What changes in the daemon's state: the alphabet of its journal.

use std::sync::Arc;

use xenstore_wire::{Permission, StorePath};

/// One change. All changes of a request stand in the journal together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A node was made or set.
    Put { path: StorePath, value: Arc<[u8]>, permissions: Arc<[Permission]> },
    /// A node and all below it is gone.
    Remove { path: StorePath },
    /// The permissions of a special watch were set.
    Special { name: String, permissions: Arc<[Permission]> },
    /// A connection watches a path, spelled as it was sent.
    Watch { connection: u32, path: Vec<u8>, token: Vec<u8> },
    /// It no longer does.
    Unwatch { connection: u32, path: Vec<u8>, token: Vec<u8> },
    /// A transaction is open.
    TransactionStarted { connection: u32, transaction: u32 },
    /// It is no longer.
    TransactionEnded { connection: u32, transaction: u32 },
    /// A connection is gone, or begins anew: no watches, no transactions.
    Reset { connection: u32 },
    /// A socket was connected.
    Connected { connection: u32 },
    /// A domain is known.
    DomainSeen { domain: u16 },
    /// A domain's ring is served; `port` is the domain's own.
    Introduced { domain: u16, gfn: u64, port: u32 },
    /// A domain is gone.
    DomainGone { domain: u16 },
    /// Whether a domain was seen to be shut down.
    ShutDown { domain: u16, is: bool },
    /// A domain acts for another.
    Target { domain: u16, target: u16 },
    /// A limit was set by name.
    Limit { name: String, soft: bool, value: u64 },
}
