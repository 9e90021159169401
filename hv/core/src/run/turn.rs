//! One turn of a CPU's loop: handle what came in, choose a vCPU, and run it until something calls for another turn.

use super::vcpu::{Stop, run_vcpu};
use crate::components::vcpu_timers::Timer;
use crate::domains::hypervisor::Hypervisor;
use crate::domains::scheduler::{Do, Wish};
use crate::domains::vcpu::VcpuCore;
use crate::domains::vcpu_ref::VcpuRef;
use crate::hypercalls::console_io;
use crate::hypercalls::sysctl;
use crate::lifecycle::destruction;
use crate::lifecycle::time;
use crate::x86::chipset;
use crate::x86::interrupts::interrupts_arrived;
use alloc::boxed::Box;
use xenolith_hal::{CpuId, GuestCpu, HostEvents, LogLevel, Machine, Time};

/// The vCPU that is on the CPU.
pub(super) struct Current<M: Machine> {
    pub(super) entry: VcpuRef<M>,
    pub(super) core: Box<VcpuCore<M>>,
}

/// The state of one CPU's loop.
pub struct CpuLoop<M: Machine> {
    cpu: CpuId,
    current: Option<Current<M>>,
    /// The current vCPU has yielded.
    yields: bool,
    turns: u32,
}

/// The number of turns between two calls of the periodic housekeeping.
const HOUSEKEEPING_EVERY: u32 = 64;

impl<M: Machine> CpuLoop<M> {
    /// Creates the loop of a CPU that has no vCPU yet.
    pub const fn new(cpu: CpuId) -> Self {
        Self { cpu, current: None, yields: false, turns: 0 }
    }

    /// Does one turn. Returns when something has happened that does not concern the running vCPU alone.
    pub fn turn(&mut self, hv: &Hypervisor<M>) {
        self.turns = self.turns.wrapping_add(1);
        if self.turns.is_multiple_of(HOUSEKEEPING_EVERY) {
            hv.do_housekeeping();
        }
        hv.frames.quiet(self.cpu);
        let frames_due = hv.frames.poll(&hv.machine, || self.yields).unwrap_or(Time::NEVER);
        let frames_due = destruction::reap(hv).map_or(frames_due, |again| again.min(frames_due));
        let events = hv.machine.take_events();
        if events.contains(HostEvents::CONSOLE) {
            // A debug key may write for longer than the watchdog waits.
            let _not_stuck = hv.watchdog.is_on().then(|| hv.watchdog.suspend());
            console_io::input_arrived(hv);
        }
        if events.contains(HostEvents::DEVICE) {
            interrupts_arrived(hv);
        }
        if events.contains(HostEvents::LOG) {
            sysctl::ring_grew(hv);
        }
        let now = hv.machine.now();
        self.wake_sleepers(hv, now);
        let asks_at = self.choose(hv, now);
        let watched = if hv.watchdog.is_on() { self.watch(hv, now) } else { Time::NEVER };
        let deadline = self.deadline(hv).min(asks_at).min(frames_due).min(watched);
        let Some(current) = &mut self.current else {
            self.idle(hv, deadline);
            return;
        };
        hv.machine.set_timer(deadline);
        self.yields = run_vcpu(hv, &current.entry, &mut current.core, deadline) == Stop::Yielded;
    }

    /// Notes that this CPU has come back, and ends the machine if the next one does not. Returns when to look again.
    #[cold]
    #[inline]
    fn watch(&self, hv: &Hypervisor<M>, now: Time) -> Time {
        let (stuck, again) = hv.watchdog.visit(self.cpu, now);
        if let Some(cpu) = stuck {
            hv.machine.end_for_stuck_cpu(cpu);
        }
        again
    }

    /// Fires the expired timers, of blocked vCPUs and of the one that runs.
    fn wake_sleepers(&self, hv: &Hypervisor<M>, now: Time) {
        while let Some(entry) = hv.scheduler.take_due(&hv.domains, self.cpu, now) {
            let Some(vcpu) = entry.vcpu() else { continue };
            // One that does not wait looks at its timers itself.
            if vcpu.is_blocked() {
                time::fire_due(hv, &entry.domain, vcpu, now);
                chipset::fire_due(hv, &entry.domain, vcpu, now);
            }
            if vcpu.is_blocked() {
                hv.scheduler.sleep(&hv.machine, &hv.domains, &entry.domain, vcpu);
            }
        }
        if let Some(current) = &self.current
            && let Some(vcpu) = current.entry.vcpu()
        {
            time::fire_due(hv, &current.entry.domain, vcpu, now);
            chipset::fire_due(hv, &current.entry.domain, vcpu, now);
        }
    }

