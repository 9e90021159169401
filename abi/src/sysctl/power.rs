//! Power management of CPUs: performance states (P-states), idle states (C-states), frequencies, hotplug.
//!
//! **Source:** `sysctl.h`.

use crate::describe::{constants, union_members, wire};
use crate::{GuestHandle, Union};

constants! {
    table CONSTANTS;
    /// [`SysctlGetPmstat::kind`]: returns the number of P-states.
    pub const PMSTAT_GET_MAX_PX: u32 = 0x11;
    /// [`SysctlGetPmstat::kind`]: returns the statistics of P-states.
    pub const PMSTAT_GET_PXSTAT: u32 = 0x12;
    /// [`SysctlGetPmstat::kind`]: resets the statistics of P-states.
    pub const PMSTAT_RESET_PXSTAT: u32 = 0x13;
    /// [`SysctlGetPmstat::kind`]: returns the number of C-states.
    pub const PMSTAT_GET_MAX_CX: u32 = 0x21;
    /// [`SysctlGetPmstat::kind`]: returns the statistics of C-states.
    pub const PMSTAT_GET_CXSTAT: u32 = 0x22;
    /// [`SysctlGetPmstat::kind`]: resets the statistics of C-states.
    pub const PMSTAT_RESET_CXSTAT: u32 = 0x23;
    /// [`SysctlCpuHotplug::op`]: brings a CPU online.
    pub const XEN_SYSCTL_CPU_HOTPLUG_ONLINE: u32 = 0;
    /// [`SysctlCpuHotplug::op`]: takes a CPU offline.
    pub const XEN_SYSCTL_CPU_HOTPLUG_OFFLINE: u32 = 1;
    /// [`SysctlCpuHotplug::op`]: brings all threads online.
    pub const XEN_SYSCTL_CPU_HOTPLUG_SMT_ENABLE: u32 = 2;
    /// [`SysctlCpuHotplug::op`]: takes all threads but the first of each core offline.
    pub const XEN_SYSCTL_CPU_HOTPLUG_SMT_DISABLE: u32 = 3;
    /// Length of the name of a governor or driver, in bytes.
    pub const CPUFREQ_NAME_LEN: usize = 16;
    /// [`SysctlPmOp::cmd`]: returns frequencies and governor.
    pub const GET_CPUFREQ_PARA: u32 = 0x11;
    /// [`SysctlPmOp::cmd`]: sets the governor.
    pub const SET_CPUFREQ_GOV: u32 = 0x12;
    /// [`SysctlPmOp::cmd`]: sets a parameter of the governor.
    pub const SET_CPUFREQ_PARA: u32 = 0x13;
    /// [`SysctlPmOp::cmd`]: returns the average frequency.
    pub const GET_CPUFREQ_AVGFREQ: u32 = 0x14;
    /// [`SysctlPmOp::cmd`]: sets whether the scheduler fills the threads of a core before it uses another core.
    pub const XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT: u32 = 0x21;
    /// [`SysctlPmOp::cmd`]: returns the deepest C-state that is allowed.
    pub const XEN_SYSCTL_PM_OP_GET_MAX_CSTATE: u32 = 0x22;
    /// [`SysctlPmOp::cmd`]: sets the deepest C-state that is allowed.
    pub const XEN_SYSCTL_PM_OP_SET_MAX_CSTATE: u32 = 0x23;
    /// [`SysctlPmOp::cmd`]: enables turbo mode.
    pub const XEN_SYSCTL_PM_OP_ENABLE_TURBO: u32 = 0x26;
    /// [`SysctlPmOp::cmd`]: disables turbo mode.
    pub const XEN_SYSCTL_PM_OP_DISABLE_TURBO: u32 = 0x27;
    /// No limit on C-states.
    pub const XEN_SYSCTL_CX_UNLIMITED: u32 = u32::MAX;
}

