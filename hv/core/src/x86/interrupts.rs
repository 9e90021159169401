//! Interrupts between vCPUs, and of devices.

use crate::components::devices::{HostDevices, Owner, Source};
use crate::components::grant::World;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::running::Running;
use crate::domains::vcpu::{Vcpu, VcpuCore};
use crate::lifecycle::waking::notify;
use crate::x86::chipset;
use core::sync::atomic::Ordering;
use xen_abi::VcpuId;
use xenolith_devices::interrupt::{Delivery, Message, Trigger};
use xenolith_devices::lapic::Effect;
use xenolith_hal::{CpuState, Gpa, GuestCpu, Machine};

/// Handles what other CPUs requested of a vCPU.
///
/// A vCPU that waits for its start is already as INIT leaves it, so another INIT changes nothing: interrupts raised on
/// it before its first start are still pending afterwards, as in real Xen. Linux raises the upcall so.
pub fn take_requests<M: Machine>(vcpu: &Vcpu<M>, core: &mut VcpuCore<M>) {
    let taken = vcpu.requests.take();
    if taken.init && !core.waits_for_startup {
        core.lapic.init();
        core.nmi_pending = false;
        core.waits_for_startup = true;
    }
    let upcall = vcpu.upcall_vector.load(Ordering::SeqCst);
    taken.for_each_vector(|vector, trigger| {
        // A local APIC that is off takes nothing; that there are events shows in memory, and counts when it is turned
        // on.
        if vector != upcall || core.lapic.is_enabled() {
            core.lapic.raise(vector, trigger);
        }
    });
    core.nmi_pending |= taken.nmi;
    if let Some(page) = taken.startup {
        // The state is one that every machine takes.
        let _ = core.hardware.set_state(&CpuState::after_startup_ipi(page));
        core.nmi_pending = false;
        core.waits_for_startup = false;
    }
}

/// Delivers an interrupt message to the vCPUs of a domain that it addresses.
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
                    hv.scheduler.wake(&hv.machine, domain, vcpu);
                }
            }
            return;
        }
        Delivery::External => return,
    }
    notify(hv, domain, vcpu);
}

/// Carries out the effect of a write to the local APIC on other vCPUs, and publishes the vCPU's identity. `was_on` says
/// whether the local APIC was enabled before: events that came while it was not are raised when it is.
pub fn apic_effect<M: Machine>(running: &Running<'_, M>, effect: Effect, was_on: bool) {
    let Running { hv, domain, vcpu, .. } = *running;
    vcpu.set_lapic_identity(running.core.lapic.identity());
    let upcall = vcpu.upcall_vector.load(Ordering::SeqCst);
    if !was_on && running.core.lapic.is_enabled() && upcall != 0 && vcpu.upcall_pending(&hv.machine) {
        vcpu.requests.post_vector(upcall);
    }
    match effect {
        Effect::Send(message) => send_message(hv, domain, Some(vcpu.id), message),
        Effect::EndOfInterrupt(vector) => {
            end_of_interrupt(hv, domain, vector);
        }
        Effect::None => {}
    }
}

/// Calls `work` with the machine's devices of a domain.
pub fn with_owner<M: Machine, R>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    work: impl FnOnce(&HostDevices, &Owner<'_, M>) -> R,
) -> Option<R> {
    let devices = domain.devices.get()?;
    let cpu_for = |message: Message| {
        let is_meant = |vcpu: &&Vcpu<M>| vcpu.lapic_identity().is_meant(message.destination, false);
        domain.vcpus.iter().find(is_meant).map_or_else(|| hv.machine.this_cpu(), Vcpu::processor)
    };
    let owner = Owner {
        machine: &hv.machine,
        interrupts: &hv.device_interrupts,
        memory: World::memory(hv, domain),
        cpu_for: &cpu_for,
    };
    Some(work(devices, &owner))
}

/// Delivers the device interrupts that arrived at this CPU.
pub fn interrupts_arrived<M: Machine>(hv: &Hypervisor<M>) {
    hv.machine.take_interrupts(&mut |interrupt| {
        let Some((id, source)) = hv.device_interrupts.owner(interrupt) else { return };
        let Some(domain) = hv.domains.get(id) else { return };
        let message = match source {
            Source::Message(message) => Some(message),
            Source::Line(line) => domain.devices.get().and_then(|devices| devices.line_arrived(line)),
        };
        if let Some(message) = message {
            send_message(hv, &domain, None, message);
        }
    });
}

/// Writes to an address that is not mapped in the domain; dropped if nothing responds there.
pub fn write_device<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, at: Gpa, bytes: u32, value: u64) {
    if let Some(Some(message)) = with_owner(hv, domain, |devices, owner| devices.write(owner, at, bytes, value)) {
        send_message(hv, domain, None, message);
    }
}

/// Handles the EOI of a level interrupt of this vector by a domain: lines that are still asserted interrupt again.
pub fn end_of_interrupt<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vector: u8) {
    let messages = with_owner(hv, domain, |devices, owner| devices.end_of_interrupt(owner, vector));
    messages.into_iter().flatten().for_each(|message| send_message(hv, domain, None, message));
    chipset::end_of_interrupt(hv, domain, vector);
}
