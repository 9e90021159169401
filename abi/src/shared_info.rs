//! `shared_info`: the page that a domain shares with the hypervisor, with `vcpu_info` and the time in it.
//!
//! Guest and hypervisor write this page at the same time. The hypervisor accesses it as an array of atomics, by the
//! offsets at the end of this file. The structures are for tests and for copies.
//!
//! **Source:** `xen.h`, `arch-x86/xen.h`, `arch-x86/xen-x86_64.h`.

use crate::Gfn;
use crate::describe::{constants, flags, wire};
use core::mem::offset_of;

constants! {
    table CONSTANTS;
    /// Number of vCPUs whose `vcpu_info` is in `shared_info` from the start.
    pub const XEN_LEGACY_MAX_VCPUS: usize = 32;
}

flags! {
    /// Flags of [`VcpuTimeInfo`].
    pub struct PvclockFlags("XEN_PVCLOCK_"): u8 {
        /// The time stamp counters of all vCPUs are synchronized.
        const TSC_STABLE_BIT = 1 << 0;
        /// The guest was stopped for a while, for example by a debugger.
        const GUEST_STOPPED = 1 << 1;
    }
}

wire! {
    /// Architecture-specific part of [`VcpuInfo`].
    pub struct ArchVcpuInfo: "struct arch_vcpu_info" {
        /// PV: faulting address of a page fault.
        pub cr2: u64,
        /// Padding.
        pub pad: u64,
    }

    /// Parameters by which a guest computes system time from its time stamp counter (pvclock).
    ///
    /// With `d` the counter minus `tsc_timestamp`, shifted left by `tsc_shift` (right if negative), the time is
    /// `system_time + ((d * tsc_to_system_mul) >> 32)`.
    pub struct VcpuTimeInfo: "struct vcpu_time_info" {
        /// Odd during an update by the hypervisor; even and greater after it.
        pub version: u32,
        /// Padding.
        pub pad0: u32,
        /// Time stamp counter at `system_time`.
        pub tsc_timestamp: u64,
        /// System time: nanoseconds since the hypervisor booted.
        pub system_time: u64,
        /// Nanoseconds for one (shifted) tick, times 2^32.
        pub tsc_to_system_mul: u32,
        /// Number of bits by which the difference is shifted before the multiplication; negative for a right shift.
        pub tsc_shift: i8,
        /// See [`PvclockFlags`].
        pub flags: PvclockFlags,
        /// Padding.
        pub pad1: [u8; 2],
    }

    /// `vcpu_info`: the part of `shared_info` that belongs to one vCPU.
    pub struct VcpuInfo: "struct vcpu_info" {
        /// Not 0 if an upcall is pending. Set by the hypervisor, cleared by the guest.
        pub evtchn_upcall_pending: u8,
        /// PV: not 0 if upcalls are masked. Set and cleared by the guest, cleared by the hypervisor when the vCPU
        /// blocks.
        pub evtchn_upcall_mask: u8,
        /// Padding.
        pub pad: [u8; 6],
        /// 2-level ABI: selector, a bit for each word of `evtchn_pending` that has a pending port.
        pub evtchn_pending_sel: u64,
        /// Architecture-specific part.
        pub arch: ArchVcpuInfo,
        /// Time of this vCPU (pvclock).
        pub time: VcpuTimeInfo,
    }

    /// Architecture-specific part of [`SharedInfo`]. All but `nmi_reason` is for PV guests.
    pub struct ArchSharedInfo: "struct arch_shared_info" {
        /// Number of entries of the guest's p2m list.
        pub max_pfn: u64,
        /// Frame of the root of the p2m list (a tree of frames).
        pub pfn_to_mfn_frame_list_list: Gfn,
        /// Reason of the last NMI, a set of `XEN_NMIREASON_*`.
        pub nmi_reason: u64,
        /// Page table (CR3) through which `p2m_vaddr` is mapped.
        pub p2m_cr3: u64,
        /// Guest virtual address of the linear p2m list.
        pub p2m_vaddr: u64,
        /// Generation of the p2m list; odd during an update by the guest.
        pub p2m_generation: u64,
    }

    /// `shared_info` of a 64-bit guest.
    pub struct SharedInfo: "struct shared_info" {
        /// `vcpu_info` of the first vCPUs, until they register a frame of their own.
        pub vcpu_info: [VcpuInfo; XEN_LEGACY_MAX_VCPUS],
        /// 2-level ABI: a bit for each pending port.
        pub evtchn_pending: [u64; 64],
        /// 2-level ABI: a bit for each masked port.
        pub evtchn_mask: [u64; 64],
        /// Odd during an update of the wall clock by the hypervisor.
        pub wc_version: u32,
        /// UTC at system time 0, in seconds since 1970: low half.
        pub wc_sec: u32,
        /// UTC at system time 0: nanoseconds of the second.
        pub wc_nsec: u32,
        /// UTC at system time 0, in seconds since 1970: high half.
        pub wc_sec_hi: u32,
        /// Architecture-specific part.
        pub arch: ArchSharedInfo,
    }
}

/// Size of [`VcpuInfo`] in bytes. The one of vCPU `n` is at `n` times this in `shared_info`.
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
/// Size of [`SharedInfo`] in bytes. The rest of the page is zero.
pub const SHARED_INFO_SIZE: usize = size_of::<SharedInfo>();