wire! {
    fixed;

    /// Statistics of one P-state.
    pub struct PmPxVal: "struct pm_px_val" {
        /// Frequency in MHz.
        pub freq: u64,
        /// Time spent in it, in nanoseconds.
        pub residency: u64,
        /// Number of times that it was entered.
        pub count: u64,
    }

    /// Statistics of P-states.
    pub struct PmPxStat: "struct pm_px_stat" {
        /// Number of P-states.
        pub total: u8,
        /// Number of P-states that may be used.
        pub usable: u8,
        /// Index of the previous P-state.
        pub last: u8,
        /// Index of the current P-state.
        pub cur: u8,
        /// Padding.
        pub pad: [u8; 4],
        /// Number of transitions from each P-state to each other, a matrix.
        pub trans_pt: GuestHandle<u64>,
        /// Statistics of each P-state.
        pub pt: GuestHandle<PmPxVal>,
    }

    /// Statistics of C-states.
    pub struct PmCxStat: "struct pm_cx_stat" {
        /// Number of C-states.
        pub nr: u32,
        /// Index of the last C-state.
        pub last: u32,
        /// Time that the CPU idled, in nanoseconds.
        pub idle_time: u64,
        /// Number of times that each C-state was entered.
        pub triggers: GuestHandle<u64>,
        /// Time spent in each C-state, in nanoseconds.
        pub residencies: GuestHandle<u64>,
        /// Length of `pc`.
        pub nr_pc: u32,
        /// Length of `cc`.
        pub nr_cc: u32,
        /// Time that the package spent in each C-state, in nanoseconds.
        pub pc: GuestHandle<u64>,
        /// Time that the core spent in each C-state, in nanoseconds.
        pub cc: GuestHandle<u64>,
    }

    /// Arguments of [`XEN_SYSCTL_GET_PMSTAT`](super::XEN_SYSCTL_GET_PMSTAT).
    pub struct SysctlGetPmstat: "struct xen_sysctl_get_pmstat" {
        /// In: a `PMSTAT_*`.
        pub kind: u32 = "type",
        /// In: the CPU.
        pub cpuid: u32,
        /// In and out: depends on `kind`.
        pub u: Union<56>,
    }

    /// Arguments of [`XEN_SYSCTL_CPU_HOTPLUG`](super::XEN_SYSCTL_CPU_HOTPLUG).
    pub struct SysctlCpuHotplug: "struct xen_sysctl_cpu_hotplug" {
        /// In: the CPU.
        pub cpu: u32,
        /// In: an `XEN_SYSCTL_CPU_HOTPLUG_*`.
        pub op: u32,
    }

    /// Frequencies and governor of a CPU. Frequencies are in kHz.
    pub struct GetCpufreqPara: "struct xen_get_cpufreq_para" {
        /// In: length of `affected_cpus`. Out: number of CPUs whose frequency changes together.
        pub cpu_num: u32,
        /// In: length of `scaling_available_frequencies`. Out: number of frequencies.
        pub freq_num: u32,
        /// In: length of `scaling_available_governors`. Out: number of governors.
        pub gov_num: u32,
        /// Padding.
        pub pad0: [u8; 4],
        /// Out: CPUs whose frequency changes together.
        pub affected_cpus: GuestHandle<u32>,
        /// Out: frequencies that can be set.
        pub scaling_available_frequencies: GuestHandle<u32>,
        /// Out: names of governors.
        pub scaling_available_governors: GuestHandle,
        /// Out: name of the driver.
        pub scaling_driver: [u8; CPUFREQ_NAME_LEN],
        /// Out: current frequency of the CPU.
        pub cpuinfo_cur_freq: u32,
        /// Out: highest frequency of the CPU.
        pub cpuinfo_max_freq: u32,
        /// Out: lowest frequency of the CPU.
        pub cpuinfo_min_freq: u32,
        /// Out: current frequency that the governor asks for.
        pub scaling_cur_freq: u32,
        /// Out: name of the governor.
        pub scaling_governor: [u8; CPUFREQ_NAME_LEN],
        /// Out: highest frequency that the governor may set.
        pub scaling_max_freq: u32,
        /// Out: lowest frequency that the governor may set.
        pub scaling_min_freq: u32,
        /// Out: parameters of the governor.
        pub u: Union<16>,
        /// Out: not 0 if turbo mode is enabled.
        pub turbo_enabled: i32,
        /// Padding.
        pub pad1: [u8; 4],
    }

    /// Arguments of [`XEN_SYSCTL_PM_OP`](super::XEN_SYSCTL_PM_OP).
    pub struct SysctlPmOp: "struct xen_sysctl_pm_op" {
        /// In: a `GET_CPUFREQ_*`, `SET_CPUFREQ_*` or `XEN_SYSCTL_PM_OP_*`.
        pub cmd: u32,
        /// In: the CPU.
        pub cpuid: u32,
        /// In or out: depends on `cmd`.
        pub u: Union<120>,
    }
}

union_members! {
    SysctlGetPmstat, u:
    /// For P-states.
    px, set_px: PmPxStat;
    /// For C-states.
    cx, set_cx: PmCxStat;
}

union_members! {
    SysctlPmOp, u:
    /// For [`GET_CPUFREQ_PARA`].
    get_para, set_get_para: GetCpufreqPara;
    /// For [`GET_CPUFREQ_AVGFREQ`]: frequency in kHz.
    avgfreq, set_avgfreq: u64;
    /// For [`XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT`] and the limit on C-states.
    value, set_value: u32;
}
