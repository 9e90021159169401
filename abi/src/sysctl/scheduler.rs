//! Schedulers and pools of CPUs.
//!
//! **Source:** `sysctl.h`.

use crate::Union;
use crate::describe::{constants, union_members, wire};
use crate::hypercall::CtlBitmap;

constants! {
    table CONSTANTS;
    /// [`SysctlCpupoolOp::op`]: makes a pool.
    pub const XEN_SYSCTL_CPUPOOL_OP_CREATE: u32 = 1;
    /// [`SysctlCpupoolOp::op`]: ends a pool.
    pub const XEN_SYSCTL_CPUPOOL_OP_DESTROY: u32 = 2;
    /// [`SysctlCpupoolOp::op`]: asks about the first pool with this number or a higher one.
    pub const XEN_SYSCTL_CPUPOOL_OP_INFO: u32 = 3;
    /// [`SysctlCpupoolOp::op`]: puts a CPU in.
    pub const XEN_SYSCTL_CPUPOOL_OP_ADDCPU: u32 = 4;
    /// [`SysctlCpupoolOp::op`]: takes a CPU out.
    pub const XEN_SYSCTL_CPUPOOL_OP_RMCPU: u32 = 5;
    /// [`SysctlCpupoolOp::op`]: moves a domain in.
    pub const XEN_SYSCTL_CPUPOOL_OP_MOVEDOMAIN: u32 = 6;
    /// [`SysctlCpupoolOp::op`]: asks which CPUs are in no pool.
    pub const XEN_SYSCTL_CPUPOOL_OP_FREEINFO: u32 = 7;
    /// Any pool, or any CPU.
    pub const XEN_SYSCTL_CPUPOOL_PAR_ANY: u32 = u32::MAX;
    /// The longest time that a vCPU may not be preempted, in microseconds.
    pub const XEN_SYSCTL_SCHED_RATELIMIT_MAX: u32 = 500_000;
    /// The shortest time that a vCPU may not be preempted (but for 0), in microseconds.
    pub const XEN_SYSCTL_SCHED_RATELIMIT_MIN: u32 = 100;
    /// The longest time slice of the credit scheduler in milliseconds.
    pub const XEN_SYSCTL_CSCHED_TSLICE_MAX: u32 = 1000;
    /// The shortest time slice of the credit scheduler in milliseconds.
    pub const XEN_SYSCTL_CSCHED_TSLICE_MIN: u32 = 1;
    /// The longest that a vCPU counts as hot in its cache, in microseconds.
    pub const XEN_SYSCTL_CSCHED_MGR_DLY_MAX_US: u32 = 100_000;
    /// [`SysctlSchedulerOp::cmd`]: sets.
    pub const XEN_SYSCTL_SCHEDOP_PUTINFO: u32 = 0;
    /// [`SysctlSchedulerOp::cmd`]: asks.
    pub const XEN_SYSCTL_SCHEDOP_GETINFO: u32 = 1;
}

wire! {
    fixed;

    /// Answer of [`XEN_SYSCTL_SCHED_ID`](super::XEN_SYSCTL_SCHED_ID).
    pub struct SysctlSchedId: "struct xen_sysctl_sched_id" {
        /// Out: an `XEN_SCHEDULER_*`.
        pub sched_id: u32,
    }

    /// Arguments of [`XEN_SYSCTL_CPUPOOL_OP`](super::XEN_SYSCTL_CPUPOOL_OP).
    pub struct SysctlCpupoolOp: "struct xen_sysctl_cpupool_op" {
        /// In: an `XEN_SYSCTL_CPUPOOL_OP_*`.
        pub op: u32,
        /// In: the pool. Out: the pool that was made or found.
        pub cpupool_id: u32,
        /// In, to make: its scheduler. Out, to ask: likewise.
        pub sched_id: u32,
        /// In, to move: the domain.
        pub domid: u32,
        /// In, to put in or take out: the CPU.
        pub cpu: u32,
        /// Out, to ask: how many domains it has.
        pub n_dom: u32,
        /// Out, to ask: its CPUs.
        pub cpumap: CtlBitmap,
    }

    /// For the credit scheduler.
    pub struct SysctlCreditSchedule: "struct xen_sysctl_credit_schedule" {
        /// Time slice in milliseconds.
        pub tslice_ms: u32,
        /// How long a vCPU is not preempted, in microseconds.
        pub ratelimit_us: u32,
        /// How long a vCPU counts as hot in its cache, in microseconds.
        pub vcpu_migr_delay_us: u32,
    }

    /// For the second credit scheduler.
    pub struct SysctlCredit2Schedule: "struct xen_sysctl_credit2_schedule" {
        /// How long a vCPU is not preempted, in microseconds.
        pub ratelimit_us: u32,
    }

    /// Arguments of [`XEN_SYSCTL_SCHEDULER_OP`](super::XEN_SYSCTL_SCHEDULER_OP).
    pub struct SysctlSchedulerOp: "struct xen_sysctl_scheduler_op" {
        /// In: the pool.
        pub cpupool_id: u32,
        /// In: an `XEN_SCHEDULER_*`; must be the pool's.
        pub sched_id: u32,
        /// In: an `XEN_SYSCTL_SCHEDOP_*`.
        pub cmd: u32,
        /// Padding.
        pub pad: [u8; 4],
        /// In or out: by scheduler.
        pub u: Union<16>,
    }
}

union_members! {
    SysctlSchedulerOp, u:
    /// For the credit scheduler.
    credit, set_credit: SysctlCreditSchedule;
    /// For the second credit scheduler.
    credit2, set_credit2: SysctlCredit2Schedule;
}
