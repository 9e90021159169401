//! The scheduler: the policy of `xenolith_sched` applied to real vCPUs, one run queue for each CPU.
//!
//! The policy's value for a vCPU is in one place: in the vCPU's [`Slot`](crate::components::slot::Slot) while it cannot
//! run, in a queue otherwise. Waking a vCPU takes the value from the slot; if there is none, the vCPU is in a queue or
//! on a CPU, and that CPU checks again whether it can run when it puts the value back.

mod cpu;
mod report;
mod sleepers;

pub use report::{CpuReport, QueueReport};

use crate::domains::domain::Domain;
use crate::domains::table::DomainTable;
use crate::domains::vcpu::Vcpu;
use crate::domains::vcpu_ref::VcpuRef;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use cpu::Cpu;
use sleepers::{Sleeper, Sleepers};
use xen_abi::Errno;
use xenolith_hal::{CpuId, Machine, Time};
use xenolith_sched::{CpuSet, Entity, Next, Settings, Wake, busiest, place};

/// The result of a scheduling decision.
pub struct Choice<M: Machine> {
    pub next: Do<M>,
    /// When to choose again at the latest.
    pub deadline: Time,
    /// The vCPU that had the CPU and cannot run any more. To be given to [`Scheduler::leave`] once its
    /// [`VcpuCore`](crate::domains::vcpu::VcpuCore) is back in its slot.
    pub left: Option<Entity<VcpuRef<M>>>,
}

/// What a CPU runs next.
pub enum Do<M: Machine> {
    /// The vCPU that it runs now.
    Keep,
    /// This vCPU.
    Switch(VcpuRef<M>),
    /// Nothing: it idles.
    Idle,
}

/// What the current vCPU of a CPU asks of the scheduler.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// It can run on.
    GoOn,
    /// It can run on, behind the others that wait.
    Yield,
    /// It cannot run on; the same where there is none.
    Leave,
}

/// The scheduler: which vCPU runs where.
pub struct Scheduler<M: Machine> {
    cpus: Vec<Cpu<M>>,
    next: AtomicU32,
    /// The number of vCPUs that queue space is reserved for.
    reserved: AtomicUsize,
}

impl<M: Machine> Scheduler<M> {
    /// Creates the queues for a machine's CPUs.
    #[expect(clippy::disallowed_methods, reason = "only at boot")]
    pub fn new(machine: &M) -> Self {
        let cpus = u32::try_from(machine.cpu_count()).unwrap_or(u32::MAX);
        let cpus = (0..cpus).map(CpuId).map(|cpu| Cpu::new(cpu, machine.runs_guests(cpu))).collect();
        Self { cpus, next: AtomicU32::new(0), reserved: AtomicUsize::new(0) }
    }

