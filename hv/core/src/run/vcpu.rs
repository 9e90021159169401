//! Running one vCPU until its CPU has other work.

use super::exits::answer_exit;
use crate::components::event_channel::poll;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::running::Running;
use crate::domains::vcpu::{Vcpu, VcpuCore};
use crate::domains::vcpu_ref::VcpuRef;
use crate::lifecycle::event_domain::HostedDomain;
use crate::lifecycle::power::domain_shutdown;
use crate::lifecycle::time::fire_due;
use crate::outcome::{After, CrashReason};
use crate::x86::chipset;
use crate::x86::completion;
use crate::x86::guest_ports;
use crate::x86::interrupts::take_requests;
use xen_abi::sched::{SHUTDOWN_CRASH, SHUTDOWN_REBOOT};
use xenolith_hal::{CpuId, Exit, GuestCpu, IoAccess, LogLevel, Machine, RunControl, ShortAnswers, Time};

/// The guest's interrupts are enabled.
const RFLAGS_IF: u64 = 1 << 9;

/// Why a vCPU stopped running.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stop {
    /// The CPU has other work, or the vCPU cannot run on.
    Interrupted,
    /// The vCPU yields.
    Yielded,
}

/// Runs a vCPU. `armed` is the deadline that the machine's timer is set to.
pub(super) fn run_vcpu<M: Machine>(
    hv: &Hypervisor<M>,
    entry: &VcpuRef<M>,
    core: &mut VcpuCore<M>,
    armed: Time,
) -> Stop {
    let domain = &*entry.domain;
    let Some(vcpu) = entry.vcpu() else { return Stop::Interrupted };
    let cpu = vcpu.processor();
    // Whatever woke it, it polls no longer.
    poll::end(&HostedDomain::new(hv, domain), vcpu.id);
    let has_chipset = domain.chipset.get().is_some();
    loop {
        if has_chipset {
            chipset::follow_events(hv, domain);
        }
        if vcpu.requests.pending() {
            if domain.device_model.get().is_some()
                && let Some(stop) = go_on(&mut Running { hv, domain, vcpu, core })
            {
                return stop;
            }
            take_requests(vcpu, core);
        }
        if !may_run(hv, vcpu, cpu) {
            return Stop::Interrupted;
        }
        hv.frames.quiet(cpu);
        let running = &mut Running { hv, domain, vcpu, core };
        let exit = enter(running, cpu, has_chipset);
        if matches!(exit, Exit::Interrupted) {
            return Stop::Interrupted;
        }
        match answer_exit(running, exit) {
            After::Resume => {}
            After::Yield => return Stop::Yielded,
            After::Block => {
                if block(running) {
                    return Stop::Interrupted;
                }
            }
            After::Stop => return Stop::Interrupted,
            After::Crash(reason) => {
                crash(running, reason);
                return Stop::Interrupted;
            }
        }
        // The guest may have asked for an earlier timer.
        if vcpu.timers.deadline() < armed || core.lapic.deadline() < armed {
            return Stop::Interrupted;
        }
    }
}

/// Goes on with an access that waits for a device model. Returns why the vCPU stops, if it does.
#[cold]
fn go_on<M: Machine>(running: &mut Running<'_, M>) -> Option<Stop> {
    match completion::resume(running) {
        After::Resume => None,
        After::Crash(reason) => {
            crash(running, reason);
            Some(Stop::Interrupted)
        }
        After::Yield | After::Block | After::Stop => Some(Stop::Interrupted),
    }
}

/// Returns true unless the vCPU was paused or stopped, or the CPU has other work.
#[inline]
fn may_run<M: Machine>(hv: &Hypervisor<M>, vcpu: &Vcpu<M>, cpu: CpuId) -> bool {
    vcpu.is_runnable() && !hv.scheduler.is_asked(cpu)
}

/// The fast path: exits that are answered without leaving the run loop of the machine.
struct Short<'a, M: Machine> {
    hv: &'a Hypervisor<M>,
    domain: &'a Domain<M>,
    vcpu: &'a Vcpu<M>,
    cpu: CpuId,
}

