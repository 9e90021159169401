//! What one guest may have at most.

use std::time::Duration;

use rings::Order;

/// The budget of one guest. What goes beyond it is refused by `EMFILE` or `ENOBUFS`, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sockets of every kind, also closed ones that send their last bytes.
    pub sockets: usize,
    /// Connections, also ones that are being made and ones that an accept waits for.
    pub connections: usize,
    /// Pages of data rings and indexes that are mapped.
    pub pages: usize,
    /// Bytes that closed sockets have still to send.
    pub bytes: usize,
    /// Connections that may wait at a socket that listens.
    pub backlog: u32,
    /// The largest data ring.
    pub order: Order,
    /// How long a closed socket may take to send its last bytes.
    pub linger: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sockets: 8192,
            connections: 4096,
            pages: 1 << 17,
            bytes: 16 << 20,
            backlog: 1024,
            order: Order::MAX,
            linger: Duration::from_secs(60),
        }
    }
}
