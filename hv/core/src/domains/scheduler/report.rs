//! What each CPU's scheduler knows, for whoever looks at a machine that stands still.

use super::Scheduler;
use super::cpu::Cpu;
use crate::domains::vcpu_ref::VcpuRef;
use arrayvec::ArrayVec;
use core::sync::atomic::Ordering;
use xen_abi::{DomId, VcpuId};
use xenolith_hal::{CpuId, Machine, Time};
use xenolith_sched::{Entity, RunQueue};

/// How many that wait are named.
const NAMED: usize = 16;

/// vCPUs by their numbers.
pub type Names = ArrayVec<(DomId, VcpuId), NAMED>;

/// A CPU's queue.
pub struct QueueReport {
    /// The one that has the CPU.
    pub current: Option<(DomId, VcpuId)>,
    pub waiting: Names,
    /// Those that wait for their share of the next period.
    pub parked: Names,
    /// How many more than are named there are.
    pub left_out: usize,
}

/// One CPU.
pub struct CpuReport {
    pub cpu: CpuId,
    pub runs_guests: bool,
    /// It was asked to choose anew, and has not yet.
    pub asked: bool,
    /// When it chooses anew at the latest.
    pub asks_at: Time,
    pub idle_ns: u64,
    /// None while another CPU holds its lock.
    pub queue: Option<QueueReport>,
    /// How many it lets sleep, entries that count no more included, and until when at the least. None while another CPU
    /// holds the lock.
    pub sleepers: Option<(usize, Time)>,
}

impl<M: Machine> Scheduler<M> {
    /// What is known of a CPU; none if there is no such CPU. Waits for no lock.
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
    /// When it chooses anew at the latest.
    fn asks_at(&self) -> Time {
        Time(self.asks_at.load(Ordering::SeqCst))
    }
}

fn report<M: Machine>(queue: &RunQueue<VcpuRef<M>>) -> QueueReport {
    let name = |entity: &Entity<VcpuRef<M>>| (entity.key().domain.id, entity.key().id);
    let (waiting, parked): (Names, Names) =
        (queue.ready().take(NAMED).map(name).collect(), queue.parked().take(NAMED).map(name).collect());
    let all = queue.ready().count().saturating_add(queue.parked().count());
    let left_out = all.saturating_sub(waiting.len()).saturating_sub(parked.len());
    QueueReport { current: queue.current().map(name), waiting, parked, left_out }
}
