//! The simulated machine: CPUs that call a policy, vCPUs that work and sleep, and time that jumps from event to event.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use fastrand::Rng;
use xenolith_hal::{CpuId, Time};
use xenolith_sched::Cpus;
use xenolith_sched::policy::{Next, Policy, QueueId, Topology, Unit, UnitId, drive};

use crate::decision;
use crate::measure::Measures;
use crate::pool::SimulatedPool;
use crate::task::{After, Spec, Task};
use crate::vcpu::Vcpu;

/// Delays of the machine itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Costs {
    /// Time from a request to reschedule until the CPU calls the policy (an IPI), in nanoseconds.
    pub kick_ns: u64,
    /// Time of a context switch, in nanoseconds. At its end the new vCPU runs and the registers of the old one are
    /// saved.
    pub switch_ns: u64,
}

/// A policy that can be simulated.
pub trait Simulated: Policy {
    /// Its name on the command line.
    const NAME: &'static str;

    /// Returns the policy's parameters for each vCPU.
    fn parameters(specs: &[Spec]) -> Vec<Self::Parameters>;
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Event {
    /// The context switch of a CPU ends.
    Saved(CpuId),
    /// A CPU reschedules.
    Ask(CpuId),
    /// The timer of a CPU expires, unless its decision is not the one with this number any more.
    Timer(CpuId, u64),
    /// The vCPU of a CPU has done its work, unless the CPU's decision is not the one with this number any more.
    Done(CpuId, u64),
    /// The sleep of a vCPU ends.
    Wake(usize),
    /// The timer of a run queue expires.
    Tick(QueueId),
    /// A CPU goes online (true) or offline.
    Plug(CpuId, bool),
}

/// A CPU.
#[derive(Clone, Debug)]
pub(crate) struct Cpu {
    pub online: bool,
    pub running: Option<usize>,
    /// Up to when the work of its vCPU is counted; in the future during a context switch.
    since: u64,
    /// Number of its last decision; events of earlier ones are ignored.
    turn: u64,
    /// A context switch is under way.
    saving: bool,
}

/// A machine with a policy.
pub struct Machine<P: Policy> {
    pub(crate) now: u64,
    pub(crate) cpus: Vec<Cpu>,
    pub(crate) vcpus: Vec<Vcpu>,
    pub(crate) pool: SimulatedPool<P>,
    pub(crate) parameters: Vec<P::Parameters>,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    costs: Costs,
    rng: Rng,
    pub measures: Measures,
}

impl<P: Simulated> Machine<P> {
    /// Makes a machine whose CPUs are all online, and whose vCPUs start at time 0 or when their behaviour says.
    #[must_use]
    pub fn new(topology: Topology, options: &P::Options, tasks: Vec<Task>, costs: Costs, seed: u64) -> Self {
        let (cpus, topology) = (u32::try_from(topology.cpu_count()).unwrap_or(u32::MAX), Arc::new(topology));
        let specs: Vec<Spec> = tasks.iter().map(|task| task.spec).collect();
        let parameters = P::parameters(&specs);
        let cpu = Cpu { online: true, running: None, since: 0, turn: 0, saving: false };
        let mut machine = Self {
            now: 0,
            cpus: vec![cpu; cpus as usize],
            pool: SimulatedPool::new(&topology, options, tasks.len()),
            measures: Measures::new(tasks.len()),
            vcpus: tasks.into_iter().map(Vcpu::new).collect(),
            parameters,
            events: BinaryHeap::new(),
            sequence: 0,
            costs,
            rng: Rng::with_seed(seed),
        };
        for cpu in (0..cpus).map(CpuId) {
            assert!(drive::add_cpu(&machine.pool, cpu, Time(0)), "no memory for CPU {}", cpu.0);
        }
        for (index, parameters) in machine.parameters.iter().enumerate() {
            let id = UnitId(u32::try_from(index).unwrap_or(u32::MAX));
            let unit = Unit::new(id, machine.vcpus[index].task.spec.affinity, P::account(parameters));
            let placed = drive::enter(&machine.pool, Box::new(unit), Time(0));
            assert!(placed.is_ok(), "vCPU {index} may run on no CPU of the machine");
        }
        for index in 0..machine.vcpus.len() {
            let start = machine.vcpus[index].start();
            machine.at(start, Event::Wake(index));
        }
        machine.deliver();
        machine
    }

