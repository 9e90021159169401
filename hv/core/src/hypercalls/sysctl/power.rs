//! Power states and frequencies of CPUs, which nobody manages.

use super::Reply;
use crate::hypercalls::Call;
use xen_abi::Errno;
use xen_abi::sysctl::*;
use xenolith_hal::Machine;

/// The bits of a kind of statistics that say what it is about.
const KIND_MASK: u32 = 0xf0;
/// It is about performance states.
const ABOUT_PERFORMANCE: u32 = PMSTAT_GET_MAX_PX & KIND_MASK;

/// **Errors:** `EINVAL` for a CPU that is not there.
fn is_cpu<M: Machine>(call: &Call<'_, M>, cpu: u32) -> Result<(), Errno> {
    if (cpu as usize) < call.hv.machine.cpu_count() { Ok(()) } else { Err(Errno::EINVAL) }
}

/// **Errors:** `EINVAL` for a CPU that is not there, and for performance states, which no driver has described;
/// `ENODEV` for everything else.
pub(super) fn get_pmstat<M: Machine>(call: &Call<'_, M>, op: &mut Sysctl) -> Result<Reply, Errno> {
    let asked = op.get_pmstat();
    is_cpu(call, asked.cpuid)?;
    Err(if asked.kind & KIND_MASK == ABOUT_PERFORMANCE { Errno::EINVAL } else { Errno::ENODEV })
}

/// **Errors:** always `EINVAL`: no CPU has been described.
pub(super) fn pm_op<M: Machine>(_: &Call<'_, M>, _: &mut Sysctl) -> Result<Reply, Errno> {
    Err(Errno::EINVAL)
}

/// CPUs stay as they are.
///
/// **Errors:** `EINVAL` for a CPU that is not there and one that is on already; `EOPNOTSUPP` for turning off and for
/// threads; `ENOSYS` for what does not exist.
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
