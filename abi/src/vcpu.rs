//! vCPUs of the calling domain: where their information lies, and their timers.
//!
//! Hypercall [`VCPU_OP`](crate::hypercall::VCPU_OP): `(operation, vCPU, pointer to arguments)`.
//! **Source:** `vcpu.h`.

use crate::describe::{constants, flags, wire};
use crate::shared_info::VcpuTimeInfo;
use crate::{Gfn, GuestHandle};

constants! {
    table CONSTANTS;
    /// Gives a vCPU its first registers; [`VcpuHvmContext`](crate::hvm_vcpu::VcpuHvmContext) or, for PV,
    /// [`VcpuGuestContext`](crate::guest_context::VcpuGuestContext).
    pub const VCPUOP_INITIALISE: u32 = 0;
    /// Starts a vCPU.
    pub const VCPUOP_UP: u32 = 1;
    /// Stops a vCPU.
    pub const VCPUOP_DOWN: u32 = 2;
    /// Returns 1 if a vCPU is started, else 0.
    pub const VCPUOP_IS_UP: u32 = 3;
    /// Writes [`VcpuRunstateInfo`].
    pub const VCPUOP_GET_RUNSTATE_INFO: u32 = 4;
    /// Keeps a [`VcpuRunstateInfo`] up to date in the guest's memory; [`VcpuRegisterRunstateMemoryArea`].
    pub const VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA: u32 = 5;
    /// Starts the periodic timer; [`VcpuSetPeriodicTimer`].
    pub const VCPUOP_SET_PERIODIC_TIMER: u32 = 6;
    /// Stops the periodic timer.
    pub const VCPUOP_STOP_PERIODIC_TIMER: u32 = 7;
    /// Starts the one-shot timer; [`VcpuSetSingleshotTimer`].
    pub const VCPUOP_SET_SINGLESHOT_TIMER: u32 = 8;
    /// Stops the one-shot timer.
    pub const VCPUOP_STOP_SINGLESHOT_TIMER: u32 = 9;
    /// Moves the vCPU's information out of the shared page, once; [`VcpuRegisterVcpuInfo`].
    pub const VCPUOP_REGISTER_VCPU_INFO: u32 = 10;
    /// Sends a non-maskable interrupt to the vCPU.
    pub const VCPUOP_SEND_NMI: u32 = 11;
    /// Asks on which physical CPU the vCPU is pinned; [`VcpuGetPhysid`].
    pub const VCPUOP_GET_PHYSID: u32 = 12;
    /// Keeps a copy of the time information for user space; [`VcpuRegisterTimeMemoryArea`].
    pub const VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA: u32 = 13;

    /// [`VcpuRunstateInfo::state`]: on a physical CPU.
    pub const RUNSTATE_RUNNING: i32 = 0;
    /// [`VcpuRunstateInfo::state`]: waiting for a physical CPU.
    pub const RUNSTATE_RUNNABLE: i32 = 1;
    /// [`VcpuRunstateInfo::state`]: waiting for an event.
    pub const RUNSTATE_BLOCKED: i32 = 2;
    /// [`VcpuRunstateInfo::state`]: not started, or paused.
    pub const RUNSTATE_OFFLINE: i32 = 3;
    /// Bit of [`VcpuRunstateInfo::state_entry_time`] that is set while the hypervisor is writing.
    pub const XEN_RUNSTATE_UPDATE: u64 = 1 << 63;
}

flags! {
    /// Flags of [`VcpuSetSingleshotTimer`].
    pub struct SingleshotFlags("VCPU_SSHOTTMR_"): u32 {
        /// A time that has passed is an error (`ETIME`).
        const FUTURE = 1 << 0;
    }
}

wire! {
    /// What a vCPU spent its time on. All times are system time in nanoseconds.
    pub struct VcpuRunstateInfo: "struct vcpu_runstate_info" {
        /// A `RUNSTATE_*`.
        pub state: i32,
        /// Padding.
        pub pad: [u8; 4],
        /// When it came to that state.
        pub state_entry_time: u64,
        /// Time spent in each state.
        pub time: [u64; 4],
    }

    /// Arguments of [`VCPUOP_REGISTER_RUNSTATE_MEMORY_AREA`].
    pub struct VcpuRegisterRunstateMemoryArea: "struct vcpu_register_runstate_memory_area" {
        /// In: guest virtual address of a [`VcpuRunstateInfo`].
        pub addr: GuestHandle<VcpuRunstateInfo> as slot,
    }

    /// Arguments of [`VCPUOP_SET_PERIODIC_TIMER`].
    pub struct VcpuSetPeriodicTimer: "struct vcpu_set_periodic_timer" {
        /// In: nanoseconds from tick to tick.
        pub period_ns: u64,
    }

    /// Arguments of [`VCPUOP_SET_SINGLESHOT_TIMER`].
    pub struct VcpuSetSingleshotTimer: "struct vcpu_set_singleshot_timer" {
        /// In: system time in nanoseconds.
        pub timeout_abs_ns: u64,
        /// In: flags.
        pub flags: SingleshotFlags,
        /// Padding.
        pub pad: [u8; 4],
    }

    /// Arguments of [`VCPUOP_REGISTER_VCPU_INFO`].
    pub struct VcpuRegisterVcpuInfo: "struct vcpu_register_vcpu_info" {
        /// In: the frame, of the guest's own for a translated guest.
        pub gfn: Gfn as wide = "mfn",
        /// In: offset in it, in bytes; the information must not cross the end.
        pub offset: u32,
        /// Zero.
        pub reserved: u32 = "rsvd",
    }

    /// Arguments of [`VCPUOP_GET_PHYSID`].
    pub struct VcpuGetPhysid: "struct vcpu_get_physid" {
        /// Out: the APIC identifier in the low half, the ACPI identifier in the high one.
        pub phys_id: u64,
    }

    /// Arguments of [`VCPUOP_REGISTER_VCPU_TIME_MEMORY_AREA`].
    pub struct VcpuRegisterTimeMemoryArea: "struct vcpu_register_time_memory_area" {
        /// In: guest virtual address of a [`VcpuTimeInfo`].
        pub addr: GuestHandle<VcpuTimeInfo> as slot,
    }
}