    pub(crate) fn at(&mut self, time: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((time.max(self.now), self.sequence, event)));
    }

    /// Schedules a CPU to go online or offline at `time`.
    pub fn plug_at(&mut self, time: u64, cpu: CpuId, online: bool) {
        self.at(time, Event::Plug(cpu, online));
    }

    /// Turns the requests of the policy into events.
    pub(crate) fn deliver(&mut self) {
        for cpu in self.pool.take_asks() {
            self.at(self.now.saturating_add(self.costs.kick_ns), Event::Ask(cpu));
        }
        for (queue, at) in self.pool.take_timers() {
            self.at(at.0, Event::Tick(queue));
        }
    }

    /// Simulates until `end`. `after` is called with the machine after all events of each moment.
    pub fn run_until(&mut self, end: u64, mut after: impl FnMut(&Self)) {
        while let Some(Reverse((time, ..))) = self.events.peek()
            && *time <= end
        {
            let Some(Reverse((time, _, event))) = self.events.pop() else { break };
            self.now = time;
            self.handle(event);
            self.deliver();
            let more = self.events.peek().is_some_and(|Reverse((next, ..))| *next == self.now);
            if !more {
                after(self);
            }
        }
        self.now = end;
        for cpu in 0..self.cpus.len() {
            self.progress(cpu);
        }
    }

    fn handle(&mut self, event: Event) {
        let now = Time(self.now);
        match event {
            Event::Ask(cpu) => self.decide(cpu),
            Event::Timer(cpu, turn) if self.cpus[cpu.index()].turn == turn => self.decide(cpu),
            Event::Done(cpu, turn) if self.cpus[cpu.index()].turn == turn => self.done(cpu),
            Event::Timer(..) | Event::Done(..) => {}
            Event::Saved(cpu) => {
                self.cpus[cpu.index()].saving = false;
                decision::saved(&self.pool, cpu, now);
            }
            Event::Wake(vcpu) => self.wake(vcpu),
            Event::Tick(queue) => {
                if self.pool.is_due(queue, now) {
                    let next = decision::tick(&self.pool, queue, now);
                    self.pool.set_timer_again(queue, next);
                }
            }
            Event::Plug(cpu, true) if !self.cpus[cpu.index()].online => {
                self.cpus[cpu.index()].online = true;
                assert!(drive::add_cpu(&self.pool, cpu, now), "no memory");
            }
            Event::Plug(cpu, false) if self.cpus[cpu.index()].online => {
                self.cpus[cpu.index()].online = false;
                drive::remove_cpu(&self.pool, cpu, now);
            }
            Event::Plug(..) => {}
        }
    }

    /// Charges the work of the vCPU on a CPU up to now.
    fn progress(&mut self, cpu: usize) {
        let own = &mut self.cpus[cpu];
        let Some(index) = own.running else { return };
        let ran = self.now.saturating_sub(own.since);
        own.since = own.since.max(self.now);
        self.vcpus[index].work(ran);
        self.measures.ran(index, ran);
    }

    /// Has a CPU call the policy, and does what it decides.
    fn decide(&mut self, cpu: CpuId) {
        let index = cpu.index();
        self.progress(index);
        let before = self.cpus[index].running;
        let can_run = before.is_none_or(|vcpu| self.vcpus[vcpu].wants());
        if self.cpus[index].saving {
            // The last switch is not over: it asks again when it is.
            self.at(self.now.saturating_add(self.costs.switch_ns), Event::Ask(cpu));
            return;
        }
        let decision = decision::choose(&self.pool, cpu, Time(self.now), can_run);
        self.measures.decisions += 1;
        self.measures.deadlines += u64::from(decision.deadline != Time::NEVER);
        assert!(decision.deadline > Time(self.now), "a deadline in the past never ends");
        assert_eq!(decision.left.map(UnitId::index), before.filter(|_| decision.next != Next::Keep), "who left");
        match decision.next {
            Next::Keep => {}
            Next::Switch(id) => self.switch(cpu, id.index()),
            Next::Idle => self.cpus[index].running = None,
        }
        self.measures.runs(cpu, self.cpus[index].running, self.now);
        self.set_timers(cpu, decision.deadline);
        if decision.left.is_some() {
            if self.costs.switch_ns == 0 {
                decision::saved(&self.pool, cpu, Time(self.now));
            } else {
                self.cpus[index].saving = true;
                self.at(self.now + self.costs.switch_ns, Event::Saved(cpu));
            }
        }
    }

