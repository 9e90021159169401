//! A report of each CPU's scheduler state, for the debug keys.

use super::Scheduler;
use super::cpu::Cpu;
use crate::domains::vcpu_ref::VcpuRef;
use arrayvec::ArrayVec;
use core::sync::atomic::Ordering;
use xen_abi::{DomId, VcpuId};
use xenolith_hal::{CpuId, Machine, Time};
use xenolith_sched::{Entity, RunQueue};

/// How many waiting vCPUs are listed.
const NAMED: usize = 16;

/// vCPUs by their numbers.
pub type Names = ArrayVec<(DomId, VcpuId), NAMED>;

/// A CPU's queue.
pub struct QueueReport {
    /// The vCPU that runs.
    pub current: Option<(DomId, VcpuId)>,
    pub waiting: Names,
    /// vCPUs that used up their cap and wait for the next period.
    pub parked: Names,
    /// How many more there are than are listed.
    pub left_out: usize,
}

/// One CPU.
pub struct CpuReport {
    pub cpu: CpuId,
    pub runs_guests: bool,
    /// A reschedule is requested and not done yet.
    pub asked: bool,
    /// The time of the next choice.
    pub asks_at: Time,
    pub idle_ns: u64,
    /// None while another CPU holds its lock.
    pub queue: Option<QueueReport>,
    /// How many entries for sleeping vCPUs it has, stale ones included, and the earliest deadline. None while another
    /// CPU holds the lock.
    pub sleepers: Option<(usize, Time)>,
}

impl<M: Machine> Scheduler<M> {
    /// Returns the report of a CPU; None if there is no such CPU. Waits for no lock.
    pub fn report(&self, cpu: CpuId, now: Time) -> Option<CpuReport> {
        let own = self.cpu(cpu)?;
        Some(CpuReport {
            cpu,
            runs_guests: own.runs_guests(),
            asked: own.is_asked(),
            asks_at: own.asks_at(),
            idle_ns: own.idle_time.total_ns(now),
            queue: own.queue.try_lock().map(|queue| report(&queue)),
            sleepers: own.sleepers.try_lock().map(|sleepers| (sleepers.count(), sleepers.next())),
        })
    }
}

impl<M: Machine> Cpu<M> {
    /// Returns the time of the next choice.
    fn asks_at(&self) -> Time {
        Time(self.asks_at.load(Ordering::SeqCst))
    }
}

#[expect(clippy::disallowed_methods, reason = "arrays, and no more is taken than fits")]
fn report<M: Machine>(queue: &RunQueue<VcpuRef<M>>) -> QueueReport {
    let name = |entity: &Entity<VcpuRef<M>>| (entity.key().domain.id, entity.key().id);
    let (waiting, parked): (Names, Names) =
        (queue.ready().take(NAMED).map(name).collect(), queue.parked().take(NAMED).map(name).collect());
    let all = queue.ready().count().saturating_add(queue.parked().count());
    let left_out = all.saturating_sub(waiting.len()).saturating_sub(parked.len());
    QueueReport { current: queue.current().map(name), waiting, parked, left_out }
}
