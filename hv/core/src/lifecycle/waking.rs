//! Notifying, pausing and unpausing vCPUs.

use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::vcpu::Vcpu;
use xen_abi::VcpuId;
use xenolith_hal::Machine;

/// Makes a vCPU check for events: wakes it if it is blocked, and kicks it out of its guest if it runs on another CPU.
#[inline]
pub fn notify<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>) {
    if vcpu.unblock() {
        hv.scheduler.wake(&hv.machine, domain, vcpu);
    } else if vcpu.is_running() && vcpu.processor() != hv.machine.this_cpu() {
        hv.machine.kick(vcpu.processor());
    }
}

/// Makes a vCPU look at the answer of its device model.
pub fn answer_came<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>) {
    if vcpu.end_wait() {
        hv.scheduler.wake(&hv.machine, domain, vcpu);
    }
}

/// Does the same as [`notify`] for a vCPU by its number.
pub fn notify_number<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, id: VcpuId) {
    if let Some(vcpu) = domain.vcpu(id) {
        notify(hv, domain, vcpu);
    }
}

/// Pauses every vCPU of a domain: raises their pause counts, and kicks the CPUs that run one.
pub fn pause_all<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) {
    domain.pause_each(|cpu| hv.machine.kick(cpu));
}

/// Unpauses every vCPU of a domain: lowers their pause counts, and wakes vCPUs whose count drops to 0.
pub fn unpause_all<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) {
    domain.unpause_each(|vcpu| hv.scheduler.wake(&hv.machine, domain, vcpu));
}

/// Shuts a domain down: pauses all vCPUs; the first reason stays. Returns false if it was shut down already.
pub fn shut_down<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, reason: u32) -> bool {
    let first = domain.begin_shutdown(reason);
    if first {
        pause_all(hv, domain);
    }
    first
}

/// Resumes a domain that was shut down. Returns false if it was not.
pub fn resume<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) -> bool {
    let was_down = domain.end_shutdown();
    if was_down {
        unpause_all(hv, domain);
    }
    was_down
}
