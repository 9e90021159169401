//! Memory of domains: how much, where, and given back.
//!
//! Hypercall [`MEMORY_OP`](crate::hypercall::MEMORY_OP): `(operation, pointer to arguments)`. Bits 6 and up of the
//! operation hold how many extents a preempted call has done already. Where a page appears in a domain is in
//! [`crate::physmap`]; maps of all memory are in [`crate::memory_map`]. **Source:** `memory.h`.

use crate::describe::{constants, flags, wire};
use crate::{DomId, Gfn, GuestHandle};

constants! {
    table CONSTANTS;
    /// Gives a PV domain more pages; [`MemoryReservation`]. Returns how many extents were done.
    pub const XENMEM_INCREASE_RESERVATION: u32 = 0;
    /// Takes pages back from a domain; [`MemoryReservation`]. Returns how many extents were done.
    pub const XENMEM_DECREASE_RESERVATION: u32 = 1;
    /// Returns the highest machine frame of RAM.
    pub const XENMEM_MAXIMUM_RAM_PAGE: u32 = 2;
    /// Returns how many pages a domain has; [`MemoryDomain`].
    pub const XENMEM_CURRENT_RESERVATION: u32 = 3;
    /// Returns how many pages a domain may have; [`MemoryDomain`].
    pub const XENMEM_MAXIMUM_RESERVATION: u32 = 4;
    /// Tells where the table of machine frames lies, for PV; [`MachphysMfnList`].
    pub const XENMEM_MACHPHYS_MFN_LIST: u32 = 5;
    /// Allocates pages and maps them where the caller says; [`MemoryReservation`]. Returns how many extents were done.
    pub const XENMEM_POPULATE_PHYSMAP: u32 = 6;
    /// Maps a page of some kind at a guest frame; [`AddToPhysmap`](crate::physmap::AddToPhysmap).
    pub const XENMEM_ADD_TO_PHYSMAP: u32 = 7;
    /// Tells the caller's own memory map; [`MemoryMap`](crate::memory_map::MemoryMap).
    pub const XENMEM_MEMORY_MAP: u32 = 9;
    /// Tells the machine's memory map; [`MemoryMap`](crate::memory_map::MemoryMap).
    pub const XENMEM_MACHINE_MEMORY_MAP: u32 = 10;
    /// Exchanges pages for others; [`MemoryExchange`].
    pub const XENMEM_EXCHANGE: u32 = 11;
    /// Tells where the table of machine frames is mapped, for PV; [`MachphysMapping`].
    pub const XENMEM_MACHPHYS_MAPPING: u32 = 12;
    /// Sets a domain's memory map; [`ForeignMemoryMap`](crate::memory_map::ForeignMemoryMap).
    pub const XENMEM_SET_MEMORY_MAP: u32 = 13;
    /// Returns the highest guest frame of a domain; [`MemoryDomain`].
    pub const XENMEM_MAXIMUM_GPFN: u32 = 14;
    /// Unmaps the page at a guest frame; [`RemoveFromPhysmap`](crate::physmap::RemoveFromPhysmap).
    pub const XENMEM_REMOVE_FROM_PHYSMAP: u32 = 15;
    /// Sets the target of populate-on-demand, in pages; [`PodTarget`].
    pub const XENMEM_SET_POD_TARGET: u32 = 16;
    /// Asks for the target of populate-on-demand; [`PodTarget`].
    pub const XENMEM_GET_POD_TARGET: u32 = 17;
    /// Returns how many pages sharing has saved.
    pub const XENMEM_GET_SHARING_FREED_PAGES: u32 = 18;
    /// Returns how many pages are shared.
    pub const XENMEM_GET_SHARING_SHARED_PAGES: u32 = 19;
    /// Paging to disk; [`MemPagingOp`](crate::memory_access::MemPagingOp).
    pub const XENMEM_PAGING_OP: u32 = 20;
    /// Access rights of pages; [`MemAccessOp`](crate::memory_access::MemAccessOp).
    pub const XENMEM_ACCESS_OP: u32 = 21;
    /// Sharing of equal pages.
    pub const XENMEM_SHARING_OP: u32 = 22;
    /// Maps several pages at guest frames; [`AddToPhysmapBatch`](crate::physmap::AddToPhysmapBatch).
    pub const XENMEM_ADD_TO_PHYSMAP_BATCH: u32 = 23;
    /// Claims free memory for a domain that is being built; [`MemoryReservation`], extents of order 0.
    pub const XENMEM_CLAIM_PAGES: u32 = 24;
    /// [`XENMEM_MACHPHYS_MFN_LIST`] for 32-bit domains.
    pub const XENMEM_MACHPHYS_COMPAT_MFN_LIST: u32 = 25;
    /// Tells a domain's virtual NUMA nodes; [`VnumaTopologyInfo`](crate::memory_map::VnumaTopologyInfo).
    pub const XENMEM_GET_VNUMAINFO: u32 = 26;
    /// Tells which memory devices need where it is;
    /// [`ReservedDeviceMemoryMap`](crate::memory_map::ReservedDeviceMemoryMap).
    pub const XENMEM_RESERVED_DEVICE_MEMORY_MAP: u32 = 27;
    /// Maps something that the hypervisor keeps about a domain;
    /// [`MemAcquireResource`](crate::physmap::MemAcquireResource).
    pub const XENMEM_ACQUIRE_RESOURCE: u32 = 28;
}