    /// Keeps the current vCPU, or switches to the next. Returns when to choose again at the latest.
    fn choose(&mut self, hv: &Hypervisor<M>, now: Time) -> Time {
        let mut wish = self.wish();
        self.yields = false;
        loop {
            let choice = hv.scheduler.choose(self.cpu, now, wish);
            if matches!(choice.next, Do::Keep) {
                return choice.deadline;
            }
            self.put_away(hv, now);
            if let Some(entity) = choice.left {
                hv.scheduler.leave(&hv.machine, entity);
            }
            match choice.next {
                Do::Keep => return choice.deadline,
                Do::Switch(entry) => {
                    if self.take_up(hv, entry, now) {
                        return choice.deadline;
                    }
                    // It was stopped while it waited for the CPU.
                    wish = Wish::Leave;
                }
                Do::Idle => {
                    if !hv.scheduler.is_asked(self.cpu) && !hv.scheduler.steal(self.cpu, now) {
                        return choice.deadline;
                    }
                }
            }
        }
    }

    /// Returns what the current vCPU asks of the scheduler.
    fn wish(&self) -> Wish {
        let vcpu = self.current.as_ref().and_then(|current| current.entry.vcpu());
        match vcpu.is_some_and(|vcpu| vcpu.is_runnable() && vcpu.schedule.effective().allows(self.cpu)) {
            true if self.yields => Wish::Yield,
            true => Wish::GoOn,
            false => Wish::Leave,
        }
    }

    /// Switches a vCPU in; returns false if it cannot run.
    fn take_up(&mut self, hv: &Hypervisor<M>, entry: VcpuRef<M>, now: Time) -> bool {
        let Some(vcpu) = entry.vcpu().filter(|vcpu| vcpu.is_runnable()) else { return false };
        let Some(mut core) = vcpu.take_core() else {
            let line = format_args!("d{}v{} is to run on two CPUs: refused", entry.domain.id, vcpu.id);
            hv.machine.log(LogLevel::Error, true, line);
            return false;
        };
        vcpu.timers.set(Timer::Lapic, Time::NEVER);
        time::switch_in(hv, &entry, &mut core, now);
        self.current = Some(Current { entry, core });
        true
    }

    /// Switches the current vCPU out.
    fn put_away(&mut self, hv: &Hypervisor<M>, now: Time) {
        let Some(Current { entry, mut core }) = self.current.take() else { return };
        let Some(vcpu) = entry.vcpu() else { return };
        core.hardware.park();
        time::switch_out(hv, &entry, &mut core, now);
        vcpu.timers.set(Timer::Lapic, core.lapic.deadline());
        vcpu.put_core(core);
        if vcpu.is_blocked() {
            hv.scheduler.sleep(&hv.machine, &hv.domains, &entry.domain, vcpu);
        }
    }

    /// Returns when the machine must interrupt this CPU at the latest, for the timers of vCPUs.
    fn deadline(&self, hv: &Hypervisor<M>) -> Time {
        let sleepers = hv.scheduler.next_deadline(self.cpu);
        let Some(current) = &self.current else { return sleepers };
        let own = current.entry.vcpu().map_or(Time::NEVER, |vcpu| vcpu.timers.deadline());
        sleepers.min(own).min(current.core.lapic.deadline())
    }

    fn idle(&self, hv: &Hypervisor<M>, deadline: Time) {
        hv.frames.idle(self.cpu);
        hv.machine.set_timer(deadline);
        hv.scheduler.idle_begins(self.cpu, hv.machine.now());
        // In a model every frame would be a step, of a protocol that has nothing to do with it.
        if cfg!(loom) || !hv.frames.scrub_a_little(&hv.machine, || hv.machine.has_events()) {
            hv.machine.idle();
        }
        hv.scheduler.idle_ends(self.cpu, hv.machine.now());
    }
}
