//! Operations on vCPUs of the calling domain: start and stop, runstate, `vcpu_info`, timers.
//!
//! Hypercall [`VCPU_OP`](crate::hypercall::VCPU_OP): `(operation, vCPU, pointer to arguments)`. **Source:** `vcpu.h`.

use crate::describe::{constants, flags, wire};
use crate::shared_info::VcpuTimeInfo;
use crate::{Gfn, GuestHandle};

constants! {
    table CONSTANTS;
    /// Sets the initial registers of a vCPU; [`VcpuHvmContext`](crate::hvm_vcpu::VcpuHvmContext), for PV
    /// [`VcpuGuestContext`](crate::guest_context::VcpuGuestContext).
    pub const VCPUOP_INITIALISE: u32 = 0;
    /// Brings a vCPU up (online).
    pub const VCPUOP_UP: u32 = 1;
    /// Takes a vCPU down (offline).
    pub const VCPUOP_DOWN: u32 = 2;
    /// Returns 1 if a vCPU is up, otherwise 0.
    pub const VCPUOP_IS_UP: u32 = 3;
    /// Writes [`VcpuRunstateInfo`].
    pub const VCPUOP_GET_RUNSTATE_INFO: u32 = 4;
    /// Registers guest memory in which the runstate is kept up to date; [`VcpuRegisterRunstateMemoryArea`].
    pub const VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA: u32 = 5;
    /// Starts the periodic timer; [`VcpuSetPeriodicTimer`].
    pub const VCPUOP_SET_PERIODIC_TIMER: u32 = 6;
    /// Stops the periodic timer.
    pub const VCPUOP_STOP_PERIODIC_TIMER: u32 = 7;
    /// Starts the one-shot timer; [`VcpuSetSingleshotTimer`].
    pub const VCPUOP_SET_SINGLESHOT_TIMER: u32 = 8;
    /// Stops the one-shot timer.
    pub const VCPUOP_STOP_SINGLESHOT_TIMER: u32 = 9;
    /// Moves `vcpu_info` out of `shared_info`, once for each vCPU; [`VcpuRegisterVcpuInfo`].
    pub const VCPUOP_REGISTER_VCPU_INFO: u32 = 10;
    /// Sends an NMI to a vCPU.
    pub const VCPUOP_SEND_NMI: u32 = 11;
    /// Returns the physical CPU to which a vCPU is pinned; [`VcpuGetPhysid`].
    pub const VCPUOP_GET_PHYSID: u32 = 12;
    /// Registers guest memory with a copy of the time information, for user space; [`VcpuRegisterTimeMemoryArea`].
    pub const VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA: u32 = 13;

    /// [`VcpuRunstateInfo::state`]: running on a physical CPU.
    pub const RUNSTATE_RUNNING: i32 = 0;
    /// [`VcpuRunstateInfo::state`]: runnable, waiting for a physical CPU.
    pub const RUNSTATE_RUNNABLE: i32 = 1;
    /// [`VcpuRunstateInfo::state`]: blocked, waiting for an event.
    pub const RUNSTATE_BLOCKED: i32 = 2;
    /// [`VcpuRunstateInfo::state`]: offline: down or paused.
    pub const RUNSTATE_OFFLINE: i32 = 3;
    /// Bit of [`VcpuRunstateInfo::state_entry_time`] that is set during an update by the hypervisor.
    pub const XEN_RUNSTATE_UPDATE: u64 = 1 << 63;
}

flags! {
    /// Flags of [`VcpuSetSingleshotTimer`].
    pub struct SingleshotFlags("VCPU_SSHOTTMR_"): u32 {
        /// Fails with `ETIME` if the timeout is in the past.
        const FUTURE = 1 << 0;
    }
}

wire! {
    /// Time that a vCPU spent in each runstate. All times are system time in nanoseconds.
    pub struct VcpuRunstateInfo: "struct vcpu_runstate_info" {
        /// The current state, a `RUNSTATE_*`.
        pub state: i32,
        /// Padding.
        pub pad: [u8; 4],
        /// Time at which it entered that state.
        pub state_entry_time: u64,
        /// Time spent in each state, indexed by `RUNSTATE_*`.
        pub time: [u64; 4],
    }

    /// Arguments of [`VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA`].
    pub struct VcpuRegisterRunstateMemoryArea: "struct vcpu_register_runstate_memory_area" {
        /// In: guest virtual address of a [`VcpuRunstateInfo`].
        pub addr: GuestHandle<VcpuRunstateInfo> as slot,
    }

    /// Arguments of [`VCPUOP_SET_PERIODIC_TIMER`].
    pub struct VcpuSetPeriodicTimer: "struct vcpu_set_periodic_timer" {
        /// In: period in nanoseconds.
        pub period_ns: u64,
    }

    /// Arguments of [`VCPUOP_SET_SINGLESHOT_TIMER`].
    pub struct VcpuSetSingleshotTimer: "struct vcpu_set_singleshot_timer" {
        /// In: timeout, as system time in nanoseconds.
        pub timeout_abs_ns: u64,
        /// In: see [`SingleshotFlags`].
        pub flags: SingleshotFlags,
        /// Padding.
        pub pad: [u8; 4],
    }

    /// Arguments of [`VCPUOP_REGISTER_VCPU_INFO`].
    pub struct VcpuRegisterVcpuInfo: "struct vcpu_register_vcpu_info" {
        /// In: GFN of the frame; for PV, its MFN.
        pub gfn: Gfn as wide = "mfn",
        /// In: offset in the frame, in bytes; `vcpu_info` must not cross the end of the frame.
        pub offset: u32,
        /// Zero.
        pub reserved: u32 = "rsvd",
    }

    /// Arguments of [`VCPUOP_GET_PHYSID`].
    pub struct VcpuGetPhysid: "struct vcpu_get_physid" {
        /// Out: APIC ID in the low half, ACPI ID in the high half.
        pub phys_id: u64,
    }

    /// Arguments of [`VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA`].
    pub struct VcpuRegisterTimeMemoryArea: "struct vcpu_register_time_memory_area" {
        /// In: guest virtual address of a [`VcpuTimeInfo`].
        pub addr: GuestHandle<VcpuTimeInfo> as slot,
    }
}
