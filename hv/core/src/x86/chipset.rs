//! The chipset of an HVM guest among its vCPUs: accesses of the guest, lines of the device model, interrupts and timers.

use crate::components::chipset::{Chipset, Upshot};
use crate::components::event_channel::raise_pirq;
use crate::components::vcpu_timers::Timer;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::running::Running;
use crate::domains::vcpu::Vcpu;
use crate::lifecycle::event_domain::HostedDomain;
use crate::lifecycle::time::update_wall_clock;
use crate::lifecycle::waking::{notify, notify_number};
use crate::x86::interrupts::send_message;
use crate::x86::viridian;
use core::sync::atomic::Ordering;
use xen_abi::VcpuId;
use xen_abi::hvm_param::{
    HVM_PARAM_ACPI_IOPORTS_LOCATION, HVM_PARAM_CALLBACK_IRQ, HVM_PARAM_HPET_ENABLED, HVM_PARAM_TIMER_MODE,
};
use xenolith_devices::ioapic;
use xenolith_devices::platform::{Acknowledged, HPET_BYTES, HPET_PAGE, MissedTicks, Moment, PIRQS, Platform, Written};
use xenolith_hal::{Gpa, IoAccess, Machine, RunControl, Time};

/// The vCPU that keeps the chipset's timers.
pub const KEEPER: VcpuId = VcpuId(0);

/// Returns the present moment by both clocks.
pub fn moment<M: Machine>(hv: &Hypervisor<M>) -> Moment {
    Moment::new(hv.machine.now(), hv.wall_clock())
}

/// Calls `work` with the chips of a domain that has them, and does what follows from it.
pub fn with<M: Machine, R>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    work: impl FnOnce(&mut Platform, Moment) -> R,
) -> Option<R> {
    let chipset = domain.chipset.get()?;
    let now = moment(hv);
    let (result, upshot) = chipset.change(now, |platform| work(platform, now));
    settle(hv, domain, chipset, &upshot);
    Some(result)
}

/// Does what follows from work at the chips.
fn settle<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, chipset: &Chipset, upshot: &Upshot) {
    if upshot.has_pirqs {
        raise_pirqs(hv, domain, chipset);
    }
    if upshot.has_messages || upshot.has_pirqs {
        // A level that stays asserted waits for its end of interrupt, so this comes to an end.
        while let Some(message) = chipset.take_message() {
            send_message(hv, domain, None, message);
        }
    }
    if upshot.asks {
        notify_number(hv, domain, chipset.target());
        if let Some(destination) = upshot.passed_to {
            let is_meant = |vcpu: &&Vcpu<M>| vcpu.lapic_identity().is_meant(destination, false);
            domain.vcpus.iter().filter(is_meant).for_each(|vcpu| notify(hv, domain, vcpu));
        }
    }
    set_timer(hv, domain, upshot.deadline);
}

/// Raises the events of interrupts that come as such.
#[cold]
fn raise_pirqs<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, chipset: &Chipset) {
    let events = HostedDomain::new(hv, domain);
    // Once each: what other CPUs raise meanwhile is theirs, however often a guest ends a level that stays.
    for _ in 0..PIRQS {
        let Some(pirq) = chipset.take_pirq() else { return };
        if !raise_pirq(&events, pirq) {
            chipset.pirq_unheard(pirq);
        }
    }
}

fn set_timer<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, deadline: Time) {
    let Some(keeper) = domain.vcpu(KEEPER) else { return };
    let deadline = domain.viridian.get().map_or(deadline, |viridian| viridian.note_chipset(deadline));
    arm(hv, domain, keeper, deadline);
}

/// Sets the time at which a vCPU looks at the timers of devices that it keeps.
pub fn arm<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, keeper: &Vcpu<M>, deadline: Time) {
    let before = keeper.timers.get(Timer::Chipset);
    if deadline == before {
        return;
    }
    keeper.timers.set(Timer::Chipset, deadline);
    let looks_itself = keeper.is_running() && keeper.processor() == hv.machine.this_cpu();
    if deadline < before && !looks_itself {
        hv.scheduler.timer_changed(&hv.machine, &hv.domains, domain, keeper);
    }
}

