//! Power states and frequencies of CPUs, which are not managed.

use super::Reply;
use crate::hypercalls::Call;
use xen_abi::Errno;
use xen_abi::sysctl::*;
use xenolith_hal::Machine;

/// The bits of a kind of statistics that name its subject.
const KIND_MASK: u32 = 0xf0;
/// The subject: performance states.
const ABOUT_PERFORMANCE: u32 = PMSTAT_GET_MAX_PX & KIND_MASK;

/// Checks that a CPU exists.
///
/// **Errors:** `EINVAL` for a CPU that does not exist.
fn is_cpu<M: Machine>(call: &Call<'_, M>, cpu: u32) -> Result<(), Errno> {
    if (cpu as usize) < call.hv.machine.cpu_count() { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Implements `XEN_SYSCTL_get_pmstat`.
///
/// **Errors:** `EINVAL` for a CPU that does not exist, and for performance states, which no driver has described;
/// `ENODEV` for everything else.
pub(super) fn get_pmstat<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    let asked = op.get_pmstat();
    is_cpu(call, asked.cpuid)?;
    Err(if asked.kind & KIND_MASK == ABOUT_PERFORMANCE { Errno::EINVAL } else { Errno::ENODEV })
}

/// Implements `XEN_SYSCTL_pm_op`.
///
/// **Errors:** always `EINVAL`: no CPU has been described.
pub(super) fn pm_op<M: Machine>(_: &Call<'_, M>, _: &mut Sysctl) -> Result<Reply, Errno> {
    Err(Errno::EINVAL)
}

/// Implements `XEN_SYSCTL_cpu_hotplug`: CPUs stay as they are.
///
/// **Errors:** `EINVAL` for a CPU that does not exist and one that is online already; `EOPNOTSUPP` for taking one
/// offline and for threads; `ENOSYS` for operations that do not exist.
pub(super) fn cpu_hotplug<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    let asked = op.cpu_hotplug();
    match asked.op {
        XEN_SYSCTL_CPU_HOTPLUG_ONLINE => Err(Errno::EINVAL),
        XEN_SYSCTL_CPU_HOTPLUG_OFFLINE => {
            is_cpu(call, asked.cpu)?;
            Err(Errno::EOPNOTSUPP)
        }
        XEN_SYSCTL_CPU_HOTPLUG_SMT_ENABLE | XEN_SYSCTL_CPU_HOTPLUG_SMT_DISABLE => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::ENOSYS),
    }
}
