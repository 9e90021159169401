//! What there is in the machine, its memory and CPUs, and the hypervisor's log.
//!
//! **Source:** `sysctl.h`.

use crate::describe::{constants, flags, wire};
use crate::domctl::DomctlGetdomaininfo;
use crate::hypercall::CtlBitmap;
use crate::physdev::PhysdevPciDevice;
use crate::{DomId, GuestHandle};

constants! {
    table CONSTANTS;
    /// [`SysctlTbufOp::cmd`]: asks for the buffers.
    pub const XEN_SYSCTL_TBUFOP_GET_INFO: u32 = 0;
    /// [`SysctlTbufOp::cmd`]: sets the CPUs.
    pub const XEN_SYSCTL_TBUFOP_SET_CPU_MASK: u32 = 1;
    /// [`SysctlTbufOp::cmd`]: sets the events.
    pub const XEN_SYSCTL_TBUFOP_SET_EVT_MASK: u32 = 2;
    /// [`SysctlTbufOp::cmd`]: sets the size.
    pub const XEN_SYSCTL_TBUFOP_SET_SIZE: u32 = 3;
    /// [`SysctlTbufOp::cmd`]: on.
    pub const XEN_SYSCTL_TBUFOP_ENABLE: u32 = 4;
    /// [`SysctlTbufOp::cmd`]: off.
    pub const XEN_SYSCTL_TBUFOP_DISABLE: u32 = 5;
    /// [`SysctlCputopo::core`] of a CPU that is not there.
    pub const XEN_INVALID_CORE_ID: u32 = u32::MAX;
    /// [`SysctlCputopo::socket`] of a CPU that is not there.
    pub const XEN_INVALID_SOCKET_ID: u32 = u32::MAX;
    /// A node that is not known.
    pub const XEN_INVALID_NODE_ID: u32 = u32::MAX;
    /// A size that is not known.
    pub const XEN_INVALID_MEM_SZ: u32 = u32::MAX;
    /// A distance that is not known.
    pub const XEN_INVALID_NODE_DIST: u32 = u32::MAX;
    /// Answer of [`XEN_SYSCTL_PCITOPOINFO`](super::XEN_SYSCTL_PCITOPOINFO) for a device that is not there.
    pub const XEN_INVALID_DEV: u32 = u32::MAX - 1;
    /// [`SysctlPageOfflineOp::cmd`]: out of use.
    pub const SYSCTL_PAGE_OFFLINE: u32 = 1 => "sysctl_page_offline";
    /// [`SysctlPageOfflineOp::cmd`]: into use.
    pub const SYSCTL_PAGE_ONLINE: u32 = 2 => "sysctl_page_online";
    /// [`SysctlPageOfflineOp::cmd`]: asks.
    pub const SYSCTL_QUERY_PAGE_OFFLINE: u32 = 3 => "sysctl_query_page_offline";
}

flags! {
    /// What the machine can do, in [`SysctlPhysinfo`].
    pub struct PhysCapabilities("XEN_SYSCTL_PHYSCAP_"): u32 {
        /// Fully virtualised domains.
        const HVM = 1 << 0;
        /// PV domains.
        const PV = 1 << 1;
        /// Devices in domains.
        const DIRECTIO = 1 << 2;
        /// Nested page tables.
        const HAP = 1 << 3;
        /// Shadow page tables.
        const SHADOW = 1 << 4;
        /// Nested page tables that devices use too.
        const IOMMU_HAP_PT_SHARE = 1 << 5;
        /// Processor traces of domains.
        const VMTRACE = 1 << 6;
        /// Performance counters in domains.
        const VPMU = 1 << 7;
        /// Grant tables of version 1.
        const GNTTAB_V1 = 1 << 8;
        /// Grant tables of version 2.
        const GNTTAB_V2 = 1 << 9;
    }
}

