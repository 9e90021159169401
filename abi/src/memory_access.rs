//! Paging of a domain's memory to disk, and monitoring accesses to it (mem_access).
//!
//! **Source:** `memory.h`.

use crate::describe::{constants, wire};
use crate::{DomId, Gfn, GuestHandle};

constants! {
    table CONSTANTS;
    /// [`MemPagingOp::op`]: the page may be paged out.
    pub const XENMEM_PAGING_OP_NOMINATE: u8 = 0;
    /// [`MemPagingOp::op`]: the page was paged out.
    pub const XENMEM_PAGING_OP_EVICT: u8 = 1;
    /// [`MemPagingOp::op`]: the page comes back.
    pub const XENMEM_PAGING_OP_PREP: u8 = 2;
    /// [`MemAccessOp::op`]: sets the rights of a run of pages.
    pub const XENMEM_ACCESS_OP_SET_ACCESS: u8 = 0;
    /// [`MemAccessOp::op`]: asks for the rights of a page.
    pub const XENMEM_ACCESS_OP_GET_ACCESS: u8 = 1;
    /// [`MemAccessOp::op`]: sets the rights of a list of pages.
    pub const XENMEM_ACCESS_OP_SET_ACCESS_MULTI: u8 = 4;
    /// [`MemAccessOp::access`]: none.
    pub const XENMEM_ACCESS_N: u8 = 0;
    /// [`MemAccessOp::access`]: read.
    pub const XENMEM_ACCESS_R: u8 = 1;
    /// [`MemAccessOp::access`]: write.
    pub const XENMEM_ACCESS_W: u8 = 2;
    /// [`MemAccessOp::access`]: read and write.
    pub const XENMEM_ACCESS_RW: u8 = 3;
    /// [`MemAccessOp::access`]: execute.
    pub const XENMEM_ACCESS_X: u8 = 4;
    /// [`MemAccessOp::access`]: read and execute.
    pub const XENMEM_ACCESS_RX: u8 = 5;
    /// [`MemAccessOp::access`]: write and execute.
    pub const XENMEM_ACCESS_WX: u8 = 6;
    /// [`MemAccessOp::access`]: all.
    pub const XENMEM_ACCESS_RWX: u8 = 7;
    /// [`MemAccessOp::access`]: read and execute, until a write makes it read and write.
    pub const XENMEM_ACCESS_RX2RW: u8 = 8;
    /// [`MemAccessOp::access`]: none, until an access makes it all.
    pub const XENMEM_ACCESS_N2RWX: u8 = 9;
    /// [`MemAccessOp::access`]: what the domain has by default.
    pub const XENMEM_ACCESS_DEFAULT: u8 = 10;
}

wire! {
    fixed;

    /// Arguments of [`XENMEM_PAGING_OP`](crate::memory::XENMEM_PAGING_OP).
    pub struct MemPagingOp: "struct xen_mem_paging_op" {
        /// In: an `XENMEM_PAGING_OP_*`.
        pub op: u8,
        /// Padding.
        pub pad0: u8,
        /// In: whose page.
        pub domain: DomId,
        /// Padding.
        pub pad1: [u8; 4],
        /// In: what the page is filled with.
        pub buffer: GuestHandle,
        /// In: the page.
        pub gfn: Gfn,
    }
}

wire! {
    /// Arguments of [`XENMEM_ACCESS_OP`](crate::memory::XENMEM_ACCESS_OP).
    pub struct MemAccessOp: "struct xen_mem_access_op" {
        /// In: an `XENMEM_ACCESS_OP_*`.
        pub op: u8,
        /// In or out: the rights, an `XENMEM_ACCESS_*`.
        pub access: u8,
        /// In: whose pages.
        pub domid: DomId,
        /// In: how many pages.
        pub nr: u32,
        /// In: the first page; all ones for the domain's default.
        pub pfn: Gfn as wide,
        /// In: the list of pages.
        pub pfn_list: GuestHandle<u64>,
        /// In: the rights of each.
        pub access_list: GuestHandle,
    }
}
