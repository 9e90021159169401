//! Control of a domain's memory: kinds of pages, pages that were written, bookkeeping.
//!
//! **Source:** `domctl.h`.

use crate::describe::{constants, flags, union_members, wire};
use crate::memory_map::Vmemrange;
use crate::{Gfn, GuestHandle, Port, Union};

constants! {
    table CONSTANTS;
    /// How far the kind of a page is shifted in an answer of
    /// [`XEN_DOMCTL_GETPAGEFRAMEINFO3`](super::XEN_DOMCTL_GETPAGEFRAMEINFO3).
    pub const XEN_DOMCTL_PFINFO_LTAB_SHIFT: u32 = 28;
    /// Kind of a page: ordinary.
    pub const XEN_DOMCTL_PFINFO_NOTAB: u32 = 0;
    /// Kind of a page: PV page table, lowest level.
    pub const XEN_DOMCTL_PFINFO_L1TAB: u32 = 1 << 28;
    /// Kind of a page: PV page table.
    pub const XEN_DOMCTL_PFINFO_L2TAB: u32 = 2 << 28;
    /// Kind of a page: PV page table.
    pub const XEN_DOMCTL_PFINFO_L3TAB: u32 = 3 << 28;
    /// Kind of a page: PV page table, highest level.
    pub const XEN_DOMCTL_PFINFO_L4TAB: u32 = 4 << 28;
    /// Mask of the level.
    pub const XEN_DOMCTL_PFINFO_LTABTYPE_MASK: u32 = 7 << 28;
    /// Flag of a page: a pinned page table.
    pub const XEN_DOMCTL_PFINFO_LPINTAB: u32 = 1 << 31;
    /// Kind of a page: none there.
    pub const XEN_DOMCTL_PFINFO_XTAB: u32 = 0xf << 28;
    /// Kind of a page: one without contents.
    pub const XEN_DOMCTL_PFINFO_XALLOC: u32 = 0xe << 28;
    /// Kind of a page: broken.
    pub const XEN_DOMCTL_PFINFO_BROKEN: u32 = 0xd << 28;
    /// Mask of the kind.
    pub const XEN_DOMCTL_PFINFO_LTAB_MASK: u32 = 0xf << 28;

    /// [`DomctlShadowOp::op`]: off.
    pub const XEN_DOMCTL_SHADOW_OP_OFF: u32 = 0;
    /// [`DomctlShadowOp::op`]: on, without any mode.
    pub const XEN_DOMCTL_SHADOW_OP_ENABLE_TEST: u32 = 1;
    /// [`DomctlShadowOp::op`]: on, with dirty logging.
    pub const XEN_DOMCTL_SHADOW_OP_ENABLE_LOGDIRTY: u32 = 2;
    /// [`DomctlShadowOp::op`]: returns the dirty bitmap and clears it.
    pub const XEN_DOMCTL_SHADOW_OP_CLEAN: u32 = 11;
    /// [`DomctlShadowOp::op`]: returns the dirty bitmap.
    pub const XEN_DOMCTL_SHADOW_OP_PEEK: u32 = 12;
    /// [`DomctlShadowOp::op`]: asks for the size of the paging pool (page tables and other bookkeeping).
    pub const XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION: u32 = 30;
    /// [`DomctlShadowOp::op`]: sets the size of the paging pool (page tables and other bookkeeping).
    pub const XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION: u32 = 31;
    /// [`DomctlShadowOp::op`]: on, with the mode given.
    pub const XEN_DOMCTL_SHADOW_OP_ENABLE: u32 = 32;

    /// [`DomctlVmEventOp::op`]: starts.
    pub const XEN_VM_EVENT_ENABLE: u32 = 0;
    /// [`DomctlVmEventOp::op`]: ends.
    pub const XEN_VM_EVENT_DISABLE: u32 = 1;
    /// [`DomctlVmEventOp::op`]: answers wait in the ring.
    pub const XEN_VM_EVENT_RESUME: u32 = 2;
    /// [`DomctlVmEventOp::op`]: asks for the version.
    pub const XEN_VM_EVENT_GET_VERSION: u32 = 3;
    /// [`DomctlVmEventOp::mode`]: paging.
    pub const XEN_DOMCTL_VM_EVENT_OP_PAGING: u32 = 1;
    /// [`DomctlVmEventOp::mode`]: monitor.
    pub const XEN_DOMCTL_VM_EVENT_OP_MONITOR: u32 = 2;
    /// [`DomctlVmEventOp::mode`]: sharing.
    pub const XEN_DOMCTL_VM_EVENT_OP_SHARING: u32 = 3;
}

