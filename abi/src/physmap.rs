//! Which page appears at which frame of a domain.
//!
//! **Source:** `memory.h`.

use crate::compat::Ulong;
use crate::describe::{constants, wire};
use crate::{DomId, Gfn, GuestHandle};

constants! {
    table CONSTANTS;
    /// [`AddToPhysmap::space`]: the shared page; index 0.
    pub const XENMAPSPACE_SHARED_INFO: u32 = 0;
    /// [`AddToPhysmap::space`]: a frame of the grant table, which grows to hold it.
    pub const XENMAPSPACE_GRANT_TABLE: u32 = 1;
    /// [`AddToPhysmap::space`]: the page at another frame of the domain, which leaves that frame.
    pub const XENMAPSPACE_GMFN: u32 = 2;
    /// [`AddToPhysmap::space`]: several such pages.
    pub const XENMAPSPACE_GMFN_RANGE: u32 = 3;
    /// [`AddToPhysmapBatch::space`]: a page of another domain.
    pub const XENMAPSPACE_GMFN_FOREIGN: u32 = 4;
    /// [`AddToPhysmapBatch::space`]: memory of a device, Arm only.
    pub const XENMAPSPACE_DEV_MMIO: u32 = 5;
    /// Index of [`XENMAPSPACE_GRANT_TABLE`]: with this bit a frame of status words.
    pub const XENMAPIDX_GRANT_TABLE_STATUS: u64 = 0x8000_0000;

    /// [`MemAcquireResource::kind`]: pages of an I/O request server; `id` is the server.
    pub const XENMEM_RESOURCE_IOREQ_SERVER: u16 = 0;
    /// [`MemAcquireResource::kind`]: frames of the grant table.
    pub const XENMEM_RESOURCE_GRANT_TABLE: u16 = 1;
    /// [`MemAcquireResource::kind`]: the buffer of processor traces; `id` is the vCPU.
    pub const XENMEM_RESOURCE_VMTRACE_BUF: u16 = 2;
    /// [`MemAcquireResource::id`] for grants: the entries.
    pub const XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED: u32 = 0;
    /// [`MemAcquireResource::id`] for grants: the status words.
    pub const XENMEM_RESOURCE_GRANT_TABLE_ID_STATUS: u32 = 1;
    /// [`MemAcquireResource::frame`] for I/O requests: the ring of buffered requests; the others follow from 1.
    pub const XENMEM_RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ: u64 = 0;
}

wire! {
    /// Arguments of [`XENMEM_ADD_TO_PHYSMAP`](crate::memory::XENMEM_ADD_TO_PHYSMAP).
    pub struct AddToPhysmap: "struct xen_add_to_physmap" {
        /// In: whose frames.
        pub domid: DomId,
        /// In: for [`XENMAPSPACE_GMFN_RANGE`]: how many pages are left to do.
        pub size: u16,
        /// In: an `XENMAPSPACE_*`.
        pub space: u32,
        /// In: which of that kind.
        pub idx: u64 as long,
        /// In: the guest frame to map it at.
        pub gpfn: Gfn,
    }

    /// Arguments of [`XENMEM_ADD_TO_PHYSMAP_BATCH`](crate::memory::XENMEM_ADD_TO_PHYSMAP_BATCH).
    pub struct AddToPhysmapBatch: "struct xen_add_to_physmap_batch" {
        /// In: whose frames.
        pub domid: DomId,
        /// In: an `XENMAPSPACE_*`.
        pub space: u16,
        /// In: how many pages; on preemption, how many are left.
        pub size: u16,
        /// In: for [`XENMAPSPACE_GMFN_FOREIGN`] the other domain; else 0.
        pub foreign_domid: DomId = "u.foreign_domid",
        /// In: the index in that space, for each of `size` pages.
        pub idxs: GuestHandle<Ulong>,
        /// In: the guest frame to map it at, for each.
        pub gpfns: GuestHandle<Gfn>,
        /// Out: 0 or a negative errno, for each.
        pub errs: GuestHandle<i32>,
    }

    /// Arguments of [`XENMEM_REMOVE_FROM_PHYSMAP`](crate::memory::XENMEM_REMOVE_FROM_PHYSMAP).
    pub struct RemoveFromPhysmap: "struct xen_remove_from_physmap" {
        /// In: whose frame.
        pub domid: DomId,
        /// Padding.
        pub pad: [u8; 6],
        /// In: which.
        pub gpfn: Gfn,
    }

    /// Arguments of [`XENMEM_ACQUIRE_RESOURCE`](crate::memory::XENMEM_ACQUIRE_RESOURCE).
    ///
    /// With a null list and no frames it asks for the number of frames.
    pub struct MemAcquireResource: "struct xen_mem_acquire_resource" {
        /// In: whose.
        pub domid: DomId,
        /// In: an `XENMEM_RESOURCE_*`.
        pub kind: u16 = "type",
        /// In: which of that kind.
        pub id: u32,
        /// In: how many frames. Out: how many there are, if that was asked.
        pub nr_frames: u32,
        /// In: zero.
        pub padding: u32 = "pad",
        /// In: the first frame.
        pub frame: u64,
        /// In: for a translated caller, the frames where they are to appear. Out: for PV, the machine frames.
        pub frame_list: GuestHandle<Gfn>,
    }
}
