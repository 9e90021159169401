//! Power states and frequencies of CPUs.
//!
//! **Source:** `sysctl.h`.

use crate::describe::{constants, union_members, wire};
use crate::{GuestHandle, Union};

constants! {
    table CONSTANTS;
    /// [`SysctlGetPmstat::kind`]: how many performance states there are.
    pub const PMSTAT_GET_MAX_PX: u32 = 0x11;
    /// [`SysctlGetPmstat::kind`]: use of performance states.
    pub const PMSTAT_GET_PXSTAT: u32 = 0x12;
    /// [`SysctlGetPmstat::kind`]: counts from 0 again.
    pub const PMSTAT_RESET_PXSTAT: u32 = 0x13;
    /// [`SysctlGetPmstat::kind`]: how many idle states there are.
    pub const PMSTAT_GET_MAX_CX: u32 = 0x21;
    /// [`SysctlGetPmstat::kind`]: use of idle states.
    pub const PMSTAT_GET_CXSTAT: u32 = 0x22;
    /// [`SysctlGetPmstat::kind`]: counts from 0 again.
    pub const PMSTAT_RESET_CXSTAT: u32 = 0x23;
    /// [`SysctlCpuHotplug::op`]: on.
    pub const XEN_SYSCTL_CPU_HOTPLUG_ONLINE: u32 = 0;
    /// [`SysctlCpuHotplug::op`]: off.
    pub const XEN_SYSCTL_CPU_HOTPLUG_OFFLINE: u32 = 1;
    /// [`SysctlCpuHotplug::op`]: all threads on.
    pub const XEN_SYSCTL_CPU_HOTPLUG_SMT_ENABLE: u32 = 2;
    /// [`SysctlCpuHotplug::op`]: all threads but the first of each core off.
    pub const XEN_SYSCTL_CPU_HOTPLUG_SMT_DISABLE: u32 = 3;
    /// Length of a name of a governor or driver in bytes.
    pub const CPUFREQ_NAME_LEN: usize = 16;
    /// [`SysctlPmOp::cmd`]: asks about frequencies.
    pub const GET_CPUFREQ_PARA: u32 = 0x11;
    /// [`SysctlPmOp::cmd`]: sets the governor.
    pub const SET_CPUFREQ_GOV: u32 = 0x12;
    /// [`SysctlPmOp::cmd`]: sets a parameter.
    pub const SET_CPUFREQ_PARA: u32 = 0x13;
    /// [`SysctlPmOp::cmd`]: asks for the average frequency.
    pub const GET_CPUFREQ_AVGFREQ: u32 = 0x14;
    /// [`SysctlPmOp::cmd`]: prefers to fill cores.
    pub const XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT: u32 = 0x21;
    /// [`SysctlPmOp::cmd`]: asks for the deepest idle state.
    pub const XEN_SYSCTL_PM_OP_GET_MAX_CSTATE: u32 = 0x22;
    /// [`SysctlPmOp::cmd`]: sets the deepest idle state.
    pub const XEN_SYSCTL_PM_OP_SET_MAX_CSTATE: u32 = 0x23;
    /// [`SysctlPmOp::cmd`]: on.
    pub const XEN_SYSCTL_PM_OP_ENABLE_TURBO: u32 = 0x26;
    /// [`SysctlPmOp::cmd`]: off.
    pub const XEN_SYSCTL_PM_OP_DISABLE_TURBO: u32 = 0x27;
    /// Any idle state.
    pub const XEN_SYSCTL_CX_UNLIMITED: u32 = u32::MAX;
}