flags! {
    /// Mode of [`XEN_DOMCTL_SHADOW_OP_ENABLE`].
    pub struct ShadowMode("XEN_DOMCTL_SHADOW_ENABLE_"): u32 {
        /// Pages are counted; the guest need not tell about its page tables.
        const REFCOUNT = 1 << 1;
        /// Dirty logging: pages that are written are recorded.
        const LOG_DIRTY = 1 << 2;
        /// Frames are translated.
        const TRANSLATE = 1 << 3;
        /// The guest has all of its address space.
        const EXTERNAL = 1 << 4;
    }

    /// Mode of [`XEN_DOMCTL_SHADOW_OP_CLEAN`] and [`XEN_DOMCTL_SHADOW_OP_PEEK`].
    pub struct LogdirtyMode("XEN_DOMCTL_SHADOW_LOGDIRTY_"): u32 {
        /// The last time: pages that the hypervisor may write count too.
        const FINAL = 1 << 0;
    }
}

wire! {
    fixed;

    /// Arguments of [`XEN_DOMCTL_GETPAGEFRAMEINFO3`](super::XEN_DOMCTL_GETPAGEFRAMEINFO3).
    pub struct DomctlGetpageframeinfo3: "struct xen_domctl_getpageframeinfo3" {
        /// In: the number of frames in the list.
        pub num: u64,
        /// In: frames. Out: their kinds, in their place.
        pub array: GuestHandle<u64>,
    }

    /// What [`XEN_DOMCTL_SHADOW_OP_CLEAN`] counts.
    pub struct DomctlShadowOpStats: "struct xen_domctl_shadow_op_stats" {
        /// Out: write faults since the last clean.
        pub fault_count: u32,
        /// Out: pages that were written since the last clean.
        pub dirty_count: u32,
    }

    /// Arguments of [`XEN_DOMCTL_SHADOW_OP`](super::XEN_DOMCTL_SHADOW_OP).
    pub struct DomctlShadowOp: "struct xen_domctl_shadow_op" {
        /// In: an `XEN_DOMCTL_SHADOW_OP_*`.
        pub op: u32,
        /// In: a [`ShadowMode`] or a [`LogdirtyMode`].
        pub mode: u32,
        /// In or out: the size of the paging pool (page tables and other bookkeeping) in mebibytes.
        pub mb: u32,
        /// Padding.
        pub pad: [u8; 4],
        /// Out: a bit for each frame; may be null.
        pub dirty_bitmap: GuestHandle,
        /// In: length of the bitmap in bits. Out: how many were written.
        pub pages: u64,
        /// Out: counts.
        pub stats: DomctlShadowOpStats,
    }

    /// Arguments of [`XEN_DOMCTL_SET_BROKEN_PAGE_P2M`](super::XEN_DOMCTL_SET_BROKEN_PAGE_P2M).
    pub struct DomctlSetBrokenPageP2m: "struct xen_domctl_set_broken_page_p2m" {
        /// In: the frame.
        pub pfn: Gfn,
    }

    /// Arguments of [`XEN_DOMCTL_CACHEFLUSH`](super::XEN_DOMCTL_CACHEFLUSH).
    pub struct DomctlCacheflush: "struct xen_domctl_cacheflush" {
        /// In: the first frame.
        pub start_pfn: Gfn,
        /// In: the number of frames.
        pub nr_pfns: u64,
    }

    /// Arguments of [`XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE`](super::XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE) and its
    /// counterpart.
    pub struct DomctlPagingMempool: "struct xen_domctl_paging_mempool" {
        /// In or out: bytes, a multiple of the page size.
        pub size: u64,
    }

    /// Arguments of [`XEN_DOMCTL_SETVNUMAINFO`](super::XEN_DOMCTL_SETVNUMAINFO).
    pub struct DomctlVnuma: "struct xen_domctl_vnuma" {
        /// In: how many nodes.
        pub nr_vnodes: u32,
        /// In: how many ranges of memory.
        pub nr_vmemranges: u32,
        /// In: how many vCPUs.
        pub nr_vcpus: u32,
        /// Padding.
        pub pad: u32,
        /// In: distances between nodes.
        pub vdistance: GuestHandle<u32>,
        /// In: the node of each vCPU.
        pub vcpu_to_vnode: GuestHandle<u32>,
        /// In: the physical node of each.
        pub vnode_to_pnode: GuestHandle<u32>,
        /// In: the ranges.
        pub vmemrange: GuestHandle<Vmemrange>,
    }

    /// Arguments of [`XEN_DOMCTL_VM_EVENT_OP`](super::XEN_DOMCTL_VM_EVENT_OP).
    pub struct DomctlVmEventOp: "struct xen_domctl_vm_event_op" {
        /// In: an `XEN_VM_EVENT_*`.
        pub op: u32,
        /// In: an `XEN_DOMCTL_VM_EVENT_OP_*`.
        pub mode: u32,
        /// Out: by operation.
        pub u: Union<4>,
    }
}

union_members! {
    DomctlVmEventOp, u:
    /// For [`XEN_VM_EVENT_ENABLE`]: the ring's port.
    port, set_port: Port;
    /// For [`XEN_VM_EVENT_GET_VERSION`].
    version, set_version: u32;
}
