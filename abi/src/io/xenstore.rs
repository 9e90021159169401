//! The ring and the messages of xenstore.
//!
//! **Source:** `io/xs_wire.h`.

use crate::describe::{constants, wire};

constants! {
    table CONSTANTS;
    /// Control of the daemon.
    pub const XS_CONTROL: u32 = 0;
    /// Lists a directory.
    pub const XS_DIRECTORY: u32 = 1;
    /// Reads a node.
    pub const XS_READ: u32 = 2;
    /// Reads the rights of a node.
    pub const XS_GET_PERMS: u32 = 3;
    /// Watches a node.
    pub const XS_WATCH: u32 = 4;
    /// Removes a watch.
    pub const XS_UNWATCH: u32 = 5;
    /// Starts a transaction.
    pub const XS_TRANSACTION_START: u32 = 6;
    /// Ends a transaction.
    pub const XS_TRANSACTION_END: u32 = 7;
    /// Introduces a domain to the daemon.
    pub const XS_INTRODUCE: u32 = 8;
    /// Releases a domain.
    pub const XS_RELEASE: u32 = 9;
    /// Asks for a domain's directory.
    pub const XS_GET_DOMAIN_PATH: u32 = 10;
    /// Writes a node.
    pub const XS_WRITE: u32 = 11;
    /// Makes a node.
    pub const XS_MKDIR: u32 = 12;
    /// Removes a node.
    pub const XS_RM: u32 = 13;
    /// Sets the rights of a node.
    pub const XS_SET_PERMS: u32 = 14;
    /// A watched node changed; sent by the daemon.
    pub const XS_WATCH_EVENT: u32 = 15;
    /// A request failed; sent by the daemon.
    pub const XS_ERROR: u32 = 16;
    /// Asks whether a domain is known.
    pub const XS_IS_DOMAIN_INTRODUCED: u32 = 17;
    /// Tells that a domain goes on after a suspend.
    pub const XS_RESUME: u32 = 18;
    /// Lets a domain act for another.
    pub const XS_SET_TARGET: u32 = 19;
    /// Forgets all watches of the caller.
    pub const XS_RESET_WATCHES: u32 = 21;
    /// Lists a part of a directory.
    pub const XS_DIRECTORY_PART: u32 = 22;
    /// A type that will never be.
    pub const XS_INVALID: u32 = 0xffff;
    /// Size of each ring in bytes.
    pub const XENSTORE_RING_SIZE: usize = 1024;
    /// The longest body of a message in bytes.
    pub const XENSTORE_PAYLOAD_MAX: usize = 4096;
    /// The longest absolute path in bytes.
    pub const XENSTORE_ABS_PATH_MAX: usize = 3072;
    /// The longest relative path in bytes.
    pub const XENSTORE_REL_PATH_MAX: usize = 2048;
    /// [`XenstoreDomainInterface::server_features`]: the ring can be connected again.
    pub const XENSTORE_SERVER_FEATURE_RECONNECTION: u32 = 1;
    /// [`XenstoreDomainInterface::server_features`]: `error` is there.
    pub const XENSTORE_SERVER_FEATURE_ERROR: u32 = 2;
    /// [`XenstoreDomainInterface::connection`]: connected.
    pub const XENSTORE_CONNECTED: u32 = 0;
    /// [`XenstoreDomainInterface::connection`]: being connected again.
    pub const XENSTORE_RECONNECT: u32 = 1;
    /// [`XenstoreDomainInterface::error`]: none.
    pub const XENSTORE_ERROR_NONE: u32 = 0;
    /// [`XenstoreDomainInterface::error`]: communication failed.
    pub const XENSTORE_ERROR_COMM: u32 = 1;
    /// [`XenstoreDomainInterface::error`]: an index is wrong.
    pub const XENSTORE_ERROR_RINGIDX: u32 = 2;
    /// [`XenstoreDomainInterface::error`]: a message is wrong.
    pub const XENSTORE_ERROR_PROTO: u32 = 3;
}

wire! {
    fixed;

    /// What stands before the body of each message.
    pub struct XsdSockmsg: "struct xsd_sockmsg" {
        /// An `XS_*`.
        pub kind: u32 = "type",
        /// The request's number, which the answer repeats.
        pub req_id: u32,
        /// The transaction, 0 for none.
        pub tx_id: u32,
        /// Length of the body in bytes.
        pub len: u32,
    }

    /// The shared page of xenstore. Indexes count up and are masked by the size.
    pub struct XenstoreDomainInterface: "struct xenstore_domain_interface" {
        /// What the domain writes.
        pub req: [u8; XENSTORE_RING_SIZE],
        /// What the daemon writes.
        pub rsp: [u8; XENSTORE_RING_SIZE],
        /// How much of `req` was read.
        pub req_cons: u32,
        /// How much of `req` was written; the domain writes it.
        pub req_prod: u32,
        /// How much of `rsp` was read; the domain writes it.
        pub rsp_cons: u32,
        /// How much of `rsp` was written.
        pub rsp_prod: u32,
        /// What the daemon can do.
        pub server_features: u32,
        /// Whether the ring is connected.
        pub connection: u32,
        /// Why the daemon gave the ring up.
        pub error: u32,
    }
}