    fn switch(&mut self, cpu: CpuId, vcpu: usize) {
        let starts = self.now + self.costs.switch_ns;
        let own = &mut self.cpus[cpu.index()];
        (own.running, own.since) = (Some(vcpu), starts);
        self.measures.switches += 1;
        let state = &mut self.vcpus[vcpu];
        if state.last.replace(cpu).is_some_and(|last| last != cpu) {
            self.measures.migrations += 1;
        }
        if let Some(woken) = state.woken_at.take() {
            self.measures.latency(starts - woken);
        }
    }

    fn set_timers(&mut self, cpu: CpuId, deadline: Time) {
        let own = &mut self.cpus[cpu.index()];
        own.turn += 1;
        let (turn, since) = (own.turn, own.since);
        let left = own.running.and_then(|vcpu| self.vcpus[vcpu].left());
        if deadline != Time::NEVER {
            self.at(deadline.0, Event::Timer(cpu, turn));
        }
        if let Some(left) = left {
            self.at(since.max(self.now) + left, Event::Done(cpu, turn));
        }
    }

    /// Ends the work of the vCPU on a CPU: it sleeps, waits, or sends a message.
    fn done(&mut self, cpu: CpuId) {
        self.progress(cpu.index());
        let Some(index) = self.cpus[cpu.index()].running else { return };
        let message = self.vcpus[index].message(index, self.now);
        let after = self.vcpus[index].finish(self.now, &mut self.rng, &mut self.measures);
        match after {
            After::Work(_) => {
                // It works on without a pause: only the end of its work is new.
                let (since, left) = (self.cpus[cpu.index()].since, self.vcpus[index].left());
                let turn = self.cpus[cpu.index()].turn;
                if let Some(left) = left {
                    self.at(since.max(self.now) + left, Event::Done(cpu, turn));
                }
            }
            After::Sleep(until) => {
                self.at(until, Event::Wake(index));
                self.decide(cpu);
            }
            After::Wait => self.decide(cpu),
        }
        if let Some((to, request)) = message {
            self.deliver();
            if let Some(at) = self.vcpus[to].receive(request, self.now, &mut self.rng, &mut self.measures) {
                self.at(at, Event::Wake(to));
            }
        }
    }

    fn wake(&mut self, index: usize) {
        self.vcpus[index].begin(self.now, &mut self.rng);
        self.want(index);
    }

    fn want(&mut self, index: usize) {
        self.vcpus[index].woken_at = Some(self.now);
        decision::wake(&self.pool, UnitId(u32::try_from(index).unwrap_or(u32::MAX)), Time(self.now));
    }

    /// Changes the parameters of a vCPU.
    pub fn set(&mut self, index: usize, spec: Spec) {
        self.vcpus[index].task.spec = spec;
        let specs: Vec<Spec> = self.vcpus.iter().map(|vcpu| vcpu.task.spec).collect();
        self.parameters = P::parameters(&specs);
        let id = UnitId(u32::try_from(index).unwrap_or(u32::MAX));
        let done = drive::set(&self.pool, id, spec.affinity, &self.parameters[index], Time(self.now));
        assert!(done.is_some(), "no memory");
        self.deliver();
    }

    /// Returns the CPUs that are online and run nothing.
    #[must_use]
    pub fn idle(&self) -> Cpus {
        let mut idle = self.online();
        let busy = self.cpus.iter().zip(0..).filter(|(cpu, _)| cpu.running.is_some());
        busy.for_each(|(_, cpu)| idle.remove(CpuId(cpu)));
        idle
    }

    /// Returns the CPUs that are online.
    #[must_use]
    pub fn online(&self) -> Cpus {
        let mut online = Cpus::NONE;
        let there = self.cpus.iter().zip(0..).filter(|(cpu, _)| cpu.online);
        there.for_each(|(_, cpu)| online.insert(CpuId(cpu)));
        online
    }
}
