//! The CPU pool of the simulated machine: its run queues, and the requests that they make to its CPUs.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use xenolith_hal::{CpuId, Time};
use xenolith_sched::Cpus;
use xenolith_sched::policy::{Policy, QueueId, Topology, UnitId, View, drive};

/// A pool of all CPUs of the machine.
pub struct SimulatedPool<P> {
    queues: Vec<RefCell<P>>,
    view: View,
    homes: Vec<Cell<QueueId>>,
    missed: Vec<AtomicBool>,
    asks: RefCell<Vec<CpuId>>,
    timers: RefCell<Vec<(QueueId, Time)>>,
    /// Time to which each queue's timer is set; [`Time::NEVER`] if it is not set.
    armed: Vec<Cell<Time>>,
}

impl<P: Policy> SimulatedPool<P> {
    /// Makes a pool of all CPUs of a machine, with memory for `units` units.
    #[must_use]
    pub fn new(topology: &Arc<Topology>, options: &P::Options, units: usize) -> Self {
        let all = Cpus::first(u32::try_from(topology.cpu_count()).unwrap_or(u32::MAX));
        let groups = P::groups(topology, &all, options).expect("memory for groups");
        let queue = |_: &Cpus| {
            let mut queue = P::new(Arc::clone(topology), options);
            queue.reserve(units).expect("memory for units");
            RefCell::new(queue)
        };
        Self {
            queues: groups.iter().map(queue).collect(),
            view: View::new(&groups).expect("memory for queues"),
            homes: vec![Cell::new(QueueId(0)); units],
            missed: (0..units).map(|_| AtomicBool::new(false)).collect(),
            asks: RefCell::default(),
            timers: RefCell::default(),
            armed: vec![Cell::new(Time::NEVER); groups.len()],
        }
    }

    /// Returns the CPUs that were asked to reschedule since the last call.
    pub fn take_asks(&self) -> Vec<CpuId> {
        self.asks.take()
    }

    /// Returns the timers that were set since the last call.
    pub fn take_timers(&self) -> Vec<(QueueId, Time)> {
        self.timers.take()
    }

    /// Returns whether a queue's timer expires now, and clears it if so.
    pub fn is_due(&self, queue: QueueId, now: Time) -> bool {
        let armed = &self.armed[queue.index()];
        let due = armed.get() == now;
        if due {
            armed.set(Time::NEVER);
        }
        due
    }

    /// Sets a queue's timer again after it expired; not for [`Time::NEVER`].
    pub fn set_timer_again(&self, queue: QueueId, at: Time) {
        if at != Time::NEVER {
            drive::Pool::set_timer(self, queue, at);
        }
    }
}

impl<P: Policy> drive::Pool for SimulatedPool<P> {
    type Policy = P;

    fn view(&self) -> &View {
        &self.view
    }

    fn with<R>(&self, queue: QueueId, act: impl FnOnce(&mut P) -> R) -> Option<R> {
        // A second look while the first is open would be a deadlock in the hypervisor; here it panics.
        self.queues.get(queue.index()).map(|queue| act(&mut queue.borrow_mut()))
    }

    fn home(&self, id: UnitId) -> QueueId {
        self.homes[id.index()].get()
    }

    fn set_home(&self, id: UnitId, queue: QueueId) {
        self.homes[id.index()].set(queue);
    }

    fn missed(&self, id: UnitId) -> &AtomicBool {
        &self.missed[id.index()]
    }

    fn ask(&self, cpu: CpuId) {
        self.asks.borrow_mut().push(cpu);
    }

    fn set_timer(&self, queue: QueueId, at: Time) {
        let armed = &self.armed[queue.index()];
        if at < armed.get() {
            armed.set(at);
            self.timers.borrow_mut().push((queue, at));
        }
    }
}