impl<M: Machine> ShortAnswers for Short<'_, M> {
    #[inline]
    fn port(&mut self, access: IoAccess, rax: u64) -> Option<u64> {
        guest_ports::short_answer(self.hv, self.domain, access, rax)
    }

    /// Timers need no check: a fast answer sets none, and the machine's own interrupts when one expires.
    #[inline]
    fn may_go_on(&mut self) -> bool {
        let Self { hv, domain, vcpu, cpu } = *self;
        if vcpu.requests.pending() || !may_run(hv, vcpu, cpu) {
            return false;
        }
        if domain.callback_vector().is_some() && vcpu.upcall_pending(&hv.machine) {
            return false;
        }
        hv.frames.quiet(cpu);
        true
    }
}

/// Enters the guest once, and updates its local APIC and its chipset, if it has one, with what it took.
fn enter<M: Machine>(running: &mut Running<'_, M>, cpu: CpuId, has_chipset: bool) -> Exit {
    let Running { hv, domain, vcpu, .. } = *running;
    if running.core.lapic.deadline() != Time::NEVER {
        running.core.lapic.advance(hv.machine.now());
    }
    let vector_callback = domain.callback_vector().filter(|_| vcpu.upcall_pending(&hv.machine));
    let interrupt = vector_callback.or_else(|| running.core.lapic.highest_pending());
    let mut control = RunControl {
        interrupt,
        task_priority: running.core.lapic.task_priority_class(),
        nmi: running.core.nmi_pending,
    };
    if has_chipset && vector_callback.is_none() {
        control = chipset::offer(running, control);
    }
    let mut short = Short { hv, domain, vcpu, cpu };
    let exit = running.core.hardware.run(&domain.space, control, &mut short);
    vcpu.note_rip(running.core.hardware.registers().rip);
    if running.core.hardware.interrupt_taken()
        && vector_callback.is_none()
        && let Some(vector) = control.interrupt
    {
        if has_chipset {
            chipset::interrupt_taken(running, vector);
        } else {
            running.core.lapic.accept(vector);
        }
    }
    if running.core.nmi_pending && running.core.hardware.nmi_taken() {
        running.core.nmi_pending = false;
    }
    let task_priority = running.core.hardware.task_priority();
    if task_priority != control.task_priority & !RunControl::FROM_8259 {
        running.core.lapic.set_task_priority_class(task_priority);
    }
    exit
}

/// Blocks a vCPU unless something is pending; returns true if it blocks.
///
/// It is marked as blocked first and checked afterwards; a CPU that raises something does it the other way round. So
/// one of the two sees the other. A timer that has expired by now raises its event before: a poll does not end by a
/// timer whose event is still to come.
fn block<M: Machine>(running: &mut Running<'_, M>) -> bool {
    let Running { hv, domain, vcpu, .. } = *running;
    let events = HostedDomain::new(hv, domain);
    let now = hv.machine.now();
    let polled = poll::is_polling(&events, vcpu.id);
    fire_due(hv, domain, vcpu, now);
    chipset::fire_due(hv, domain, vcpu, now);
    let poll_is_over = polled && !poll::is_polling(&events, vcpu.id);
    vcpu.block();
    chipset::follow_events(hv, domain);
    take_requests(vcpu, running.core);
    running.core.lapic.advance(now);
    // With interrupts off a vCPU sleeps on beside what it cannot take; only what comes anew wakes it.
    let takes_interrupts = running.core.hardware.registers().rflags & RFLAGS_IF != 0;
    let upcall = || domain.callback_vector().is_some() && vcpu.upcall_pending(&hv.machine);
    let something = running.core.nmi_pending
        || (takes_interrupts
            && (running.core.lapic.highest_deliverable().is_some() || upcall() || chipset::is_offered(running)))
        || poll_is_over
        || poll::was_woken(&events, vcpu.id);
    if something {
        vcpu.unblock();
        poll::end(&events, vcpu.id);
    }
    !something
}

/// Crashes a domain, and logs why.
fn crash<M: Machine>(running: &Running<'_, M>, reason: CrashReason) {
    let Running { hv, domain, vcpu, .. } = *running;
    let state = running.core.hardware.state();
    hv.machine.log(
        LogLevel::Error,
        true,
        format_args!(
            "d{}v{} crashed: {reason:?} at rip {:#018x} cr3 {:#x} rsp {:#x}",
            domain.id, vcpu.id, state.registers.rip, state.cr3, state.registers.rsp
        ),
    );
    let shutdown = if reason == CrashReason::TripleFault { SHUTDOWN_REBOOT } else { SHUTDOWN_CRASH };
    domain_shutdown(hv, domain, shutdown);
}
