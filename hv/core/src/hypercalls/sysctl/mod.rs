//! `sysctl`: control of the machine, for the toolstack. **Source:** `sysctl.h`.

mod domains;
mod keys;
mod log;
mod machine;
mod policy;
mod pools;
mod power;

pub use log::ring_grew;

use crate::hypercalls::Call;
use crate::outcome::{Answer, Outcome};
use xen_abi::Errno;
use xen_abi::sysctl::*;
use xenolith_hal::Machine;

/// What becomes of the structure when an operation has succeeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reply {
    /// It is written back.
    Structure,
    /// There is nothing to tell.
    Nothing,
}

/// What an operation does with its arguments.
type Operation<M> = fn(&Call<'_, M>, &mut Sysctl) -> Result<Reply, Errno>;

/// Does what the structure behind the first argument asks for.
///
/// **Errors:** `EFAULT`; `EACCES` for another version of the interface; `EPERM` for a caller that is not the control
/// domain; `ENOSYS` for what is not there; and what the operation says.
pub fn sysctl<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut op: Sysctl = call.read_arg(0)?;
    if op.interface_version != XEN_SYSCTL_INTERFACE_VERSION {
        return Err(Errno::EACCES);
    }
    call.require_control()?;
    let operation: Operation<M> = operation(op.cmd)?;
    if operation(call, &mut op)? == Reply::Structure {
        call.write_arg(0, &op)?;
    }
    Ok(Outcome::OK)
}

/// What stands behind a number.
///
/// **Errors:** what real Xen, as Debian builds it, says about operations that it does not offer.
fn operation<M: Machine>(number: u32) -> Result<Operation<M>, Errno> {
    Ok(match number {
        XEN_SYSCTL_READCONSOLE => log::read_console,
        XEN_SYSCTL_DEBUG_KEYS => keys::debug_keys,
        XEN_SYSCTL_PHYSINFO => machine::physinfo,
        XEN_SYSCTL_GETCPUINFO => machine::getcpuinfo,
        XEN_SYSCTL_AVAILHEAP => machine::availheap,
        XEN_SYSCTL_CPUTOPOINFO => machine::cputopoinfo,
        XEN_SYSCTL_NUMAINFO => machine::numainfo,
        XEN_SYSCTL_PCITOPOINFO => machine::pcitopoinfo,
        XEN_SYSCTL_SCHED_ID => pools::sched_id,
        XEN_SYSCTL_CPUPOOL_OP => pools::cpupool_op,
        XEN_SYSCTL_SCHEDULER_OP => pools::scheduler_op,
        XEN_SYSCTL_GETDOMAININFOLIST => domains::getdomaininfolist,
        XEN_SYSCTL_GET_CPU_LEVELLING_CAPS => policy::levelling_caps,
        XEN_SYSCTL_GET_CPU_FEATURESET => policy::get_cpu_featureset,
        XEN_SYSCTL_GET_CPU_POLICY => policy::get_cpu_policy,
        XEN_SYSCTL_GET_PMSTAT => power::get_pmstat,
        XEN_SYSCTL_PM_OP => power::pm_op,
        XEN_SYSCTL_CPU_HOTPLUG => power::cpu_hotplug,
        XEN_SYSCTL_PSR_CMT_OP | XEN_SYSCTL_PSR_ALLOC => return Err(Errno::ENODEV),
        XEN_SYSCTL_COVERAGE_OP => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::ENOSYS),
    })
}
