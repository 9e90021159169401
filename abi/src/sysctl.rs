//! Control of the machine, for the toolstack.
//!
//! Hypercall [`SYSCTL`](crate::hypercall::SYSCTL): `(pointer to a [`Sysctl`])`. A wrong interface version is
//! `EACCES`, before all else. **Source:** `sysctl.h`.

pub mod machine;
pub mod policy;
pub mod power;
pub mod scheduler;

pub use machine::*;
pub use policy::*;
pub use power::*;
pub use scheduler::*;

use crate::Union;
use crate::describe::{constants, union_members, wire};

constants! {
    table CONSTANTS;
    /// [`Sysctl::interface_version`].
    pub const XEN_SYSCTL_INTERFACE_VERSION: u32 = 0x15;
    /// Reads the hypervisor's log; [`SysctlReadconsole`].
    pub const XEN_SYSCTL_READCONSOLE: u32 = 1;
    /// Trace buffers; [`SysctlTbufOp`].
    pub const XEN_SYSCTL_TBUF_OP: u32 = 2;
    /// Asks about the machine; [`SysctlPhysinfo`].
    pub const XEN_SYSCTL_PHYSINFO: u32 = 3;
    /// Asks which scheduler there is; [`SysctlSchedId`].
    pub const XEN_SYSCTL_SCHED_ID: u32 = 4;
    /// Counters of the hypervisor.
    pub const XEN_SYSCTL_PERFC_OP: u32 = 5;
    /// Asks about several domains; [`SysctlGetdomaininfolist`].
    pub const XEN_SYSCTL_GETDOMAININFOLIST: u32 = 6;
    /// Presses debug keys; [`SysctlDebugKeys`].
    pub const XEN_SYSCTL_DEBUG_KEYS: u32 = 7;
    /// Asks how long CPUs idled; [`SysctlGetcpuinfo`].
    pub const XEN_SYSCTL_GETCPUINFO: u32 = 8;
    /// Asks how much memory is free; [`SysctlAvailheap`].
    pub const XEN_SYSCTL_AVAILHEAP: u32 = 9;
    /// Statistics of power states; [`SysctlGetPmstat`].
    pub const XEN_SYSCTL_GET_PMSTAT: u32 = 10;
    /// Turns CPUs on and off; [`SysctlCpuHotplug`].
    pub const XEN_SYSCTL_CPU_HOTPLUG: u32 = 11;
    /// Power management; [`SysctlPmOp`].
    pub const XEN_SYSCTL_PM_OP: u32 = 12;
    /// Takes pages out of use; [`SysctlPageOfflineOp`].
    pub const XEN_SYSCTL_PAGE_OFFLINE_OP: u32 = 14;
    /// Statistics of locks.
    pub const XEN_SYSCTL_LOCKPROF_OP: u32 = 15;
    /// Asks how CPUs lie to each other; [`SysctlCputopoinfo`].
    pub const XEN_SYSCTL_CPUTOPOINFO: u32 = 16;
    /// Asks about NUMA nodes; [`SysctlNumainfo`].
    pub const XEN_SYSCTL_NUMAINFO: u32 = 17;
    /// Pools of CPUs; [`SysctlCpupoolOp`].
    pub const XEN_SYSCTL_CPUPOOL_OP: u32 = 18;
    /// Settings of a scheduler; [`SysctlSchedulerOp`].
    pub const XEN_SYSCTL_SCHEDULER_OP: u32 = 19;
    /// Coverage of the hypervisor's code.
    pub const XEN_SYSCTL_COVERAGE_OP: u32 = 20;
    /// Cache monitoring; [`SysctlPsrCmtOp`].
    pub const XEN_SYSCTL_PSR_CMT_OP: u32 = 21;
    /// Asks on which nodes devices are; [`SysctlPcitopoinfo`].
    pub const XEN_SYSCTL_PCITOPOINFO: u32 = 22;
    /// Cache allocation.
    pub const XEN_SYSCTL_PSR_ALLOC: u32 = 23;
    /// Asks what of CPUID can be masked; [`SysctlCpuLevellingCaps`].
    pub const XEN_SYSCTL_GET_CPU_LEVELLING_CAPS: u32 = 25;
    /// Asks for the features of CPUs; [`SysctlCpuFeatureset`].
    pub const XEN_SYSCTL_GET_CPU_FEATURESET: u32 = 26;
    /// Live patches.
    pub const XEN_SYSCTL_LIVEPATCH_OP: u32 = 27;
    /// Asks for a CPU policy (CPUID and MSRs); [`SysctlCpuPolicy`].
    pub const XEN_SYSCTL_GET_CPU_POLICY: u32 = 29;
}

