//! Which vCPU runs where.

use crate::domain::Domain;
use crate::hypervisor::Hypervisor;
use crate::vcpu::{Vcpu, VcpuRef};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, Ordering};
use xen_abi::Errno;
use xenolith_hal::{CpuId, Machine, Time};
use xenolith_sync::{SpinLock, rank};

/// How long a vCPU may run while others wait.
pub const TIME_SLICE_NS: u64 = 10_000_000;

/// What waits for one CPU.
struct Queue<M: Machine> {
    ready: VecDeque<VcpuRef<M>>,
    /// vCPUs that wait with a timer running.
    sleeping: Vec<VcpuRef<M>>,
}

/// One queue for each CPU. A vCPU is only ever run from the queue of the CPU that it belongs to.
pub struct Scheduler<M: Machine> {
    queues: Vec<SpinLock<Queue<M>, rank::RunQueue>>,
    next: AtomicU32,
}

impl<M: Machine> Scheduler<M> {
    /// Queues for this many CPUs.
    pub fn new(cpus: usize) -> Self {
        let queue = || SpinLock::new(Queue { ready: VecDeque::new(), sleeping: Vec::new() });
        Self { queues: (0..cpus).map(|_| queue()).collect(), next: AtomicU32::new(0) }
    }

    /// The CPU for a new vCPU: one after the other.
    pub fn place(&self) -> CpuId {
        let count = u32::try_from(self.queues.len()).unwrap_or(u32::MAX).max(1);
        CpuId(self.next.fetch_add(1, Ordering::Relaxed) % count)
    }

    /// Makes room for `vcpus` more in every queue, so that waking one never needs memory.
    ///
    /// **Errors:** `ENOMEM`.
    pub fn reserve(&self, vcpus: usize) -> Result<(), Errno> {
        for queue in &self.queues {
            let mut queue = queue.lock();
            queue.ready.try_reserve(vcpus).map_err(|_| Errno::ENOMEM)?;
            queue.sleeping.try_reserve(vcpus).map_err(|_| Errno::ENOMEM)?;
        }
        Ok(())
    }

    fn queue(&self, cpu: CpuId) -> Option<&SpinLock<Queue<M>, rank::RunQueue>> {
        self.queues.get(cpu.index())
    }

    /// Puts a vCPU that can run into its CPU's queue and lets that CPU know. Harmless for one that stands there, that
    /// runs, or that cannot run after all.
    pub fn wake(&self, hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>) {
        if self.enqueue(domain, vcpu) {
            // This very CPU as well: a vCPU that runs here and woke this one must not keep the CPU past its slice.
            hv.machine.kick(vcpu.processor());
        }
    }

    /// Puts a vCPU that lost its CPU back into its queue. The CPU that calls chooses anew right afterwards.
    pub fn put_back(&self, hv: &Hypervisor<M>, domain: &Domain<M>, vcpu: &Vcpu<M>) {
        let cpu = vcpu.processor();
        if self.enqueue(domain, vcpu) && cpu != hv.machine.this_cpu() {
            hv.machine.kick(cpu);
        }
    }

    /// False when it stands in its queue already.
    fn enqueue(&self, domain: &Domain<M>, vcpu: &Vcpu<M>) -> bool {
        let (Some(queue), Some(entry)) = (self.queue(vcpu.processor()), domain.vcpu_ref(vcpu.id)) else { return false };
        let entered = vcpu.enter_queue();
        if entered {
            queue.lock().ready.push_back(entry);
        }
        entered
    }

    /// Remembers a vCPU that waits, for its timer.
    pub fn sleep(&self, entry: VcpuRef<M>) {
        let Some(vcpu) = entry.vcpu() else { return };
        if let Some(queue) = self.queue(vcpu.processor()) {
            let mut queue = queue.lock();
            if !queue.sleeping.iter().any(|other| same(other, &entry)) {
                queue.sleeping.push(entry);
            }
        }
    }

    /// The next vCPU for a CPU.
    pub fn next(&self, cpu: CpuId) -> Option<VcpuRef<M>> {
        let queue = self.queue(cpu)?;
        loop {
            let entry = queue.lock().ready.pop_front()?;
            let Some(vcpu) = entry.vcpu() else { continue };
            vcpu.leave_queue();
            if vcpu.is_runnable() {
                return Some(entry);
            }
        }
    }

    /// True if another vCPU waits for this CPU.
    pub fn has_waiting(&self, cpu: CpuId) -> bool {
        self.queue(cpu).is_some_and(|queue| !queue.lock().ready.is_empty())
    }

    /// Takes a sleeping vCPU whose timer is due out of the list; to be called until there is none.
    pub fn take_due(&self, cpu: CpuId, now: Time) -> Option<VcpuRef<M>> {
        let mut queue = self.queue(cpu)?.lock();
        let due =
            |entry: &VcpuRef<M>| entry.vcpu().is_none_or(|vcpu| vcpu.timers.deadline() <= now || !vcpu.is_blocked());
        let place = queue.sleeping.iter().position(due)?;
        Some(queue.sleeping.swap_remove(place))
    }

    /// The earliest deadline of those that sleep.
    pub fn next_deadline(&self, cpu: CpuId) -> Time {
        let Some(queue) = self.queue(cpu) else { return Time::NEVER };
        let queue = queue.lock();
        queue.sleeping.iter().filter_map(|entry| Some(entry.vcpu()?.timers.deadline())).min().unwrap_or(Time::NEVER)
    }
}

fn same<M: Machine>(a: &VcpuRef<M>, b: &VcpuRef<M>) -> bool {
    a.id == b.id && a.domain.id == b.domain.id
}
