//! `shared_info` and `vcpu_info` of 32-bit guests.
//!
//! Both layouts stay in memory for as long as the domain lives, so they are not converted to each other: a domain has
//! one of them, and [`SharedLayout`] has the offsets. **Source:** `xen.h`, `arch-x86/xen-x86_32.h`.

use crate::describe::wire;
use crate::event_channel::EVTCHN_2L_NR_CHANNELS;
use crate::shared_info::{
    SHARED_INFO_EVTCHN_MASK, SHARED_INFO_EVTCHN_PENDING, SHARED_INFO_NMI_REASON, SHARED_INFO_WC_NSEC,
    SHARED_INFO_WC_SEC, SHARED_INFO_WC_SEC_HI, SHARED_INFO_WC_VERSION, VCPU_INFO_PENDING_SEL, VcpuTimeInfo,
    XEN_LEGACY_MAX_VCPUS,
};
use core::mem::offset_of;

wire! {
    fixed;

    /// Architecture-specific part of [`VcpuInfoCompat`].
    pub struct ArchVcpuInfoCompat: "struct arch_vcpu_info" {
        /// PV: faulting address of a page fault.
        pub cr2: u32,
        /// Padding.
        pub pad: [u32; 5],
    }

    /// `vcpu_info`: the part of `shared_info` that belongs to one vCPU.
    pub struct VcpuInfoCompat: "struct vcpu_info" {
        /// Not 0 if an upcall is pending. Set by the hypervisor, cleared by the guest.
        pub evtchn_upcall_pending: u8,
        /// PV: not 0 if upcalls are masked. Set and cleared by the guest, cleared by the hypervisor when the vCPU
        /// blocks.
        pub evtchn_upcall_mask: u8,
        /// Padding.
        pub pad: [u8; 2],
        /// 2-level ABI: selector, a bit for each word of `evtchn_pending` that has a pending port.
        pub evtchn_pending_sel: u32,
        /// Architecture-specific part.
        pub arch: ArchVcpuInfoCompat,
        /// Time of this vCPU (pvclock).
        pub time: VcpuTimeInfo,
    }

    /// Architecture-specific part of [`SharedInfoCompat`]. All but `nmi_reason` and `wc_sec_hi` is for PV guests.
    pub struct ArchSharedInfoCompat: "struct arch_shared_info" {
        /// Number of entries of the guest's p2m list.
        pub max_pfn: u32,
        /// Frame of the root of the p2m list (a tree of frames).
        pub pfn_to_mfn_frame_list_list: u32,
        /// Reason of the last NMI, a set of `XEN_NMIREASON_*`.
        pub nmi_reason: u32,
        /// Page table (CR3) through which `p2m_vaddr` is mapped.
        pub p2m_cr3: u32,
        /// Guest virtual address of the linear p2m list.
        pub p2m_vaddr: u32,
        /// Generation of the p2m list; odd during an update by the guest.
        pub p2m_generation: u32,
        /// UTC at system time 0, in seconds since 1970: high half.
        pub wc_sec_hi: u32,
    }

    /// `shared_info` of a 32-bit guest.
    pub struct SharedInfoCompat: "struct shared_info" {
        /// `vcpu_info` of the first vCPUs, until they register a frame of their own.
        pub vcpu_info: [VcpuInfoCompat; XEN_LEGACY_MAX_VCPUS],
        /// 2-level ABI: a bit for each pending port.
        pub evtchn_pending: [u32; 32],
        /// 2-level ABI: a bit for each masked port.
        pub evtchn_mask: [u32; 32],
        /// Odd during an update of the wall clock by the hypervisor.
        pub wc_version: u32,
        /// UTC at system time 0, in seconds since 1970: low half.
        pub wc_sec: u32,
        /// UTC at system time 0: nanoseconds of the second.
        pub wc_nsec: u32,
        /// Architecture-specific part.
        pub arch: ArchSharedInfoCompat,
    }
}

/// Layout of `shared_info` and `vcpu_info`, as far as it differs between 32-bit and 64-bit guests. Offsets are in
/// bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedLayout {
    /// Binary logarithm of the number of bits in a word of ports, and in the selector.
    pub word_shift: u32,
    /// Number of ports in the 2-level ABI.
    pub ports: u32,
    /// Offset of the words of pending ports in `shared_info`.
    pub evtchn_pending: usize,
    /// Offset of the words of masked ports in `shared_info`.
    pub evtchn_mask: usize,
    /// Offset of the wall clock's version, a `u32`.
    pub wc_version: usize,
    /// Offset of the low half of its seconds, a `u32`.
    pub wc_sec: usize,
    /// Offset of its nanoseconds, a `u32`.
    pub wc_nsec: usize,
    /// Offset of the high half of its seconds, a `u32`.
    pub wc_sec_hi: usize,
    /// Offset of `nmi_reason`.
    pub nmi_reason: usize,
    /// Offset of the selector (`evtchn_pending_sel`) in `vcpu_info`.
    pub pending_sel: usize,
}

impl SharedLayout {
    /// The layout of 64-bit guests.
    pub const NATIVE: Self = Self {
        word_shift: u64::BITS.trailing_zeros(),
        ports: EVTCHN_2L_NR_CHANNELS,
        evtchn_pending: SHARED_INFO_EVTCHN_PENDING,
        evtchn_mask: SHARED_INFO_EVTCHN_MASK,
        wc_version: SHARED_INFO_WC_VERSION,
        wc_sec: SHARED_INFO_WC_SEC,
        wc_nsec: SHARED_INFO_WC_NSEC,
        wc_sec_hi: SHARED_INFO_WC_SEC_HI,
        nmi_reason: SHARED_INFO_NMI_REASON,
        pending_sel: VCPU_INFO_PENDING_SEL,
    };
    /// The layout of 32-bit guests.
    pub const COMPAT: Self = Self {
        word_shift: u32::BITS.trailing_zeros(),
        ports: u32::BITS * u32::BITS,
        evtchn_pending: offset_of!(SharedInfoCompat, evtchn_pending),
        evtchn_mask: offset_of!(SharedInfoCompat, evtchn_mask),
        wc_version: offset_of!(SharedInfoCompat, wc_version),
        wc_sec: offset_of!(SharedInfoCompat, wc_sec),
        wc_nsec: offset_of!(SharedInfoCompat, wc_nsec),
        wc_sec_hi: offset_of!(SharedInfoCompat, arch.wc_sec_hi),
        nmi_reason: offset_of!(SharedInfoCompat, arch.nmi_reason),
        pending_sel: offset_of!(VcpuInfoCompat, evtchn_pending_sel),
    };
}

// Every vCPU's information lies at the same place in both, and has its time there.
const _: () = assert!(size_of::<VcpuInfoCompat>() == crate::shared_info::VCPU_INFO_SIZE);
const _: () = assert!(offset_of!(VcpuInfoCompat, time) == crate::shared_info::VCPU_INFO_TIME);