/// Tells the chips of a parameter that was set.
pub fn param_set<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, index: u32, value: u64) {
    let _ = match index {
        HVM_PARAM_TIMER_MODE => with(hv, domain, |platform, _| {
            if let Some(missed) = MissedTicks::from_param(value) {
                platform.set_missed_ticks(missed);
            }
        }),
        // The parameters refuse a place that does not exist.
        HVM_PARAM_ACPI_IOPORTS_LOCATION => with(hv, domain, |platform, _| {
            let _ = platform.set_acpi_location(value);
        }),
        HVM_PARAM_CALLBACK_IRQ => set_callback(hv, domain, value),
        _ => None,
    };
}

fn set_callback<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, value: u64) -> Option<()> {
    let chipset = domain.chipset.get()?;
    with(hv, domain, |platform, _| {
        chipset.set_callback(platform, value);
        // The line may be asserted from before the guest was saved.
        chipset.set_event(platform, has_event(hv, domain));
    })
}

/// Returns whether the line of event channels is to be asserted: an event is pending on vCPU 0, which has no vector of its
/// own for it.
#[inline]
fn has_event<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) -> bool {
    let first = domain.vcpu(KEEPER);
    first.is_some_and(|vcpu| vcpu.upcall_vector.load(Ordering::SeqCst) == 0 && vcpu.upcall_pending(&hv.machine))
}

/// Brings the line of event channels to what is pending, of a guest that asked for a line.
#[inline]
pub fn follow_events<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) {
    if let Some(chipset) = domain.chipset.get()
        && chipset.callback().is_some()
        && chipset.has_event() != has_event(hv, domain)
    {
        let _ = with(hv, domain, |platform, _| chipset.set_event(platform, has_event(hv, domain)));
    }
}

/// Deasserts the line of event channels while records are loaded, whatever they say of it. What is pending asserts it when the
/// guest runs: its local APICs take the interrupt only once they are loaded as well.
pub fn rest_events<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) {
    if let Some(chipset) = domain.chipset.get() {
        let _ = with(hv, domain, |platform, _| chipset.set_event(platform, false));
    }
}

/// Fires the chips' timers, if they are due and the vCPU keeps them.
pub fn fire_due<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>, now: Time) {
    if vcpu.timers.get(Timer::Chipset) <= now {
        take_due(hv, domain, vcpu, now);
    }
}

#[cold]
fn take_due<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>, now: Time) {
    if vcpu.timers.take_due(Timer::Chipset, now) {
        if vcpu.id == KEEPER {
            let _ = with(hv, domain, Platform::advance);
        }
        viridian::poll(hv, domain, vcpu);
    }
}

/// Reads a port; None if none of the chips responds.
pub fn read_port<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, access: IoAccess) -> Option<u32> {
    with(hv, domain, |platform, now| platform.read(access.port, access.size, now))?
}

/// Writes a port; returns what a device model must know, or None if none of the chips responds.
pub fn write_port<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, access: IoAccess, value: u32) -> Option<Written> {
    let written = with(hv, domain, |platform, now| platform.write(access.port, access.size, value, now))??;
    if written.clock_moved != 0 {
        let seconds = written.clock_moved.cast_unsigned();
        domain.time_offset_seconds.fetch_add(seconds, Ordering::SeqCst);
        update_wall_clock(hv, domain);
    }
    Some(written)
}

/// Returns whether one of the chips responds at an address.
pub fn has<M: Machine>(domain: &Domain<M>, at: Gpa) -> bool {
    domain.chipset.get().is_some() && (is_io_apic(at) || hpet_offset(at).is_some() && has_hpet(domain))
}

fn has_hpet<M: Machine>(domain: &Domain<M>) -> bool {
    domain.params.get(HVM_PARAM_HPET_ENABLED, false).is_ok_and(|enabled| enabled != 0)
}

fn is_io_apic(at: Gpa) -> bool {
    at.0 & !0xfff == ioapic::PAGE.0
}

fn hpet_offset(at: Gpa) -> Option<u32> {
    let offset = at.0.checked_sub(HPET_PAGE.0)?;
    u32::try_from(offset).ok().filter(|offset| *offset < HPET_BYTES)
}

