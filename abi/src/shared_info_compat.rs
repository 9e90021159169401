//! The shared page and `vcpu_info` in the form of 32-bit guests.
//!
//! Both forms lie in memory as long as the domain lives, so they are not translated from one to the other: a domain has
//! one or the other, and [`SharedLayout`] says where things are in each. **Source:** `xen.h`, `arch-x86/xen-x86_32.h`.

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

    /// What the architecture adds to [`VcpuInfoCompat`].
    pub struct ArchVcpuInfoCompat: "struct arch_vcpu_info" {
        /// The faulting address, for PV.
        pub cr2: u32,
        /// Padding.
        pub pad: [u32; 5],
    }

    /// What a vCPU and the hypervisor share.
    pub struct VcpuInfoCompat: "struct vcpu_info" {
        /// Not 0: an event waits. Set by the hypervisor, cleared by the guest.
        pub evtchn_upcall_pending: u8,
        /// Not 0: no upcall for now, for PV. Set and cleared by the guest, cleared when it blocks.
        pub evtchn_upcall_mask: u8,
        /// Padding.
        pub pad: [u8; 2],
        /// Two-level form: a bit for each word of pending events that has one.
        pub evtchn_pending_sel: u32,
        /// What the architecture adds.
        pub arch: ArchVcpuInfoCompat,
        /// Time.
        pub time: VcpuTimeInfo,
    }

    /// What the architecture adds to [`SharedInfoCompat`]; all but `nmi_reason` and `wc_sec_hi` is for PV guests.
    pub struct ArchSharedInfoCompat: "struct arch_shared_info" {
        /// How many entries the guest's list of its frames has.
        pub max_pfn: u32,
        /// The frame that holds the top of that list.
        pub pfn_to_mfn_frame_list_list: u32,
        /// Why an NMI came, `XEN_NMIREASON_*`.
        pub nmi_reason: u32,
        /// The page table by which `p2m_vaddr` is reached.
        pub p2m_cr3: u32,
        /// Guest virtual address of the list.
        pub p2m_vaddr: u32,
        /// Counts changes of the list; odd during one.
        pub p2m_generation: u32,
        /// The high half of the seconds.
        pub wc_sec_hi: u32,
    }

    /// The shared page.
    pub struct SharedInfoCompat: "struct shared_info" {
        /// The first vCPUs' information, until they register a place of their own.
        pub vcpu_info: [VcpuInfoCompat; XEN_LEGACY_MAX_VCPUS],
        /// Two-level form: a bit for each pending port.
        pub evtchn_pending: [u32; 32],
        /// Two-level form: a bit for each masked port.
        pub evtchn_mask: [u32; 32],
        /// Odd while the hypervisor is writing the wallclock.
        pub wc_version: u32,
        /// UTC when system time was 0: low half of the seconds since 1970.
        pub wc_sec: u32,
        /// The rest, in nanoseconds.
        pub wc_nsec: u32,
        /// What the architecture adds.
        pub arch: ArchSharedInfoCompat,
    }
}

/// Offsets in the shared page and in `vcpu_info`, in bytes, as far as 32-bit and 64-bit guests differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedLayout {
    /// A word of ports has 2 to this many bits, and so has the selector of such words.
    pub word_shift: u32,
    /// Number of ports in the 2-level ABI.
    pub ports: u32,
    /// Offset of the words of pending ports.
    pub evtchn_pending: usize,
    /// Offset of the words of masked ports.
    pub evtchn_mask: usize,
    /// Offset of the wallclock's version, a `u32`.
    pub wc_version: usize,
    /// Offset of its seconds, a `u32`.
    pub wc_sec: usize,
    /// Offset of its nanoseconds, a `u32`.
    pub wc_nsec: usize,
    /// Offset of the high half of its seconds, a `u32`.
    pub wc_sec_hi: usize,
    /// Offset of the reason of an NMI.
    pub nmi_reason: usize,
    /// Offset in `vcpu_info` of the selector.
    pub pending_sel: usize,
}

impl SharedLayout {
    /// The form of 64-bit guests.
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
    /// The form of 32-bit guests.
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