wire! {
    fixed;

    /// Use of one performance state.
    pub struct PmPxVal: "struct pm_px_val" {
        /// Megahertz.
        pub freq: u64,
        /// Nanoseconds.
        pub residency: u64,
        /// How often it was entered.
        pub count: u64,
    }

    /// Use of performance states.
    pub struct PmPxStat: "struct pm_px_stat" {
        /// How many there are.
        pub total: u8,
        /// How many may be used.
        pub usable: u8,
        /// The one before.
        pub last: u8,
        /// The one now.
        pub cur: u8,
        /// Padding.
        pub pad: [u8; 4],
        /// How often one followed another.
        pub trans_pt: GuestHandle<u64>,
        /// Each one's use.
        pub pt: GuestHandle<PmPxVal>,
    }

    /// Use of idle states.
    pub struct PmCxStat: "struct pm_cx_stat" {
        /// How many there are.
        pub nr: u32,
        /// The last one.
        pub last: u32,
        /// Nanoseconds that the CPU idled.
        pub idle_time: u64,
        /// How often each was entered.
        pub triggers: GuestHandle<u64>,
        /// Nanoseconds in each.
        pub residencies: GuestHandle<u64>,
        /// Length of `pc`.
        pub nr_pc: u32,
        /// Length of `cc`.
        pub nr_cc: u32,
        /// Nanoseconds of the package in each.
        pub pc: GuestHandle<u64>,
        /// Nanoseconds of the core in each.
        pub cc: GuestHandle<u64>,
    }

    /// Arguments of [`XEN_SYSCTL_GET_PMSTAT`](super::XEN_SYSCTL_GET_PMSTAT).
    pub struct SysctlGetPmstat: "struct xen_sysctl_get_pmstat" {
        /// In: a `PMSTAT_*`.
        pub kind: u32 = "type",
        /// In: the CPU.
        pub cpuid: u32,
        /// In and out: by kind.
        pub u: Union<56>,
    }

    /// Arguments of [`XEN_SYSCTL_CPU_HOTPLUG`](super::XEN_SYSCTL_CPU_HOTPLUG).
    pub struct SysctlCpuHotplug: "struct xen_sysctl_cpu_hotplug" {
        /// In: the CPU.
        pub cpu: u32,
        /// In: an `XEN_SYSCTL_CPU_HOTPLUG_*`.
        pub op: u32,
    }

    /// What is known about a CPU's frequencies, in kHz.
    pub struct GetCpufreqPara: "struct xen_get_cpufreq_para" {
        /// In and out: CPUs that change together.
        pub cpu_num: u32,
        /// In and out: how many frequencies there are.
        pub freq_num: u32,
        /// In and out: how many governors there are.
        pub gov_num: u32,
        /// Padding.
        pub pad0: [u8; 4],
        /// Out: the CPUs.
        pub affected_cpus: GuestHandle<u32>,
        /// Out: the frequencies.
        pub scaling_available_frequencies: GuestHandle<u32>,
        /// Out: the governors.
        pub scaling_available_governors: GuestHandle,
        /// Out: the driver.
        pub scaling_driver: [u8; CPUFREQ_NAME_LEN],
        /// Out: the CPU's frequency now.
        pub cpuinfo_cur_freq: u32,
        /// Out: the CPU's highest.
        pub cpuinfo_max_freq: u32,
        /// Out: the CPU's lowest.
        pub cpuinfo_min_freq: u32,
        /// Out: the governor's frequency now.
        pub scaling_cur_freq: u32,
        /// Out: the governor.
        pub scaling_governor: [u8; CPUFREQ_NAME_LEN],
        /// Out: the governor's highest.
        pub scaling_max_freq: u32,
        /// Out: the governor's lowest.
        pub scaling_min_freq: u32,
        /// Out: by governor.
        pub u: Union<16>,
        /// Out: whether turbo is on.
        pub turbo_enabled: i32,
        /// Padding.
        pub pad1: [u8; 4],
    }

    /// Arguments of [`XEN_SYSCTL_PM_OP`](super::XEN_SYSCTL_PM_OP).
    pub struct SysctlPmOp: "struct xen_sysctl_pm_op" {
        /// In: the operation.
        pub cmd: u32,
        /// In: the CPU.
        pub cpuid: u32,
        /// In or out: by operation.
        pub u: Union<120>,
    }
}

union_members! {
    SysctlGetPmstat, u:
    /// For performance states.
    px, set_px: PmPxStat;
    /// For idle states.
    cx, set_cx: PmCxStat;
}

union_members! {
    SysctlPmOp, u:
    /// For [`GET_CPUFREQ_PARA`].
    get_para, set_get_para: GetCpufreqPara;
    /// For [`GET_CPUFREQ_AVGFREQ`]: kHz.
    avgfreq, set_avgfreq: u64;
    /// For [`XEN_SYSCTL_PM_OP_SET_SCHED_OPT_SMT`] and the idle states.
    value, set_value: u32;
}
