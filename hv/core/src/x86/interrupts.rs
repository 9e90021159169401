//! Interrupts between vCPUs.

use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::vcpu::{Vcpu, VcpuCore, notify};
use core::sync::atomic::Ordering;
use xen_abi::VcpuId;
use xenolith_devices::interrupt::{Delivery, Message, Trigger};
use xenolith_hal::{CpuState, GuestCpu, Machine};

/// Does what others have asked of a vCPU.
///
/// A vCPU that waits for its start already is as INIT makes it, so another INIT changes nothing: what is raised on it
/// before its first start is still there afterwards, as in real Xen. Linux raises the upcall so.
pub fn take_requests<M: Machine>(vcpu: &Vcpu<M>, core: &mut VcpuCore<M>) {
    let taken = vcpu.requests.take();
    if taken.init && !core.waits_for_startup {
        core.lapic.init();
        core.nmi_pending = false;
        core.waits_for_startup = true;
    }
    let upcall = vcpu.upcall_vector.load(Ordering::SeqCst);
    for (vector, trigger) in taken.vectors() {
        // A local APIC that is off takes nothing; that there are events shows in memory, and counts when it is turned
        // on.
        if vector != upcall || core.lapic.is_enabled() {
            core.lapic.raise(vector, trigger);
        }
    }
    core.nmi_pending |= taken.nmi;
    if let Some(page) = taken.startup {
        // The state is one that every machine takes.
        let _ = core.hardware.set_state(&CpuState::after_startup_ipi(page));
        core.nmi_pending = false;
        core.waits_for_startup = false;
    }
}

/// Delivers an interrupt message to the vCPUs of a domain that it is meant for.
pub fn send_message<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, from: Option<VcpuId>, message: Message) {
    for vcpu in &domain.vcpus {
        if !vcpu.lapic_identity().is_meant(message.destination, from == Some(vcpu.id)) {
            continue;
        }
        deliver(hv, domain, vcpu, message);
        if matches!(message.delivery, Delivery::LowestPriority(_)) {
            return;
        }
    }
}

fn deliver<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>, message: Message) {
    match message.delivery {
        Delivery::Fixed(vector) | Delivery::LowestPriority(vector) => match message.trigger {
            Trigger::Edge => vcpu.requests.post_vector(vector),
            Trigger::Level => vcpu.requests.post_level_vector(vector),
        },
        Delivery::Nmi => vcpu.requests.post_nmi(),
        Delivery::Init => {
            // Down until the start-up IPI; what it did until now is forgotten then.
            vcpu.reset();
            vcpu.requests.post_init();
            if vcpu.is_running() {
                hv.machine.kick(vcpu.processor());
            }
            return;
        }
        Delivery::Startup(page) => {
            if !vcpu.is_up() {
                vcpu.requests.post_sipi(page);
                if vcpu.bring_up() {
                    hv.scheduler.wake(hv, domain, vcpu);
                }
            }
            return;
        }
        Delivery::External => return,
    }
    notify(hv, domain, vcpu);
}
