//! Access to vCPUs from outside, for which they must be paused and off their CPUs.

use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::vcpu::{Vcpu, VcpuCore};
use crate::lifecycle::waking::{pause_all, unpause_all};
use core::hint::spin_loop;
use xen_abi::Errno;
use xenolith_hal::Machine;

/// How long to wait for a CPU that was kicked out of its guest, in nanoseconds and in checks: a guest is left within
/// microseconds, a hypercall of its within a millisecond.
const PATIENCE_NS: u64 = 2_000_000;
const MOST_LOOKS: u32 = 1 << 16;

/// Waits until no CPU runs any of the vCPUs; returns false if that takes too long. They are paused already, and none is
/// the caller's.
pub fn wait_until_stopped<M: Machine>(hv: &Hypervisor<M>, vcpus: &[Vcpu<M>]) -> bool {
    let running = || vcpus.iter().filter(|vcpu| vcpu.is_running());
    let started = hv.machine.now();
    for _ in 0..MOST_LOOKS {
        if running().next().is_none() {
            return true;
        }
        if hv.machine.now().since_ns(started) > PATIENCE_NS {
            break;
        }
        // A CPU that waits for an answer of this one gets it meanwhile.
        hv.machine.open_interrupt_window();
        spin_loop();
    }
    for vcpu in running() {
        hv.machine.kick(vcpu.processor());
    }
    false
}

/// Checks that a domain's vCPUs may be worked on: not while it dies, since what the machine allocated for them is freed
/// then.
///
/// **Errors:** `EINVAL`.
fn require_alive<M: Machine>(domain: &Domain<M>) -> Result<(), Errno> {
    if domain.is_dying() { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Pauses a vCPU, calls `work` with its core, and unpauses it. It is not the caller's own.
///
/// **Errors:** `EINVAL` for a dying domain; `EAGAIN` if it does not stop soon: try again later.
pub fn with_stopped<M: Machine, R>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    vcpu: &Vcpu<M>,
    work: impl FnOnce(&mut VcpuCore<M>) -> R,
) -> Result<R, Errno> {
    require_alive(domain)?;
    vcpu.pause();
    if vcpu.is_running() {
        hv.machine.kick(vcpu.processor());
    }
    let stands_still = wait_until_stopped(hv, core::slice::from_ref(vcpu));
    let worked = if stands_still { vcpu.with_core_apart(work).map_err(Errno::from) } else { Err(Errno::EAGAIN) };
    if vcpu.unpause() {
        hv.scheduler.wake(&hv.machine, domain, vcpu);
    }
    worked
}

/// Pauses a whole domain, other than the caller's, calls `work`, and unpauses it.
///
/// **Errors:** `EINVAL` for a dying domain; `EAGAIN` if it does not stop soon: try again later; and
/// what `work` says.
pub fn with_domain_stopped<M: Machine, R>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    work: impl FnOnce() -> Result<R, Errno>,
) -> Result<R, Errno> {
    require_alive(domain)?;
    pause_all(hv, domain);
    let worked = if wait_until_stopped(hv, &domain.vcpus) { work() } else { Err(Errno::EAGAIN) };
    unpause_all(hv, domain);
    worked
}