wire! {
    fixed;

    /// Arguments of [`XEN_SYSCTL_READCONSOLE`](super::XEN_SYSCTL_READCONSOLE).
    pub struct SysctlReadconsole: "struct xen_sysctl_readconsole" {
        /// In: not 0: what was read is dropped.
        pub clear: u8,
        /// In: not 0: from `index` on.
        pub incremental: u8,
        /// Padding.
        pub pad: [u8; 2],
        /// In: the byte of the log to begin at. Out: the byte to go on at.
        pub index: u32,
        /// Out: the text.
        pub buffer: GuestHandle,
        /// In: length of the buffer in bytes. Out: length of the text in bytes.
        pub count: u32,
        /// Padding.
        pub pad1: [u8; 4],
    }

    /// Arguments of [`XEN_SYSCTL_TBUF_OP`](super::XEN_SYSCTL_TBUF_OP).
    pub struct SysctlTbufOp: "struct xen_sysctl_tbuf_op" {
        /// In: an `XEN_SYSCTL_TBUFOP_*`.
        pub cmd: u32,
        /// Padding.
        pub pad0: [u8; 4],
        /// In: CPUs.
        pub cpu_mask: CtlBitmap,
        /// In or out: kinds of events.
        pub evt_mask: u32,
        /// Padding.
        pub pad1: [u8; 4],
        /// Out: where the buffers are.
        pub buffer_mfn: u64,
        /// In or out: their size in pages (in) or bytes (out).
        pub size: u32,
        /// Padding.
        pub pad2: [u8; 4],
    }

    /// Answer of [`XEN_SYSCTL_PHYSINFO`](super::XEN_SYSCTL_PHYSINFO).
    pub struct SysctlPhysinfo: "struct xen_sysctl_physinfo" {
        /// Out: threads of a core.
        pub threads_per_core: u32,
        /// Out: cores of a socket.
        pub cores_per_socket: u32,
        /// Out: CPUs that run.
        pub nr_cpus: u32,
        /// Out: the highest number of a CPU.
        pub max_cpu_id: u32,
        /// Out: NUMA nodes.
        pub nr_nodes: u32,
        /// Out: the highest number of a NUMA node.
        pub max_node_id: u32,
        /// Out: frequency of the CPUs in kHz.
        pub cpu_khz: u32,
        /// Out: what the machine can do.
        pub capabilities: PhysCapabilities,
        /// Out: more of it, by architecture.
        pub arch_capabilities: u32,
        /// Padding.
        pub pad: u32,
        /// Out: pages in all.
        pub total_pages: u64,
        /// Out: pages that are free.
        pub free_pages: u64,
        /// Out: pages that are being cleared.
        pub scrub_pages: u64,
        /// Out: pages claimed for domains and not allocated yet.
        pub outstanding_pages: u64,
        /// Out: the highest frame.
        pub max_mfn: u64,
        /// Out: words of CPUID, in the featureset's order.
        pub hw_cap: [u32; 8],
    }

    /// Arguments of [`XEN_SYSCTL_GETDOMAININFOLIST`](super::XEN_SYSCTL_GETDOMAININFOLIST).
    pub struct SysctlGetdomaininfolist: "struct xen_sysctl_getdomaininfolist" {
        /// In: the lowest domain.
        pub first_domain: DomId,
        /// Padding.
        pub pad0: [u8; 2],
        /// In: length of the list in domains.
        pub max_domains: u32,
        /// Out: the list.
        pub buffer: GuestHandle<DomctlGetdomaininfo>,
        /// Out: how many were written.
        pub num_domains: u32,
        /// Padding.
        pub pad1: [u8; 4],
    }

    /// Arguments of [`XEN_SYSCTL_DEBUG_KEYS`](super::XEN_SYSCTL_DEBUG_KEYS).
    pub struct SysctlDebugKeys: "struct xen_sysctl_debug_keys" {
        /// In: the keys.
        pub keys: GuestHandle,
        /// In: the number of keys.
        pub nr_keys: u32,
        /// Padding.
        pub pad: [u8; 4],
    }

    /// One CPU of [`XEN_SYSCTL_GETCPUINFO`](super::XEN_SYSCTL_GETCPUINFO).
    pub struct SysctlCpuinfo: "struct xen_sysctl_cpuinfo" {
        /// Nanoseconds that it idled.
        pub idletime: u64,
    }

    /// Arguments of [`XEN_SYSCTL_GETCPUINFO`](super::XEN_SYSCTL_GETCPUINFO).
    pub struct SysctlGetcpuinfo: "struct xen_sysctl_getcpuinfo" {
        /// In: length of the list.
        pub max_cpus: u32,
        /// Padding.
        pub pad0: [u8; 4],
        /// Out: the list.
        pub info: GuestHandle<SysctlCpuinfo>,
        /// Out: how many were written.
        pub nr_cpus: u32,
        /// Padding.
        pub pad1: [u8; 4],
    }

    /// Arguments of [`XEN_SYSCTL_AVAILHEAP`](super::XEN_SYSCTL_AVAILHEAP).
    pub struct SysctlAvailheap: "struct xen_sysctl_availheap" {
        /// In: the narrowest address in bits; 0 for any.
        pub min_bitwidth: u32,
        /// In: the widest address in bits; 0 for any.
        pub max_bitwidth: u32,
        /// In: the NUMA node; -1 for all.
        pub node: i32,
        /// Padding.
        pub pad: [u8; 4],
        /// Out: free bytes.
        pub avail_bytes: u64,
    }

    /// Arguments of [`XEN_SYSCTL_PAGE_OFFLINE_OP`](super::XEN_SYSCTL_PAGE_OFFLINE_OP).
    pub struct SysctlPageOfflineOp: "struct xen_sysctl_page_offline_op" {
        /// In: a `SYSCTL_*`.
        pub cmd: u32,
        /// In: the first frame.
        pub start: u32,
        /// In: the last frame.
        pub end: u32,
        /// Padding.
        pub pad: [u8; 4],
        /// Out: flags for each.
        pub status: GuestHandle<u32>,
    }

    /// Where a CPU lies.
    pub struct SysctlCputopo: "struct xen_sysctl_cputopo" {
        /// Its core.
        pub core: u32,
        /// Its socket.
        pub socket: u32,
        /// Its NUMA node.
        pub node: u32,
    }

    /// Arguments of [`XEN_SYSCTL_CPUTOPOINFO`](super::XEN_SYSCTL_CPUTOPOINFO).
    pub struct SysctlCputopoinfo: "struct xen_sysctl_cputopoinfo" {
        /// In: length of the list. Out: how many there are (null list), or were written.
        pub num_cpus: u32,
        /// Padding.
        pub pad: [u8; 4],
        /// Out: the list; may be null.
        pub cputopo: GuestHandle<SysctlCputopo>,
    }

    /// Memory of a NUMA node, in bytes.
    pub struct SysctlMeminfo: "struct xen_sysctl_meminfo" {
        /// All of it.
        pub memsize: u64,
        /// What is free of it.
        pub memfree: u64,
    }

    /// Arguments of [`XEN_SYSCTL_NUMAINFO`](super::XEN_SYSCTL_NUMAINFO).
    pub struct SysctlNumainfo: "struct xen_sysctl_numainfo" {
        /// In: length of the first list. Out: how many there are (null lists), or were written.
        pub num_nodes: u32,
        /// Padding.
        pub pad: [u8; 4],
        /// Out: memory of each; may be null.
        pub meminfo: GuestHandle<SysctlMeminfo>,
        /// Out: distances, `num_nodes` of them for each; may be null.
        pub distance: GuestHandle<u32>,
    }

    /// Arguments of [`XEN_SYSCTL_PCITOPOINFO`](super::XEN_SYSCTL_PCITOPOINFO).
    pub struct SysctlPcitopoinfo: "struct xen_sysctl_pcitopoinfo" {
        /// In: the number of devices. Out: how many were done.
        pub num_devs: u32,
        /// Padding.
        pub pad: [u8; 4],
        /// In: the devices.
        pub devs: GuestHandle<PhysdevPciDevice>,
        /// Out: the node of each.
        pub nodes: GuestHandle<u32>,
    }
}
