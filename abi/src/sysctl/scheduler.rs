//! Schedulers and CPU pools (cpupools).
//!
//! **Source:** `sysctl.h`.

use crate::Union;
use crate::describe::{constants, union_members, wire};
use crate::hypercall::CtlBitmap;

constants! {
    table CONSTANTS;
    /// [`SysctlCpupoolOp::op`]: creates a pool.
    pub const XEN_SYSCTL_CPUPOOL_OP_CREATE: u32 = 1;
    /// [`SysctlCpupoolOp::op`]: destroys a pool.
    pub const XEN_SYSCTL_CPUPOOL_OP_DESTROY: u32 = 2;
    /// [`SysctlCpupoolOp::op`]: returns the first pool whose ID is at least the given one.
    pub const XEN_SYSCTL_CPUPOOL_OP_INFO: u32 = 3;
    /// [`SysctlCpupoolOp::op`]: adds a CPU to a pool.
    pub const XEN_SYSCTL_CPUPOOL_OP_ADDCPU: u32 = 4;
    /// [`SysctlCpupoolOp::op`]: removes a CPU from a pool.
    pub const XEN_SYSCTL_CPUPOOL_OP_RMCPU: u32 = 5;
    /// [`SysctlCpupoolOp::op`]: moves a domain to a pool.
    pub const XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN: u32 = 6;
    /// [`SysctlCpupoolOp::op`]: returns the CPUs that are in no pool.
    pub const XEN_SYSCTL_CPUPOOL_OP_FREEINFO: u32 = 7;
    /// Any pool ID, or any CPU.
    pub const XEN_SYSCTL_CPUPOOL_PAR_ANY: u32 = u32::MAX;
    /// Highest rate limit, in microseconds.
    pub const XEN_SYSCTL_SCHED_RATELIMIT_MAX: u32 = 500_000;
    /// Lowest rate limit other than 0 (none), in microseconds.
    pub const XEN_SYSCTL_SCHED_RATELIMIT_MIN: u32 = 100;
    /// Longest time slice of the credit scheduler, in milliseconds.
    pub const XEN_SYSCTL_CSCHED_TSLICE_MAX: u32 = 1000;
    /// Shortest time slice of the credit scheduler, in milliseconds.
    pub const XEN_SYSCTL_CSCHED_TSLICE_MIN: u32 = 1;
    /// Longest migration delay, in microseconds: the time for which a vCPU counts as hot in the cache.
    pub const XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US: u32 = 100_000;
    /// [`SysctlSchedulerOp::cmd`]: sets parameters.
    pub const XEN_SYSCTL_SCHEDOP_PUTINFO: u32 = 0;
    /// [`SysctlSchedulerOp::cmd`]: returns parameters.
    pub const XEN_SYSCTL_SCHEDOP_GETINFO: u32 = 1;
}

wire! {
    fixed;

    /// Result of [`XEN_SYSCTL_SCHED_ID`](super::XEN_SYSCTL_SCHED_ID).
    pub struct SysctlSchedId: "struct xen_sysctl_sched_id" {
        /// Out: an `XEN_SCHEDULER_*`.
        pub sched_id: u32,
    }

    /// Arguments of [`XEN_SYSCTL_CPUPOOL_OP`](super::XEN_SYSCTL_CPUPOOL_OP).
    pub struct SysctlCpupoolOp: "struct xen_sysctl_cpupool_op" {
        /// In: an `XEN_SYSCTL_CPUPOOL_OP_*`.
        pub op: u32,
        /// In: ID of the pool. Out, for create and info: its ID.
        pub cpupool_id: u32,
        /// In, for create: its scheduler, an `XEN_SCHEDULER_*`. Out, for info: its scheduler.
        pub sched_id: u32,
        /// In, for move: the domain.
        pub domid: u32,
        /// In, for add and remove: the CPU.
        pub cpu: u32,
        /// Out, for info: number of its domains.
        pub n_dom: u32,
        /// Out, for info: its CPUs.
        pub cpumap: CtlBitmap,
    }

    /// Parameters of the credit scheduler.
    pub struct SysctlCreditSchedule: "struct xen_sysctl_credit_schedule" {
        /// Time slice in milliseconds.
        pub tslice_ms: u32,
        /// Rate limit: the least time that a vCPU runs before it is preempted, in microseconds.
        pub ratelimit_us: u32,
        /// Migration delay: the time for which a vCPU counts as hot in the cache, in microseconds.
        pub vcpu_migr_delay_us: u32,
    }

    /// Parameters of the credit2 scheduler.
    pub struct SysctlCredit2Schedule: "struct xen_sysctl_credit2_schedule" {
        /// Rate limit: the least time that a vCPU runs before it is preempted, in microseconds.
        pub ratelimit_us: u32,
    }

    /// Arguments of [`XEN_SYSCTL_SCHEDULER_OP`](super::XEN_SYSCTL_SCHEDULER_OP).
    pub struct SysctlSchedulerOp: "struct xen_sysctl_scheduler_op" {
        /// In: ID of the pool.
        pub cpupool_id: u32,
        /// In: an `XEN_SCHEDULER_*`; must be the scheduler of the pool.
        pub sched_id: u32,
        /// In: an `XEN_SYSCTL_SCHEDOP_*`.
        pub cmd: u32,
        /// Padding.
        pub pad: [u8; 4],
        /// In or out: depends on the scheduler.
        pub u: Union<16>,
    }
}

union_members! {
    SysctlSchedulerOp, u:
    /// For the credit scheduler.
    credit, set_credit: SysctlCreditSchedule;
    /// For the credit2 scheduler.
    credit2, set_credit2: SysctlCredit2Schedule;
}
