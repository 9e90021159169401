//! The page that a domain shares with the hypervisor, and the information about a vCPU and about time in it.
//!
//! Guest and hypervisor write this page at the same time: the hypervisor sees it as an array of atomics, and uses
//! the offsets given at the end of this file. The structures are for tests and for a guest's own copy.
//! **Source:** `xen.h`, `arch-x86/xen.h`, `arch-x86/xen-x86_64.h`.

use crate::Gfn;
use crate::describe::{constants, flags, wire};
use core::mem::offset_of;

constants! {
    table CONSTANTS;
    /// How many vCPUs have their information in the shared page from the start.
    pub const XEN_LEGACY_MAX_VCPUS: usize = 32;
}

flags! {
    /// Flags of [`VcpuTimeInfo`].
    pub struct PvclockFlags("XEN_PVCLOCK_"): u8 {
        /// All vCPUs read the same time at the same moment.
        const TSC_STABLE_BIT = 1 << 0;
        /// The guest stood still for a while.
        const GUEST_STOPPED = 1 << 1;
    }
}

wire! {
    /// What the architecture adds to [`VcpuInfo`].
    pub struct ArchVcpuInfo: "struct arch_vcpu_info" {
        /// The faulting address, for PV.
        pub cr2: u64,
        /// Padding.
        pub pad: u64,
    }

    /// How a guest makes system time of its time stamp counter.
    ///
    /// With `d` the counter minus `tsc_timestamp`, shifted left by `tsc_shift` (right if negative), the time is
    /// `system_time + ((d * tsc_to_system_mul) >> 32)`.
    pub struct VcpuTimeInfo: "struct vcpu_time_info" {
        /// Odd while the hypervisor is writing; another number afterwards.
        pub version: u32,
        /// Padding.
        pub pad0: u32,
        /// The counter when `system_time` was taken.
        pub tsc_timestamp: u64,
        /// Nanoseconds since the hypervisor booted.
        pub system_time: u64,
        /// Nanoseconds per (shifted) tick, times 2^32.
        pub tsc_to_system_mul: u32,
        /// By how many bits to shift the difference before multiplying.
        pub tsc_shift: i8,
        /// Flags.
        pub flags: PvclockFlags,
        /// Padding.
        pub pad1: [u8; 2],
    }

    /// What a vCPU and the hypervisor share.
    pub struct VcpuInfo: "struct vcpu_info" {
        /// Not 0: an event waits. Set by the hypervisor, cleared by the guest.
        pub evtchn_upcall_pending: u8,
        /// Not 0: no upcall for now, for PV. Set and cleared by the guest, cleared when it blocks.
        pub evtchn_upcall_mask: u8,
        /// Padding.
        pub pad: [u8; 6],
        /// 2-level ABI: a bit for each word of pending events that has one.
        pub evtchn_pending_sel: u64,
        /// What the architecture adds.
        pub arch: ArchVcpuInfo,
        /// Time.
        pub time: VcpuTimeInfo,
    }

    /// What the architecture adds to [`SharedInfo`]; all but `nmi_reason` is for PV guests.
    pub struct ArchSharedInfo: "struct arch_shared_info" {
        /// How many entries the guest's list of its frames has.
        pub max_pfn: u64,
        /// The frame that holds the top of that list.
        pub pfn_to_mfn_frame_list_list: Gfn,
        /// Why an NMI came, `XEN_NMIREASON_*`.
        pub nmi_reason: u64,
        /// The page table by which `p2m_vaddr` is reached.
        pub p2m_cr3: u64,
        /// Guest virtual address of the list.
        pub p2m_vaddr: u64,
        /// Counts changes of the list; odd during one.
        pub p2m_generation: u64,
    }

    /// The shared page, as a 64-bit guest sees it.
    pub struct SharedInfo: "struct shared_info" {
        /// The first vCPUs' information, until they register a place of their own.
        pub vcpu_info: [VcpuInfo; XEN_LEGACY_MAX_VCPUS],
        /// 2-level ABI: a bit for each pending port.
        pub evtchn_pending: [u64; 64],
        /// 2-level ABI: a bit for each masked port.
        pub evtchn_mask: [u64; 64],
        /// Odd while the hypervisor is writing the wallclock.
        pub wc_version: u32,
        /// UTC when system time was 0: low half of the seconds since 1970.
        pub wc_sec: u32,
        /// The rest, in nanoseconds.
        pub wc_nsec: u32,
        /// The high half of the seconds.
        pub wc_sec_hi: u32,
        /// What the architecture adds.
        pub arch: ArchSharedInfo,
    }
}

