//! What the run queues of a pool know of each other without a lock. All of it may be slightly out of date.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use xenolith_hal::{CpuId, Time};

use crate::Cpus;

const WORDS: usize = 8;

/// Number of a run queue in its pool.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct QueueId(pub u32);

impl QueueId {
    /// Returns the number as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What a run queue publishes to others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Hint {
    /// Number of CPUs that share the queue.
    pub cpus: u32,
    /// Number of units in it, asleep or not.
    pub units: u32,
    /// Sum of the weights of its runnable units.
    pub weight: u64,
    /// Moving average of that sum.
    pub load: u64,
    /// Virtual time of the queue, in virtual nanoseconds that are comparable between queues.
    pub clock: u64,
    /// Time at which this was published.
    pub since: Time,
    /// Speed of the virtual time since then, in virtual nanoseconds per 65,536 ns.
    pub speed: u64,
}

#[derive(Debug, Default)]
struct Board {
    cpus: AtomicU32,
    units: AtomicU32,
    weight: AtomicU64,
    load: AtomicU64,
    clock: AtomicU64,
    since: AtomicU64,
    speed: AtomicU64,
}

/// The published state of a pool's run queues.
#[derive(Debug)]
pub struct View {
    /// For each CPU of the machine, its queue while it is in the pool.
    queue_of: Vec<QueueId>,
    /// CPUs that would take a unit at once.
    free: [AtomicU64; WORDS],
    /// CPUs that were asked to steal work and have not looked yet.
    called: [AtomicU64; WORDS],
    /// Queues in which a unit waits.
    waiting: [AtomicU64; WORDS],
    boards: Vec<Board>,
}

impl View {
    /// Makes the view of a pool whose queues are shared by `groups`, one group for each queue.
    ///
    /// **Errors:** memory is short.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn new(groups: &[Cpus]) -> Result<Self, TryReserveError> {
        let cpus = groups.iter().flat_map(Cpus::members).max().map_or(0, |last| last.index().saturating_add(1));
        let (mut queue_of, mut boards) = (Vec::new(), Vec::new());
        queue_of.try_reserve(cpus)?;
        queue_of.resize(cpus, QueueId(u32::MAX));
        boards.try_reserve(groups.len())?;
        for (group, id) in groups.iter().zip(0..) {
            boards.push(Board::default());
            for cpu in group.members() {
                if let Some(queue) = queue_of.get_mut(cpu.index()) {
                    *queue = QueueId(id);
                }
            }
        }
        Ok(Self { queue_of, free: Default::default(), called: Default::default(), waiting: Default::default(), boards })
    }

    /// Returns the number of queues.
    #[must_use]
    pub fn queues(&self) -> usize {
        self.boards.len()
    }

    /// Returns the queue of a CPU; None if it is in no group.
    #[must_use]
    pub fn queue_of(&self, cpu: CpuId) -> Option<QueueId> {
        self.queue_of.get(cpu.index()).copied().filter(|queue| queue.index() < self.boards.len())
    }

    /// Returns the CPUs that would take a unit at once.
    #[must_use]
    pub fn free(&self) -> Cpus {
        Cpus::of_words(core::array::from_fn(|word| self.free.get(word).map_or(0, |word| word.load(Ordering::SeqCst))))
    }

    /// Publishes whether a CPU would take a unit at once.
    pub fn set_free(&self, cpu: CpuId, free: bool) {
        set_bit(&self.free, cpu.index(), free);
    }

    /// Asks a free CPU to steal work; it is not free for others any more.
    pub fn call(&self, cpu: CpuId) {
        set_bit(&self.called, cpu.index(), true);
        self.set_free(cpu, false);
    }

    /// Returns whether a CPU was asked to steal work, and clears the request.
    #[must_use]
    pub fn take_call(&self, cpu: CpuId) -> bool {
        let mask = 1u64 << (cpu.index() % 64);
        let called = self.called.get(cpu.index() / 64).is_some_and(|word| word.load(Ordering::SeqCst) & mask != 0);
        set_bit(&self.called, cpu.index(), false);
        called
    }

    /// Publishes a queue's hint, and whether units wait in it.
    pub fn publish(&self, queue: QueueId, waits: bool, hint: Hint) {
        set_bit(&self.waiting, queue.index(), waits);
        if let Some(board) = self.boards.get(queue.index()) {
            board.cpus.store(hint.cpus, Ordering::Relaxed);
            board.units.store(hint.units, Ordering::Relaxed);
            board.weight.store(hint.weight, Ordering::Relaxed);
            board.load.store(hint.load, Ordering::Relaxed);
            board.clock.store(hint.clock, Ordering::Relaxed);
            board.since.store(hint.since.0, Ordering::Relaxed);
            board.speed.store(hint.speed, Ordering::Relaxed);
        }
    }

    /// Returns the hint of a queue.
    #[must_use]
    pub fn hint(&self, queue: QueueId) -> Hint {
        self.boards.get(queue.index()).map_or_else(Hint::default, |board| Hint {
            cpus: board.cpus.load(Ordering::Relaxed),
            units: board.units.load(Ordering::Relaxed),
            weight: board.weight.load(Ordering::Relaxed),
            load: board.load.load(Ordering::Relaxed),
            clock: board.clock.load(Ordering::Relaxed),
            since: Time(board.since.load(Ordering::Relaxed)),
            speed: board.speed.load(Ordering::Relaxed),
        })
    }

    /// Iterates over the queues in which a unit waits, from the one after `queue` on, round to the one before it.
    pub fn waiting_after(&self, queue: QueueId) -> impl Iterator<Item = QueueId> + use<> {
        let words = core::array::from_fn(|word| self.waiting.get(word).map_or(0, |word| word.load(Ordering::SeqCst)));
        // A set of queues has the form of one of CPUs.
        let mut set = Cpus::of_words(words);
        set.remove(CpuId(queue.0));
        let before = set.intersection(&Cpus::first(queue.0));
        set.without(&before).members().chain(before.members()).map(|bit| QueueId(bit.0))
    }
}

fn set_bit(words: &[AtomicU64; WORDS], bit: usize, on: bool) {
    let Some(word) = words.get(bit / 64) else { return };
    let mask = 1u64 << (bit % 64);
    // Most calls change nothing, and a word that is only read stays in every CPU's cache.
    if (word.load(Ordering::SeqCst) & mask != 0) == on {
        return;
    }
    if on {
        word.fetch_or(mask, Ordering::SeqCst);
    } else {
        word.fetch_and(!mask, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_in_which_units_wait_come_nearest_first() {
        let view = View::new(&[Cpus::first(2), Cpus::only(CpuId(2)), Cpus::only(CpuId(3))]).unwrap();
        for queue in [0, 1, 2] {
            view.publish(QueueId(queue), true, Hint::default());
        }
        assert!(view.waiting_after(QueueId(1)).eq([QueueId(2), QueueId(0)]));
        assert_eq!(view.queue_of(CpuId(3)), Some(QueueId(2)));
        assert_eq!(view.queue_of(CpuId(4)), None);
    }
}
