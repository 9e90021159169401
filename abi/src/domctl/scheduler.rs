//! Scheduling parameters of a domain (weight, cap, period, budget).
//!
//! **Source:** `domctl.h`.

use crate::describe::{constants, flags, union_members, wire};
use crate::{GuestHandle, Union, VcpuId};

constants! {
    table CONSTANTS;
    /// The credit scheduler.
    pub const XEN_SCHEDULER_CREDIT: u32 = 5;
    /// The second credit scheduler.
    pub const XEN_SCHEDULER_CREDIT2: u32 = 6;
    /// The scheduler for avionics.
    pub const XEN_SCHEDULER_ARINC653: u32 = 7;
    /// The real-time scheduler.
    pub const XEN_SCHEDULER_RTDS: u32 = 8;
    /// The scheduler that pins each vCPU to a CPU.
    pub const XEN_SCHEDULER_NULL: u32 = 9;
    /// [`DomctlSchedulerOp::cmd`]: sets for the domain.
    pub const XEN_DOMCTL_SCHEDOP_PUTINFO: u32 = 0;
    /// [`DomctlSchedulerOp::cmd`]: asks for the domain.
    pub const XEN_DOMCTL_SCHEDOP_GETINFO: u32 = 1;
    /// [`DomctlSchedulerOp::cmd`]: sets for vCPUs.
    pub const XEN_DOMCTL_SCHEDOP_PUTVCPUINFO: u32 = 2;
    /// [`DomctlSchedulerOp::cmd`]: asks for vCPUs.
    pub const XEN_DOMCTL_SCHEDOP_GETVCPUINFO: u32 = 3;
}

flags! {
    /// Flags of [`DomctlSchedRtds`].
    pub struct RtdsFlags("XEN_DOMCTL_SCHEDRT_"): u32 {
        /// It may use time that no other vCPU uses (work-conserving).
        const EXTRA = 1 << 0;
    }
}

wire! {
    fixed;

    /// For the credit scheduler.
    pub struct DomctlSchedCredit: "struct xen_domctl_sched_credit" {
        /// Share, 256 by default.
        pub weight: u16,
        /// Cap: the most percent of a CPU; 0 for no limit.
        pub cap: u16,
    }

    /// For the second credit scheduler.
    pub struct DomctlSchedCredit2: "struct xen_domctl_sched_credit2" {
        /// Share, 256 by default.
        pub weight: u16,
        /// Cap: the most percent of a CPU; 0 for no limit.
        pub cap: u16,
    }

    /// For the real-time scheduler.
    pub struct DomctlSchedRtds: "struct xen_domctl_sched_rtds" {
        /// Microseconds of a period.
        pub period: u32,
        /// Microseconds that the vCPU may run in each period.
        pub budget: u32,
        /// Flags.
        pub flags: RtdsFlags,
    }

    /// Settings of one vCPU.
    pub struct DomctlSchedparamVcpu: "struct xen_domctl_schedparam_vcpu" {
        /// By scheduler.
        pub u: Union<12>,
        /// Which.
        pub vcpuid: VcpuId,
    }

    /// A list of settings of vCPUs.
    pub struct DomctlSchedVcpuList: "__typeof__(((struct xen_domctl_scheduler_op *)0)->u.v)" {
        /// In or out: the settings.
        pub vcpus: GuestHandle<DomctlSchedparamVcpu>,
        /// In: how many. Out: how many were done.
        pub nr_vcpus: u32,
        /// Padding.
        pub padding: u32,
    }

    /// Arguments of [`XEN_DOMCTL_SCHEDULER_OP`](super::XEN_DOMCTL_SCHEDULER_OP).
    pub struct DomctlSchedulerOp: "struct xen_domctl_scheduler_op" {
        /// In: an `XEN_SCHEDULER_*`; must be that of the domain's pool.
        pub sched_id: u32,
        /// In: an `XEN_DOMCTL_SCHEDOP_*`.
        pub cmd: u32,
        /// In or out: by scheduler and operation.
        pub u: Union<16>,
    }
}

union_members! {
    DomctlSchedparamVcpu, u:
    /// For the credit scheduler.
    credit, set_credit: DomctlSchedCredit;
    /// For the second credit scheduler.
    credit2, set_credit2: DomctlSchedCredit2;
    /// For the real-time scheduler.
    rtds, set_rtds: DomctlSchedRtds;
}

union_members! {
    DomctlSchedulerOp, u:
    /// For the credit scheduler.
    credit, set_credit: DomctlSchedCredit;
    /// For the second credit scheduler.
    credit2, set_credit2: DomctlSchedCredit2;
    /// For the real-time scheduler.
    rtds, set_rtds: DomctlSchedRtds;
    /// For vCPUs.
    vcpu_list, set_vcpu_list: DomctlSchedVcpuList;
}
