//! Making vCPUs look, stop and go on.

use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::vcpu::Vcpu;
use xen_abi::VcpuId;
use xenolith_hal::Machine;

/// Makes a vCPU look at what it was sent: wakes it if it waits, and makes it leave its guest if it runs elsewhere.
pub fn notify<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>) {
    if vcpu.unblock() {
        hv.scheduler.wake(&hv.machine, domain, vcpu);
    } else if vcpu.is_running() && vcpu.processor() != hv.machine.this_cpu() {
        hv.machine.kick(vcpu.processor());
    }
}

/// The same for a vCPU by its number.
pub fn notify_number<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, id: VcpuId) {
    if let Some(vcpu) = domain.vcpu(id) {
        notify(hv, domain, vcpu);
    }
}

/// Adds a reason not to run to every vCPU of a domain, and makes those that run stop soon.
pub fn pause_all<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) {
    domain.pause_each(|cpu| hv.machine.kick(cpu));
}

/// Takes a reason not to run away from every vCPU of a domain.
pub fn unpause_all<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) {
    domain.unpause_each(|vcpu| hv.scheduler.wake(&hv.machine, domain, vcpu));
}

/// Stops all vCPUs for the domain's own reason; the first reason stays. False if it was shut down already.
pub fn shut_down<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, reason: u32) -> bool {
    let first = domain.begin_shutdown(reason);
    if first {
        pause_all(hv, domain);
    }
    first
}

/// Lets a domain that was shut down go on. False if it was not.
pub fn resume<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) -> bool {
    let was_down = domain.end_shutdown();
    if was_down {
        unpause_all(hv, domain);
    }
    was_down
}