/// Size of [`VcpuInfo`] in bytes; vCPU `n`'s is at `n` times this in the shared page.
pub const VCPU_INFO_SIZE: usize = size_of::<VcpuInfo>();
/// Offset in [`VcpuInfo`] of `evtchn_upcall_pending`, a `u8`.
pub const VCPU_INFO_UPCALL_PENDING: usize = offset_of!(VcpuInfo, evtchn_upcall_pending);
/// Offset in [`VcpuInfo`] of `evtchn_upcall_mask`, a `u8`.
pub const VCPU_INFO_UPCALL_MASK: usize = offset_of!(VcpuInfo, evtchn_upcall_mask);
/// Offset in [`VcpuInfo`] of `evtchn_pending_sel`, a `u64`.
pub const VCPU_INFO_PENDING_SEL: usize = offset_of!(VcpuInfo, evtchn_pending_sel);
/// Offset in [`VcpuInfo`] of `time`, a [`VcpuTimeInfo`].
pub const VCPU_INFO_TIME: usize = offset_of!(VcpuInfo, time);

/// Offset in [`VcpuTimeInfo`] of `version`, a `u32`.
pub const TIME_VERSION: usize = offset_of!(VcpuTimeInfo, version);
/// Offset in [`VcpuTimeInfo`] of `tsc_timestamp`, a `u64`.
pub const TIME_TSC_TIMESTAMP: usize = offset_of!(VcpuTimeInfo, tsc_timestamp);
/// Offset in [`VcpuTimeInfo`] of `system_time`, a `u64`.
pub const TIME_SYSTEM_TIME: usize = offset_of!(VcpuTimeInfo, system_time);
/// Offset in [`VcpuTimeInfo`] of `tsc_to_system_mul`, a `u32`.
pub const TIME_TSC_TO_SYSTEM_MUL: usize = offset_of!(VcpuTimeInfo, tsc_to_system_mul);
/// Offset in [`VcpuTimeInfo`] of `tsc_shift`, an `i8`.
pub const TIME_TSC_SHIFT: usize = offset_of!(VcpuTimeInfo, tsc_shift);
/// Offset in [`VcpuTimeInfo`] of `flags`, a `u8`.
pub const TIME_FLAGS: usize = offset_of!(VcpuTimeInfo, flags);

/// Offset in [`SharedInfo`] of `evtchn_pending`, 64 `u64`s.
pub const SHARED_INFO_EVTCHN_PENDING: usize = offset_of!(SharedInfo, evtchn_pending);
/// Offset in [`SharedInfo`] of `evtchn_mask`, 64 `u64`s.
pub const SHARED_INFO_EVTCHN_MASK: usize = offset_of!(SharedInfo, evtchn_mask);
/// Offset in [`SharedInfo`] of `wc_version`, a `u32`.
pub const SHARED_INFO_WC_VERSION: usize = offset_of!(SharedInfo, wc_version);
/// Offset in [`SharedInfo`] of `wc_sec`, a `u32`.
pub const SHARED_INFO_WC_SEC: usize = offset_of!(SharedInfo, wc_sec);
/// Offset in [`SharedInfo`] of `wc_nsec`, a `u32`.
pub const SHARED_INFO_WC_NSEC: usize = offset_of!(SharedInfo, wc_nsec);
/// Offset in [`SharedInfo`] of `wc_sec_hi`, a `u32`.
pub const SHARED_INFO_WC_SEC_HI: usize = offset_of!(SharedInfo, wc_sec_hi);
/// Offset in [`SharedInfo`] of `arch.nmi_reason`, a `u64`.
pub const SHARED_INFO_NMI_REASON: usize = offset_of!(SharedInfo, arch.nmi_reason);
/// Size of [`SharedInfo`] in bytes; the rest of the page is zero.
pub const SHARED_INFO_SIZE: usize = size_of::<SharedInfo>();
