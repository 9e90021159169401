//! Scheduling parameters of a domain (weight, cap, period, budget).
//!
//! **Source:** `domctl.h`.

use crate::describe::{constants, flags, union_members, wire};
use crate::{GuestHandle, Union, VcpuId};

constants! {
    table CONSTANTS;
    /// The credit scheduler.
    pub const XEN_SCHEDULER_CREDIT: u32 = 5;
    /// The credit2 scheduler.
    pub const XEN_SCHEDULER_CREDIT2: u32 = 6;
    /// The ARINC 653 scheduler (avionics).
    pub const XEN_SCHEDULER_ARINC653: u32 = 7;
    /// The RTDS scheduler: real-time deferrable server.
    pub const XEN_SCHEDULER_RTDS: u32 = 8;
    /// The null scheduler: each vCPU has a CPU for itself.
    pub const XEN_SCHEDULER_NULL: u32 = 9;
    /// [`DomctlSchedulerOp::cmd`]: sets parameters of all vCPUs of the domain.
    pub const XEN_DOMCTL_SCHEDOP_PUTINFO: u32 = 0;
    /// [`DomctlSchedulerOp::cmd`]: returns parameters of the domain; for RTDS, the defaults.
    pub const XEN_DOMCTL_SCHEDOP_GETINFO: u32 = 1;
    /// [`DomctlSchedulerOp::cmd`]: sets parameters of single vCPUs.
    pub const XEN_DOMCTL_SCHEDOP_PUTVCPUINFO: u32 = 2;
    /// [`DomctlSchedulerOp::cmd`]: returns parameters of single vCPUs.
    pub const XEN_DOMCTL_SCHEDOP_GETVCPUINFO: u32 = 3;
}

flags! {
    /// Flags of [`DomctlSchedRtds`].
    pub struct RtdsFlags("XEN_DOMCTL_SCHEDRT_"): u32 {
        /// Extra time: the vCPU may run beyond its budget on CPUs that no vCPU with budget uses.
        const EXTRA = 1 << 0;
    }
}

wire! {
    fixed;

    /// Parameters of the credit scheduler.
    pub struct DomctlSchedCredit: "struct xen_domctl_sched_credit" {
        /// Weight: share relative to other domains; 256 by default.
        pub weight: u16,
        /// Cap: the most CPU time, in percent of one CPU; 0 for no cap.
        pub cap: u16,
    }

    /// Parameters of the credit2 scheduler.
    pub struct DomctlSchedCredit2: "struct xen_domctl_sched_credit2" {
        /// Weight: share relative to other domains; 256 by default.
        pub weight: u16,
        /// Cap: the most CPU time, in percent of one CPU; 0 for no cap.
        pub cap: u16,
    }

    /// Parameters of the RTDS scheduler.
    pub struct DomctlSchedRtds: "struct xen_domctl_sched_rtds" {
        /// Period in microseconds.
        pub period: u32,
        /// Budget in each period, in microseconds.
        pub budget: u32,
        /// See [`RtdsFlags`].
        pub flags: RtdsFlags,
    }

    /// Parameters of one vCPU.
    pub struct DomctlSchedparamVcpu: "struct xen_domctl_schedparam_vcpu" {
        /// Parameters, depending on the scheduler.
        pub u: Union<12>,
        /// The vCPU.
        pub vcpuid: VcpuId,
    }

    /// Parameters of single vCPUs, for RTDS.
    pub struct DomctlSchedVcpuList: "__typeof__(((struct xen_domctl_scheduler_op *)0)->u.v)" {
        /// In or out: the parameters.
        pub vcpus: GuestHandle<DomctlSchedparamVcpu>,
        /// In: length of `vcpus`. Out: number of elements that were processed.
        pub nr_vcpus: u32,
        /// Padding.
        pub padding: u32,
    }

    /// Arguments of [`XEN_DOMCTL_SCHEDULER_OP`](super::XEN_DOMCTL_SCHEDULER_OP).
    pub struct DomctlSchedulerOp: "struct xen_domctl_scheduler_op" {
        /// In: an `XEN_SCHEDULER_*`; must be the scheduler of the domain's pool.
        pub sched_id: u32,
        /// In: an `XEN_DOMCTL_SCHEDOP_*`.
        pub cmd: u32,
        /// In or out: depends on `sched_id` and `cmd`.
        pub u: Union<16>,
    }
}

union_members! {
    DomctlSchedparamVcpu, u:
    /// For the credit scheduler.
    credit, set_credit: DomctlSchedCredit;
    /// For the credit2 scheduler.
    credit2, set_credit2: DomctlSchedCredit2;
    /// For the RTDS scheduler.
    rtds, set_rtds: DomctlSchedRtds;
}

union_members! {
    DomctlSchedulerOp, u:
    /// For the credit scheduler.
    credit, set_credit: DomctlSchedCredit;
    /// For the credit2 scheduler.
    credit2, set_credit2: DomctlSchedCredit2;
    /// For the RTDS scheduler.
    rtds, set_rtds: DomctlSchedRtds;
    /// For single vCPUs.
    vcpu_list, set_vcpu_list: DomctlSchedVcpuList;
}
