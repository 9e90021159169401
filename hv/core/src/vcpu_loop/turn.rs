//! One turn of a CPU: what has come in, which vCPU is next, and running it until something calls for another turn.

use super::run::{Stop, run_vcpu};
use crate::hypervisor::Hypervisor;
use crate::operations::console_io;
use crate::scheduler::TIME_SLICE_NS;
use crate::time;
use crate::vcpu::{VcpuCore, VcpuRef};
use crate::vcpu_timers::Timer;
use alloc::boxed::Box;
use xenolith_hal::{CpuId, GuestCpu, HostEvents, Machine, Time};

/// A vCPU that has the CPU.
pub(super) struct Current<M: Machine> {
    pub(super) entry: VcpuRef<M>,
    pub(super) core: Box<VcpuCore<M>>,
    /// When another one that waits may have the CPU.
    slice_end: Time,
}

/// The state of one CPU's loop.
pub struct CpuLoop<M: Machine> {
    cpu: CpuId,
    current: Option<Current<M>>,
}

impl<M: Machine> CpuLoop<M> {
    /// The loop of a CPU that has no vCPU yet.
    pub const fn new(cpu: CpuId) -> Self {
        Self { cpu, current: None }
    }

    /// One turn. Returns when something has happened that is not the running vCPU's own business.
    pub fn turn(&mut self, hv: &Hypervisor<M>) {
        hv.frames.quiet(self.cpu);
        let frames_due = hv.frames.poll(&hv.machine).unwrap_or(Time::NEVER);
        if hv.machine.take_events().contains(HostEvents::CONSOLE) {
            console_io::input_arrived(hv);
        }
        let now = hv.machine.now();
        self.wake_sleepers(hv, now);
        self.choose(hv, now);
        // Whoever comes after this was looked at is seen by `run_vcpu`, or kicks.
        let alone = !hv.scheduler.has_waiting(self.cpu);
        let deadline = self.deadline(hv).min(frames_due);
        let Some(current) = &mut self.current else {
            self.idle(hv, deadline);
            return;
        };
        hv.machine.set_timer(deadline);
        match run_vcpu(hv, &current.entry, &mut current.core, deadline, alone) {
            Stop::Interrupted => {}
            Stop::Yielded => current.slice_end = Time(0),
        }
    }

    /// Raises the timers that have run down, of sleeping vCPUs and of the one that runs.
    fn wake_sleepers(&self, hv: &Hypervisor<M>, now: Time) {
        while let Some(entry) = hv.scheduler.take_due(self.cpu, now) {
            if let Some(vcpu) = entry.vcpu() {
                time::fire_due(hv, &entry.domain, vcpu, now);
                if vcpu.is_blocked() {
                    hv.scheduler.sleep(entry);
                } else {
                    hv.scheduler.wake(hv, &entry.domain, vcpu);
                }
            }
        }
        if let Some(current) = &self.current
            && let Some(vcpu) = current.entry.vcpu()
        {
            time::fire_due(hv, &current.entry.domain, vcpu, now);
        }
    }

    /// Keeps the current vCPU, or puts it away and takes the next.
    fn choose(&mut self, hv: &Hypervisor<M>, now: Time) {
        if let Some(current) = &self.current {
            let may_stay = |cpu: Option<CpuId>| cpu.is_none_or(|cpu| cpu == self.cpu);
            let runnable = current.entry.vcpu().is_some_and(|vcpu| vcpu.is_runnable() && may_stay(vcpu.pinned()));
            let slice_over = now >= current.slice_end && hv.scheduler.has_waiting(self.cpu);
            if runnable && !slice_over {
                return;
            }
            self.put_away(hv, now);
        }
        while let Some(entry) = hv.scheduler.next(self.cpu) {
            let Some(mut core) = entry.vcpu().and_then(|vcpu| vcpu.take_core()) else { continue };
            if let Some(vcpu) = entry.vcpu() {
                vcpu.timers.set(Timer::Lapic, Time::NEVER);
            }
            time::switch_in(hv, &entry, &mut core, now);
            self.current = Some(Current { entry, core, slice_end: now.after_ns(TIME_SLICE_NS) });
            return;
        }
    }

    /// Takes the CPU from the current vCPU: back to its queue if it can run, to sleep otherwise.
    fn put_away(&mut self, hv: &Hypervisor<M>, now: Time) {
        let Some(Current { entry, mut core, .. }) = self.current.take() else { return };
        let Some(vcpu) = entry.vcpu() else { return };
        core.hardware.park();
        time::switch_out(hv, &entry, &mut core, now);
        vcpu.timers.set(Timer::Lapic, core.lapic.deadline());
        if let Some(cpu) = vcpu.pinned() {
            vcpu.set_processor(cpu);
        }
        vcpu.put_core(core);
        if vcpu.is_runnable() {
            hv.scheduler.put_back(hv, &entry.domain, vcpu);
        } else if vcpu.timers.deadline() != Time::NEVER {
            hv.scheduler.sleep(entry);
        }
    }

    /// When the machine must interrupt this CPU at the latest.
    fn deadline(&self, hv: &Hypervisor<M>) -> Time {
        let mut deadline = hv.scheduler.next_deadline(self.cpu);
        if let Some(current) = &self.current {
            if let Some(vcpu) = current.entry.vcpu() {
                deadline = deadline.min(vcpu.timers.deadline()).min(current.core.lapic.deadline());
            }
            if hv.scheduler.has_waiting(self.cpu) {
                deadline = deadline.min(current.slice_end);
            }
        }
        deadline
    }

    fn idle(&self, hv: &Hypervisor<M>, deadline: Time) {
        hv.frames.idle(self.cpu);
        hv.machine.set_timer(deadline);
        hv.machine.idle();
    }
}