/// By how many bits the progress of a preempted call is shifted in the operation's number.
pub const MEMOP_EXTENT_SHIFT: u32 = 6;

/// Mask of the operation proper in the operation's number.
pub const MEMOP_CMD_MASK: u32 = (1 << MEMOP_EXTENT_SHIFT) - 1;

flags! {
    /// Flags of [`MemoryReservation`]: also the widest address in bits 0 to 7 (0: any), and the NUMA node plus one
    /// in bits 8 to 15 (0: any).
    pub struct MemFlags("XENMEMF_"): u32 {
        /// Pages are put there only when they are touched.
        const POPULATE_ON_DEMAND = 1 << 16;
        /// From no other NUMA node.
        const EXACT_NODE_REQUEST = 1 << 17;
        /// The NUMA node is one of the domain's virtual ones.
        const VNODE = 1 << 18;
    }
}

impl MemFlags {
    /// Returns the widest machine address that the pages may have, in bits; 0 for any.
    #[must_use]
    pub const fn address_bits(self) -> u32 {
        self.0 & 0xff
    }

    /// Returns the NUMA node that the pages should come from, or none.
    #[must_use]
    pub const fn node(self) -> Option<u32> {
        ((self.0 >> 8) & 0xff).checked_sub(1)
    }
}

wire! {
    /// Extents of a domain's memory: `nr_extents` runs of `2^extent_order` pages, each aligned to its size.
    pub struct MemoryReservation: "struct xen_memory_reservation" {
        /// In or out: a frame number for each extent, by operation.
        pub extent_start: GuestHandle<Gfn>,
        /// In: the number of extents.
        pub nr_extents: u64 as long,
        /// In: the base 2 logarithm of an extent's pages.
        pub extent_order: u32,
        /// In: flags.
        pub mem_flags: MemFlags,
        /// In: whose memory.
        pub domid: DomId,
        /// Padding.
        pub pad: [u8; 6],
    }

    /// Arguments of [`XENMEM_EXCHANGE`].
    pub struct MemoryExchange: "struct xen_memory_exchange" {
        /// In: the pages that are given back.
        pub input: MemoryReservation = "in",
        /// In: the pages that are wanted.
        pub output: MemoryReservation = "out",
        /// In: zero, or progress. Out: how many extents of `input` were exchanged.
        pub nr_exchanged: u64 as long,
    }

    /// A domain that something is asked about.
    pub struct MemoryDomain: "struct xen_memory_domain" {
        /// In: which.
        pub domid: DomId,
    }

    /// Arguments of [`XENMEM_MACHPHYS_MFN_LIST`].
    pub struct MachphysMfnList: "struct xen_machphys_mfn_list" {
        /// In: the length of the list.
        pub max_extents: u32,
        /// Padding.
        pub pad0: [u8; 4],
        /// Out: a frame for each 2 MiB of the table.
        pub extent_start: GuestHandle<u64>,
        /// Out: how many were written.
        pub nr_extents: u32,
        /// Padding.
        pub pad1: [u8; 4],
    }

    /// Arguments of [`XENMEM_MACHPHYS_MAPPING`].
    pub struct MachphysMapping: "struct xen_machphys_mapping" {
        /// Out: the first virtual address.
        pub v_start: u64 as long,
        /// Out: the virtual address after the last.
        pub v_end: u64 as long,
        /// Out: the highest frame that can be looked up.
        pub max_mfn: u64 as long,
    }

    /// Arguments of [`XENMEM_SET_POD_TARGET`] and [`XENMEM_GET_POD_TARGET`]. All but `domid` count pages.
    pub struct PodTarget: "struct xen_pod_target" {
        /// In: the target.
        pub target_pages: u64,
        /// Out: what it has.
        pub tot_pages: u64,
        /// Out: pages of the PoD cache: allocated, not mapped yet.
        pub pod_cache_pages: u64,
        /// Out: frames that are populated on demand and have no page yet.
        pub pod_entries: u64,
        /// In: whose.
        pub domid: DomId,
        /// Padding.
        pub pad: [u8; 6],
    }
}

#[cfg(test)]
mod tests {
    use super::MemFlags;

    #[test]
    fn the_node_is_kept_one_higher() {
        assert_eq!(MemFlags(0).node(), None);
        assert_eq!(MemFlags(1 << 8).node(), Some(0));
        assert_eq!(MemFlags(3 << 8 | 40).node(), Some(2));
        assert_eq!(MemFlags(3 << 8 | 40).address_bits(), 40);
    }
}