wire! {
    fixed;

    /// An operation on the machine.
    pub struct Sysctl: "struct xen_sysctl" {
        /// In: an `XEN_SYSCTL_*`.
        pub cmd: u32,
        /// In: [`XEN_SYSCTL_INTERFACE_VERSION`].
        pub interface_version: u32,
        /// In and out: by operation.
        pub u: Union<128>,
    }
}

union_members! {
    Sysctl, u:
    /// For [`XEN_SYSCTL_READCONSOLE`].
    readconsole, set_readconsole: SysctlReadconsole;
    /// For [`XEN_SYSCTL_TBUF_OP`].
    tbuf_op, set_tbuf_op: SysctlTbufOp;
    /// For [`XEN_SYSCTL_PHYSINFO`].
    physinfo, set_physinfo: SysctlPhysinfo;
    /// For [`XEN_SYSCTL_CPUTOPOINFO`].
    cputopoinfo, set_cputopoinfo: SysctlCputopoinfo;
    /// For [`XEN_SYSCTL_PCITOPOINFO`].
    pcitopoinfo, set_pcitopoinfo: SysctlPcitopoinfo;
    /// For [`XEN_SYSCTL_NUMAINFO`].
    numainfo, set_numainfo: SysctlNumainfo;
    /// For [`XEN_SYSCTL_SCHED_ID`].
    sched_id, set_sched_id: SysctlSchedId;
    /// For [`XEN_SYSCTL_GETDOMAININFOLIST`].
    getdomaininfolist, set_getdomaininfolist: SysctlGetdomaininfolist;
    /// For [`XEN_SYSCTL_DEBUG_KEYS`].
    debug_keys, set_debug_keys: SysctlDebugKeys;
    /// For [`XEN_SYSCTL_GETCPUINFO`].
    getcpuinfo, set_getcpuinfo: SysctlGetcpuinfo;
    /// For [`XEN_SYSCTL_AVAILHEAP`].
    availheap, set_availheap: SysctlAvailheap;
    /// For [`XEN_SYSCTL_GET_PMSTAT`].
    get_pmstat, set_get_pmstat: SysctlGetPmstat;
    /// For [`XEN_SYSCTL_CPU_HOTPLUG`].
    cpu_hotplug, set_cpu_hotplug: SysctlCpuHotplug;
    /// For [`XEN_SYSCTL_PM_OP`].
    pm_op, set_pm_op: SysctlPmOp;
    /// For [`XEN_SYSCTL_PAGE_OFFLINE_OP`].
    page_offline, set_page_offline: SysctlPageOfflineOp;
    /// For [`XEN_SYSCTL_CPUPOOL_OP`].
    cpupool_op, set_cpupool_op: SysctlCpupoolOp;
    /// For [`XEN_SYSCTL_SCHEDULER_OP`].
    scheduler_op, set_scheduler_op: SysctlSchedulerOp;
    /// For [`XEN_SYSCTL_PSR_CMT_OP`].
    psr_cmt_op, set_psr_cmt_op: SysctlPsrCmtOp;
    /// For [`XEN_SYSCTL_GET_CPU_LEVELLING_CAPS`].
    cpu_levelling_caps, set_cpu_levelling_caps: SysctlCpuLevellingCaps;
    /// For [`XEN_SYSCTL_GET_CPU_FEATURESET`].
    cpu_featureset, set_cpu_featureset: SysctlCpuFeatureset;
    /// For [`XEN_SYSCTL_GET_CPU_POLICY`].
    cpu_policy, set_cpu_policy: SysctlCpuPolicy;
}
