//! The scheduler's state of each CPU.

use super::sleepers::Sleepers;
use crate::components::idle_time::IdleTime;
use crate::domains::vcpu_ref::VcpuRef;
use core::sync::atomic::Ordering;
use xenolith_hal::{CpuId, Machine, Time};
use xenolith_sched::{Load, RunQueue};
use xenolith_sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use xenolith_sync::{SpinLock, rank};

/// One CPU.
pub struct Cpu<M: Machine> {
    id: CpuId,
    runs_guests: bool,
    pub queue: SpinLock<RunQueue<VcpuRef<M>>, rank::RunQueue>,
    pub sleepers: SpinLock<Sleepers, rank::Timers>,
    /// The earliest deadline of the sleepers: the CPU itself reads it without the lock, and nobody else changes it.
    next_wake_up: AtomicU64,
    /// A reschedule is requested: the policy is asked before the CPU enters a guest again.
    asked: AtomicBool,
    /// The time of the next scheduled choice.
    pub(super) asks_at: AtomicU64,
    /// The load of the queue, as last published: read without the lock, to choose which queue to lock.
    weight: AtomicU64,
    waiting: AtomicUsize,
    idle: AtomicBool,
    /// Its idle time.
    pub idle_time: IdleTime,
}

impl<M: Machine> Cpu<M> {
    pub fn new(id: CpuId, runs_guests: bool) -> Self {
        Self {
            id,
            runs_guests,
            queue: SpinLock::new(RunQueue::new(id)),
            sleepers: SpinLock::new(Sleepers::new()),
            next_wake_up: AtomicU64::new(Time::NEVER.0),
            asked: AtomicBool::new(false),
            asks_at: AtomicU64::new(u64::MAX),
            weight: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            idle: AtomicBool::new(true),
            idle_time: IdleTime::of_busy_cpu(),
        }
    }

    pub const fn id(&self) -> CpuId {
        self.id
    }

    /// Returns false for a CPU that is kept free of guests.
    pub const fn runs_guests(&self) -> bool {
        self.runs_guests
    }

    /// Changes the list of sleepers; called by this CPU itself.
    pub fn change_sleepers<T>(&self, change: impl FnOnce(&mut Sleepers) -> T) -> T {
        let mut sleepers = self.sleepers.lock();
        let result = change(&mut sleepers);
        self.next_wake_up.store(sleepers.next().0, Ordering::Relaxed);
        result
    }

    /// Returns the earliest deadline of the sleepers; called by this CPU itself.
    pub fn next_wake_up(&self) -> Time {
        Time(self.next_wake_up.load(Ordering::Relaxed))
    }

    /// Publishes the queue's load; called with its lock held, after each change.
    pub fn publish(&self, load: Load) {
        self.weight.store(load.weight, Ordering::Relaxed);
        self.waiting.store(load.waiting, Ordering::Relaxed);
        self.idle.store(load.idle, Ordering::Relaxed);
    }

    /// Returns the queue's load as last published.
    pub fn load(&self) -> Load {
        Load {
            cpu: self.id,
            weight: self.weight.load(Ordering::Relaxed),
            waiting: self.waiting.load(Ordering::Relaxed),
            idle: self.idle.load(Ordering::Relaxed),
        }
    }

    /// Returns true if it had nothing to run when its load was last published.
    pub fn is_idle(&self) -> bool {
        self.idle.load(Ordering::Relaxed)
    }

    /// Requests a reschedule; returns false if one was requested already.
    pub fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::SeqCst)
    }

    /// Returns true if a reschedule is requested.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Clears the request: the CPU asks the policy now.
    pub fn begin_choice(&self) {
        self.asked.store(false, Ordering::SeqCst);
    }

    /// Sets the time of the next choice.
    pub fn end_choice(&self, deadline: Time) {
        self.asks_at.store(deadline.0, Ordering::SeqCst);
    }

    /// Returns true if the CPU chooses by `time` anyway.
    pub fn asks_by(&self, time: Time) -> bool {
        self.asks_at.load(Ordering::SeqCst) <= time.0
    }
}