    /// Returns the initial CPU of a new vCPU: one CPU after the other.
    pub fn place(&self) -> CpuId {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) as usize;
        let turn = turn.checked_rem(self.guest_cpus().count());
        turn.and_then(|turn| self.guest_cpus().nth(turn)).map_or(CpuId(0), Cpu::id)
    }

    /// Reserves space for `vcpus` more in every queue, so that waking a vCPU never needs memory.
    ///
    /// **Errors:** `ENOMEM`.
    pub fn reserve(&self, vcpus: usize) -> Result<(), Errno> {
        let all = self.reserved.fetch_add(vcpus, Ordering::SeqCst).saturating_add(vcpus);
        for cpu in &self.cpus {
            let done = cpu.queue.lock().reserve(all).map_err(|_| Errno::ENOMEM);
            if let Err(errno) = done.and_then(|()| cpu.sleepers.lock().reserve(all)) {
                self.release(vcpus);
                return Err(errno);
            }
        }
        Ok(())
    }

    /// Releases the reservation of `vcpus` destroyed vCPUs.
    pub fn release(&self, vcpus: usize) {
        self.reserved.fetch_sub(vcpus, Ordering::SeqCst);
    }

    /// Returns the CPUs that run guests.
    pub fn online(&self) -> CpuSet {
        let mut online = CpuSet::NONE;
        self.guest_cpus().for_each(|cpu| online.insert(cpu.id()));
        online
    }

    fn guest_cpus(&self) -> impl Iterator<Item = &Cpu<M>> {
        self.cpus.iter().filter(|cpu| cpu.runs_guests())
    }

    fn cpu(&self, cpu: CpuId) -> Option<&Cpu<M>> {
        self.cpus.get(cpu.index())
    }

    /// Makes a runnable vCPU compete for a CPU. Harmless for a vCPU that is in a queue, that runs, or that cannot run
    /// after all.
    pub fn wake(&self, machine: &M, domain: &Domain<M>, vcpu: &Vcpu<M>) {
        if !vcpu.is_runnable() {
            return;
        }
        let Some(entry) = VcpuRef::of(domain, vcpu.id) else { return };
        if let Some(entity) = vcpu.schedule.take() {
            self.enter(machine, entity.with_key(entry));
        }
    }

    /// Enqueues a vCPU on the CPU that suits it best.
    fn enter(&self, machine: &M, mut entity: Entity<VcpuRef<M>>) {
        loop {
            let (domain, id) = (xenolith_sync::Arc::clone(&entity.key().domain), entity.key().id);
            let Some(vcpu) = domain.vcpu(id) else { return };
            let Some(cpu) = self.suitable(vcpu) else {
                // No CPU that it may run on is there. It stays aside until its affinity is changed.
                vcpu.schedule.put(entity.with_key(()));
                return;
            };
            let Some(own) = self.cpu(cpu) else { return };
            let mut queue = own.queue.lock();
            // A change of the settings looks for the vCPU in each queue afterwards, so this is not too old.
            let settings = vcpu.schedule.effective();
            if settings != *entity.settings() {
                entity.set_settings(settings);
            }
            match queue.insert(entity, machine.now()) {
                Ok(wake) => {
                    vcpu.set_processor(cpu);
                    own.publish(queue.load());
                    drop(queue);
                    self.preempt_by(machine, cpu, wake);
                    return;
                }
                Err(refused) => entity = refused,
            }
        }
    }

    /// Returns the CPU that it ran on last if that is idle, or the policy's choice.
    fn suitable(&self, vcpu: &Vcpu<M>) -> Option<CpuId> {
        let (last, settings) = (vcpu.processor(), vcpu.schedule.effective());
        let idle = self.cpu(last).is_some_and(|cpu| cpu.runs_guests() && cpu.is_idle());
        if idle && settings.prefers(last) {
            return Some(last);
        }
        place(&settings, Some(last), self.guest_cpus().map(Cpu::load))
    }

    /// Preempts a CPU now or at the time that a wake-up calls for.
    fn preempt_by(&self, machine: &M, cpu: CpuId, wake: Wake) {
        match wake {
            Wake::Now => self.ask(machine, cpu),
            Wake::At(time) if !self.cpu(cpu).is_some_and(|cpu| cpu.asks_by(time)) => self.ask(machine, cpu),
            Wake::At(_) | Wake::Later => {}
        }
    }

    /// Makes a CPU ask the policy before it enters a guest again.
    #[inline]
    fn ask(&self, machine: &M, cpu: CpuId) {
        if self.cpu(cpu).is_some_and(Cpu::ask) && cpu != machine.this_cpu() {
            machine.kick(cpu);
        }
    }

    /// Makes the calling CPU go through its loop before it enters a guest again.
    pub fn request_turn(&self, machine: &M) {
        self.ask(machine, machine.this_cpu());
    }

    /// Returns true if a reschedule of the CPU is requested.
    pub fn is_asked(&self, cpu: CpuId) -> bool {
        self.cpu(cpu).is_some_and(Cpu::is_asked)
    }

    /// Starts a CPU's idle period.
    pub fn idle_begins(&self, cpu: CpuId, now: Time) {
        if let Some(cpu) = self.cpu(cpu) {
            cpu.idle_time.begin(now);
        }
    }

    /// Ends a CPU's idle period.
    pub fn idle_ends(&self, cpu: CpuId, now: Time) {
        if let Some(cpu) = self.cpu(cpu) {
            cpu.idle_time.end(now);
        }
    }

    /// Returns a CPU's idle time since it started, in nanoseconds.
    pub fn idle_ns(&self, cpu: CpuId, now: Time) -> u64 {
        self.cpu(cpu).map_or(0, |cpu| cpu.idle_time.total_ns(now))
    }

    /// Chooses what the calling CPU runs next.
    pub fn choose(&self, cpu: CpuId, now: Time, wish: Wish) -> Choice<M> {
        let Some(own) = self.cpu(cpu) else { return Choice { next: Do::Idle, deadline: Time::NEVER, left: None } };
        own.begin_choice();
        let mut queue = own.queue.lock();
        if wish == Wish::Yield {
            queue.yield_current(now);
        }
        let decision = queue.choose(now, wish != Wish::Leave);
        let next = match (decision.next, queue.current()) {
            (Next::Keep, _) => Do::Keep,
            (Next::Switch, Some(entity)) => Do::Switch(entity.key().clone()),
            (Next::Switch, None) | (Next::Idle, _) => Do::Idle,
        };
        own.publish(queue.load());
        drop(queue);
        own.end_choice(decision.deadline);
        Choice { next, deadline: decision.deadline, left: decision.left }
    }

    /// Takes back a vCPU that could not run on. If it can by now, wakes it again: a wake-up meanwhile had no effect.
    pub fn leave(&self, machine: &M, entity: Entity<VcpuRef<M>>) {
        let entry = entity.key().clone();
        let Some(vcpu) = entry.vcpu() else { return };
        vcpu.schedule.put(entity.with_key(()));
        self.wake(machine, &entry.domain, vcpu);
    }

    /// Steals work from an overloaded CPU for an idle one; returns true if there was some.
    pub fn steal(&self, to: CpuId, now: Time) -> bool {
        if !self.cpu(to).is_some_and(Cpu::runs_guests) {
            return false;
        }
        let mut passed_over = CpuSet::NONE;
        loop {
            let loads = self.cpus.iter().map(Cpu::load).filter(|load| !passed_over.contains(load.cpu));
            let Some(from) = busiest(to, loads) else { return false };
            passed_over.insert(from);
            if let Some(entity) = self.take_from(from, to, now) {
                return self.take_in(to, entity, now);
            }
        }
    }

    fn take_from(&self, from: CpuId, to: CpuId, now: Time) -> Option<Entity<VcpuRef<M>>> {
        let other = self.cpu(from)?;
        let mut queue = other.queue.lock();
        // One that has just lost its CPU may still lie there in part.
        let entity = queue.give(to, now, |entry| entry.vcpu().is_some_and(|vcpu| !vcpu.is_running()));
        other.publish(queue.load());
        entity
    }

    fn take_in(&self, cpu: CpuId, mut entity: Entity<VcpuRef<M>>, now: Time) -> bool {
        let Some(own) = self.cpu(cpu) else { return false };
        let entry = entity.key().clone();
        let Some(vcpu) = entry.vcpu() else { return false };
        let mut queue = own.queue.lock();
        let settings = vcpu.schedule.effective();
        if settings != *entity.settings() {
            entity.set_settings(settings);
        }
        match queue.insert(entity, now) {
            Ok(_) => {
                vcpu.set_processor(cpu);
                own.publish(queue.load());
                true
            }
            Err(refused) => {
                drop(queue);
                // Its affinity was changed at this moment: to be woken elsewhere is all that it can ask for.
                vcpu.schedule.put(refused.with_key(()));
                false
            }
        }
    }

    /// Changes a vCPU's scheduling parameters, at once.
    pub fn set(&self, machine: &M, domain: &Domain<M>, vcpu: &Vcpu<M>, settings: Settings) {
        vcpu.schedule.set(settings);
        self.settings_changed(machine, domain, vcpu);
    }

    /// Pins a vCPU to one CPU whatever its settings say, or unpins it; returns where it was pinned before.
    pub fn pin(&self, machine: &M, domain: &Domain<M>, vcpu: &Vcpu<M>, cpu: Option<CpuId>) -> Option<CpuId> {
        let before = vcpu.schedule.pin(cpu);
        self.settings_changed(machine, domain, vcpu);
        before
    }

    fn settings_changed(&self, machine: &M, domain: &Domain<M>, vcpu: &Vcpu<M>) {
        let Some(entry) = VcpuRef::of(domain, vcpu.id) else { return };
        let now = machine.now();
        for (index, cpu) in self.cpus.iter().enumerate() {
            let mut queue = cpu.queue.lock();
            let moved = queue.change(&entry, vcpu.schedule.effective(), now);
            let runs_here = queue.current().is_some_and(|current| *current.key() == entry);
            cpu.publish(queue.load());
            drop(queue);
            if runs_here {
                self.ask(machine, CpuId(u32::try_from(index).unwrap_or(u32::MAX)));
            }
            if let Some(entity) = moved {
                self.enter(machine, entity);
            }
        }
        // One that had no CPU to run on may have one now.
        self.wake(machine, domain, vcpu);
    }

    /// Puts a blocked vCPU to sleep until its earliest timer.
    pub fn sleep(&self, machine: &M, domains: &DomainTable<M>, domain: &Domain<M>, vcpu: &Vcpu<M>) {
        let until = vcpu.timers.deadline();
        if until == Time::NEVER || !vcpu.schedule.begin_sleep(until) {
            return;
        }
        // The calling CPU looks after it: nobody else touches its list, and it is about to set its timer anew.
        let Some(cpu) = self.cpu(machine.this_cpu()) else { return };
        if cpu.sleepers.lock().is_full() {
            let mut all = cpu.change_sleepers(Sleepers::take_all);
            all.retain(|Reverse(sleeper)| {
                let domain = domains.get(sleeper.domain);
                let vcpu = domain.as_ref().and_then(|domain| domain.vcpu(sleeper.vcpu));
                vcpu.is_some_and(|vcpu| vcpu.schedule.sleeps_by(sleeper.until))
            });
            cpu.change_sleepers(|sleepers| sleepers.put_all(all));
        }
        let sleeper = Sleeper { until, domain: domain.id, vcpu: vcpu.id };
        cpu.change_sleepers(|sleepers| sleepers.add(sleeper));
    }

    /// Updates a blocked vCPU's wake-up after another vCPU has set one of its timers.
    pub fn timer_changed(&self, machine: &M, domains: &DomainTable<M>, domain: &Domain<M>, vcpu: &Vcpu<M>) {
        if vcpu.is_blocked() {
            self.sleep(machine, domains, domain, vcpu);
            self.ask(machine, machine.this_cpu());
        } else if vcpu.is_running() {
            self.ask(machine, vcpu.processor());
        }
    }

    /// Takes out a sleeping vCPU of this CPU whose timer has expired; to be called until there is none.
    pub fn take_due(&self, domains: &DomainTable<M>, cpu: CpuId, now: Time) -> Option<VcpuRef<M>> {
        let own = self.cpu(cpu)?;
        while own.next_wake_up() <= now {
            let sleeper = own.change_sleepers(|sleepers| sleepers.take_due(now))?;
            let entry = domains.get(sleeper.domain).and_then(|domain| VcpuRef::of(&domain, sleeper.vcpu));
            let Some(entry) = entry else { continue };
            if entry.vcpu().is_some_and(|vcpu| vcpu.schedule.end_sleep(sleeper.until)) {
                return Some(entry);
            }
        }
        None
    }

    /// Returns the earliest wake-up of the vCPUs that sleep on the calling CPU.
    pub fn next_deadline(&self, cpu: CpuId) -> Time {
        self.cpu(cpu).map_or(Time::NEVER, Cpu::next_wake_up)
    }
}
