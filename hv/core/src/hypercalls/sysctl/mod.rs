//! `sysctl`: control of the machine, for the toolstack. **Source:** `sysctl.h`.

mod domains;
mod keys;
mod log;
mod machine;
mod policy;
mod pools;
mod power;

pub use log::ring_grew;

use crate::components::access::{Action, Object};
use crate::hypercalls::{Call, Operation, in_order, operation, refused};
use crate::outcome::{Answer, Outcome};
use xen_abi::Errno;
use xen_abi::sysctl::*;
use xenolith_hal::Machine;

/// What is copied back after an operation has succeeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// The structure.
    Structure,
    /// The structure stays as the caller passed it.
    Nothing,
}

/// What does an operation.
pub type SysctlHandler<M> = fn(&Call<'_, M>, &mut Sysctl) -> Result<Reply, Errno>;

/// Implements `sysctl(op)`.
///
/// **Errors:** `EFAULT`; `EACCES` for another version of the interface; `EPERM` for a caller that is not the control
/// domain; `ENOSYS` for operations that are missing; and the operation's own.
pub fn sysctl<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut op: Sysctl = call.read_arg(0)?;
    if op.interface_version != XEN_SYSCTL_INTERFACE_VERSION {
        return Err(Errno::EACCES);
    }
    call.may(Action::ControlMachine, Object::Machine)?;
    let handler = Operation::find(const { in_order(operations::<M>()) }, op.cmd).ok_or(Errno::ENOSYS)?.handler()?;
    if handler(call, &mut op)? == Reply::Structure {
        call.write_arg(0, &op)?;
    }
    Ok(Outcome::OK)
}

/// Returns every operation, in the order of the numbers; what Debian's Xen was built without is refused as there. Any
/// other is `ENOSYS`.
pub const fn operations<M: Machine>() -> &'static [Operation<SysctlHandler<M>>] {
    const {
        &[
            operation(XEN_SYSCTL_READCONSOLE, "readconsole", log::read_console),
            operation(XEN_SYSCTL_PHYSINFO, "physinfo", machine::physinfo),
            operation(XEN_SYSCTL_SCHED_ID, "sched_id", pools::sched_id),
            operation(XEN_SYSCTL_GETDOMAININFOLIST, "getdomaininfolist", domains::getdomaininfolist),
            operation(XEN_SYSCTL_DEBUG_KEYS, "debug_keys", keys::debug_keys),
            operation(XEN_SYSCTL_GETCPUINFO, "getcpuinfo", machine::getcpuinfo),
            operation(XEN_SYSCTL_AVAILHEAP, "availheap", machine::availheap),
            operation(XEN_SYSCTL_GET_PMSTAT, "get_pmstat", power::get_pmstat),
            operation(XEN_SYSCTL_CPU_HOTPLUG, "cpu_hotplug", power::cpu_hotplug),
            operation(XEN_SYSCTL_PM_OP, "pm_op", power::pm_op),
            operation(XEN_SYSCTL_CPUTOPOINFO, "cputopoinfo", machine::cputopoinfo),
            operation(XEN_SYSCTL_NUMAINFO, "numainfo", machine::numainfo),
            operation(XEN_SYSCTL_CPUPOOL_OP, "cpupool_op", pools::cpupool_op),
            operation(XEN_SYSCTL_SCHEDULER_OP, "scheduler_op", pools::scheduler_op),
            refused(XEN_SYSCTL_COVERAGE_OP, "coverage_op", Errno::EOPNOTSUPP),
            refused(XEN_SYSCTL_PSR_CMT_OP, "psr_cmt_op", Errno::ENODEV),
            operation(XEN_SYSCTL_PCITOPOINFO, "pcitopoinfo", machine::pcitopoinfo),
            refused(XEN_SYSCTL_PSR_ALLOC, "psr_alloc", Errno::ENODEV),
            operation(XEN_SYSCTL_GET_CPU_LEVELLING_CAPS, "get_cpu_levelling_caps", policy::levelling_caps),
            operation(XEN_SYSCTL_GET_CPU_FEATURESET, "get_cpu_featureset", policy::get_cpu_featureset),
            operation(XEN_SYSCTL_GET_CPU_POLICY, "get_cpu_policy", policy::get_cpu_policy),
        ]
    }
}
