//! Sockets of one domain that another keeps: the ring of commands, and the page by which a connection's data rings are found.
//!
//! **Source:** `io/pvcalls.h`.

use crate::GrantRef;
use crate::describe::{constants, union_members, wire};
use crate::union::Union;

constants! {
    table CONSTANTS;
    /// Makes a socket; [`PvcallsSocket`].
    pub const PVCALLS_SOCKET: u32 = 0;
    /// Connects it; [`PvcallsConnect`].
    pub const PVCALLS_CONNECT: u32 = 1;
    /// Lets go of it; [`PvcallsRelease`].
    pub const PVCALLS_RELEASE: u32 = 2;
    /// Gives it an address; [`PvcallsBind`].
    pub const PVCALLS_BIND: u32 = 3;
    /// Waits for connections; [`PvcallsListen`].
    pub const PVCALLS_LISTEN: u32 = 4;
    /// Takes a connection; [`PvcallsAccept`].
    pub const PVCALLS_ACCEPT: u32 = 5;
    /// Asks to be told when there is a connection to take; [`PvcallsPoll`].
    pub const PVCALLS_POLL: u32 = 6;
    /// How many entries the ring of commands has.
    pub const PVCALLS_RING_ENTRIES: u32 = 32 => "__CONST_RING_SIZE(xen_pvcalls, 4096)";
}

/// What an answer says of a command that is not offered: Linux's ENOTSUPP, negative.
pub const PVCALLS_NOT_SUPPORTED: i32 = -524;

wire! {
    fixed;

    /// A command.
    pub struct PvcallsRequest: "struct xen_pvcalls_request" {
        /// What the response repeats.
        pub req_id: u32,
        /// A `PVCALLS_*`.
        pub cmd: u32,
        /// By command.
        pub u: Union<56>,
    }

    /// The answer to a command.
    pub struct PvcallsResponse: "struct xen_pvcalls_response" {
        /// The request's.
        pub req_id: u32,
        /// The request's.
        pub cmd: u32,
        /// 0 or more, or a negative error number of Linux's.
        pub ret: i32,
        /// Padding.
        pub pad: u32,
        /// The socket that the request named.
        pub id: u64 = "u.socket.id",
    }

    /// [`PVCALLS_SOCKET`].
    pub struct PvcallsSocket: "struct xen_pvcalls_socket" {
        /// The socket's name, which the frontend chose.
        pub id: u64,
        /// The address family.
        pub domain: u32,
        /// The type, of streams or of packets.
        pub kind: u32 = "type",
        /// The protocol.
        pub protocol: u32,
        /// Padding.
        pub pad: [u8; 4],
    }

    /// [`PVCALLS_CONNECT`].
    pub struct PvcallsConnect: "struct xen_pvcalls_connect" {
        /// The socket.
        pub id: u64,
        /// The address, as Linux lays it out.
        pub addr: [u8; 28],
        /// Bytes of the address.
        pub len: u32,
        /// Zero.
        pub flags: u32,
        /// The page of the data rings.
        pub gref: GrantRef = "ref",
        /// The frontend's event channel of the data rings.
        pub evtchn: u32,
        /// Padding.
        pub pad: [u8; 4],
    }

    /// [`PVCALLS_RELEASE`].
    pub struct PvcallsRelease: "struct xen_pvcalls_release" {
        /// The socket.
        pub id: u64,
        /// Not 0: the pages of its data rings are to stay mapped for another.
        pub reuse: u8,
        /// Padding.
        pub pad: [u8; 7],
    }

    /// [`PVCALLS_BIND`].
    pub struct PvcallsBind: "struct xen_pvcalls_bind" {
        /// The socket.
        pub id: u64,
        /// The address, as Linux lays it out.
        pub addr: [u8; 28],
        /// Bytes of the address.
        pub len: u32,
    }

    /// [`PVCALLS_LISTEN`].
    pub struct PvcallsListen: "struct xen_pvcalls_listen" {
        /// The socket.
        pub id: u64,
        /// How many connections may wait.
        pub backlog: u32,
        /// Padding.
        pub pad: [u8; 4],
    }

    /// [`PVCALLS_ACCEPT`].
    pub struct PvcallsAccept: "struct xen_pvcalls_accept" {
        /// The socket that listens.
        pub id: u64,
        /// The name of the connection's socket.
        pub id_new: u64,
        /// The page of its data rings.
        pub gref: GrantRef = "ref",
        /// The frontend's event channel of the data rings.
        pub evtchn: u32,
    }

    /// [`PVCALLS_POLL`].
    pub struct PvcallsPoll: "struct xen_pvcalls_poll" {
        /// The socket that listens.
        pub id: u64,
    }

    /// The page of a connection's two data rings, without the references behind it. "In" is what the frontend reads.
    pub struct PvcallsDataIntf: "struct pvcalls_data_intf" {
        /// How much of "in" was read; the frontend writes it.
        pub in_cons: u32,
        /// How much of "in" was written.
        pub in_prod: u32,
        /// 0, or why nothing more comes: a negative error number of Linux's.
        pub in_error: i32,
        /// Padding.
        pub pad1: [u8; 52],
        /// How much of "out" was read.
        pub out_cons: u32,
        /// How much of "out" was written; the frontend writes it.
        pub out_prod: u32,
        /// 0, or why nothing more is taken: a negative error number of Linux's.
        pub out_error: i32,
        /// Padding.
        pub pad2: [u8; 52],
        /// Base 2 logarithm of the number of pages of data; their references follow.
        pub ring_order: u32,
    }
}

union_members! {
    PvcallsRequest, u:
    /// For [`PVCALLS_SOCKET`].
    socket, set_socket: PvcallsSocket;
    /// For [`PVCALLS_CONNECT`].
    connect, set_connect: PvcallsConnect;
    /// For [`PVCALLS_RELEASE`].
    release, set_release: PvcallsRelease;
    /// For [`PVCALLS_BIND`].
    bind, set_bind: PvcallsBind;
    /// For [`PVCALLS_LISTEN`].
    listen, set_listen: PvcallsListen;
    /// For [`PVCALLS_ACCEPT`].
    accept, set_accept: PvcallsAccept;
    /// For [`PVCALLS_POLL`].
    poll, set_poll: PvcallsPoll;
}
