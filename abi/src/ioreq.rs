//! Requests of a guest to its device model: the pages that the hypervisor shares with an I/O request server.
//!
//! The synchronous page holds an [`Ioreq`] for each vCPU, by number. A request goes through the states
//! [`STATE_IOREQ_NONE`] → [`STATE_IOREQ_READY`] (the hypervisor) → [`STATE_IOREQ_INPROCESS`] → [`STATE_IORESP_READY`]
//! (the server) and back. The buffered page is a ring of [`BufIoreq`]s, whose writer does not wait.
//! **Source:** `hvm/ioreq.h`.

use crate::Port;
use crate::describe::{constants, wire};

constants! {
    table CONSTANTS;
    /// Direction of a request: the guest reads.
    pub const IOREQ_READ: u8 = 1;
    /// Direction of a request: the guest writes.
    pub const IOREQ_WRITE: u8 = 0;

    /// State of a request: there is none.
    pub const STATE_IOREQ_NONE: u8 = 0;
    /// State of a request: the server is to answer it.
    pub const STATE_IOREQ_READY: u8 = 1;
    /// State of a request: the server works on it.
    pub const STATE_IOREQ_INPROCESS: u8 = 2;
    /// State of a request: it is answered.
    pub const STATE_IORESP_READY: u8 = 3;

    /// Type of a request: a port.
    pub const IOREQ_TYPE_PIO: u8 = 0;
    /// Type of a request: memory of a device.
    pub const IOREQ_TYPE_COPY: u8 = 1;
    /// Type of a request: PCI configuration; the address is `segment, bus, device, function << 32 | register`.
    pub const IOREQ_TYPE_PCI_CONFIG: u8 = 2;
    /// Type of a request: the guest has set its clock; the data is the new offset.
    pub const IOREQ_TYPE_TIMEOFFSET: u8 = 7;
    /// Type of a request: pages have left the guest, so mappings of them are stale.
    pub const IOREQ_TYPE_INVALIDATE: u8 = 8;

    /// Slots of the ring of buffered requests, which follow its two pointers.
    pub const IOREQ_BUFFER_SLOT_NUM: u32 = 511;
}

wire! {
    fixed;
    /// A request of a vCPU.
    pub struct Ioreq: "struct ioreq" {
        /// The port or guest physical address.
        pub addr: u64,
        /// The data, or the guest physical address of it.
        pub data: u64,
        /// How many elements.
        pub count: u32,
        /// The size of one, in bytes.
        pub size: u32,
        /// The port of the guest by which both sides notify each other of this vCPU's requests.
        pub vp_eport: Port,
        /// Padding.
        pub pad0: u16,
        /// State in bits 0 to 3; from bit 4 on: the data is a pointer, direction, addresses fall.
        pub state_and_flags: u8 = "-",
        /// An `IOREQ_TYPE_*`.
        pub kind: u8 = "type",
    }

    /// A request that nobody waits for.
    pub struct BufIoreq: "struct buf_ioreq" {
        /// The type in bits 0 to 7, direction in bit 9, log2 of the size in bits 10 and 11, the address in bits 12 to 31.
        pub head: u32 = "-",
        /// The data, or half of it.
        pub data: u32,
    }
}

/// Bits of [`Ioreq::state_and_flags`] that hold the state.
pub const STATE_MASK: u8 = 0xf;
/// Bit of [`Ioreq::state_and_flags`]: the data is a pointer.
pub const DATA_IS_POINTER: u8 = 1 << 4;
/// Bit of [`Ioreq::state_and_flags`]: the guest reads.
pub const DIRECTION_READ: u8 = 1 << 5;
/// Bit of [`Ioreq::state_and_flags`]: each element lies below the one before.
pub const ADDRESSES_FALL: u8 = 1 << 6;