/// Reads a register in memory: of the HPET, or of the I/O APIC, whose registers have 4 bytes.
pub fn read_memory<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, at: Gpa, bytes: u32) -> u64 {
    let value = if let Some(offset) = hpet_offset(at) {
        with(hv, domain, |platform, now| platform.read_hpet(offset, bytes, now))
    } else {
        let offset = at.page_offset() as u32;
        domain.chipset.get().map(|chipset| chipset.look(|platform| platform.read_io_apic(offset)).into())
    };
    value.unwrap_or(u64::MAX)
}

/// Writes a register in memory; see [`read_memory`].
pub fn write_memory<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, at: Gpa, bytes: u32, value: u64) {
    let _ = with(hv, domain, |platform, now| match hpet_offset(at) {
        Some(offset) => platform.write_hpet(offset, bytes, value, now),
        None => platform.write_io_apic(at.page_offset() as u32, value as u32),
    });
}

/// Handles the EOI of a level interrupt of this vector.
pub fn end_of_interrupt<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, vector: u8) {
    // An event that was handled does not interrupt again.
    follow_events(hv, domain);
    let _ = with(hv, domain, |platform, _| platform.end_of_interrupt(vector));
}

/// Returns whether a vCPU that halts has an interrupt that its local APIC does not show: the 8259A pair's, or one behind an
/// interrupt that needs no end and is over.
#[inline]
pub fn is_offered<M: Machine>(running: &mut Running<'_, M>) -> bool {
    running.domain.chipset.get().is_some_and(|chipset| is_hidden(chipset, running))
}

#[cold]
fn is_hidden<M: Machine>(chipset: &Chipset, running: &mut Running<'_, M>) -> bool {
    if let Some(viridian) = running.domain.viridian.get() {
        let _ = viridian::before_entry(running, viridian, RunControl::default());
    }
    running.core.lapic.highest_deliverable().is_some() || offered(chipset, running).is_some()
}

/// Offers a vCPU the 8259A pair's interrupt instead of its local APIC's, if there is one.
#[cold]
pub fn offer<M: Machine>(running: &mut Running<'_, M>, control: RunControl) -> RunControl {
    running.core.external = running.domain.chipset.get().and_then(|chipset| offered(chipset, running));
    let control = match running.domain.viridian.get() {
        Some(viridian) => viridian::before_entry(running, viridian, control),
        None => control,
    };
    let Some(external) = running.core.external else { return control };
    let task_priority = control.task_priority | RunControl::FROM_8259;
    RunControl { interrupt: Some(external.vector), task_priority, ..control }
}

/// Returns the 8259A pair's interrupt, if it asks for one and the vCPU's local APIC lets it pass.
#[cold]
fn offered<M: Machine>(chipset: &Chipset, running: &Running<'_, M>) -> Option<Acknowledged> {
    let lapic = &running.core.lapic;
    let accepts = lapic.accepts_external();
    if accepts && chipset.target() != running.vcpu.id {
        chipset.note_target(running.vcpu.id);
    }
    if !chipset.requests() {
        return None;
    }
    chipset.look(|platform| {
        let is_meant = |destination| lapic.identity().is_meant(destination, false);
        let passes = accepts || platform.external_destination().is_some_and(is_meant);
        if passes { platform.offered_external() } else { None }
    })
}

/// Notes that a vCPU took an interrupt: the 8259A pair's that was offered, or its local APIC's.
#[cold]
pub fn interrupt_taken<M: Machine>(running: &mut Running<'_, M>, vector: u8) {
    let Running { hv, domain, .. } = *running;
    if let Some(external) = running.core.external.take() {
        let _ = with(hv, domain, |platform, _| platform.external_taken(external));
        return;
    }
    running.core.lapic.accept(vector);
    if let Some(viridian) = domain.viridian.get() {
        viridian::interrupt_taken(running, viridian, vector);
    }
    if domain.chipset.get().is_some_and(|chipset| chipset.awaits()) {
        let _ = with(hv, domain, |platform, _| platform.interrupt_taken(vector));
    }
}
