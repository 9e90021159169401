//! vCPUs that wait with a timer running, on one CPU: the earliest first.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;
use xen_abi::{DomId, Errno, VcpuId};
use xenolith_hal::Time;

/// One that waits, by its numbers: it does not keep its domain alive. Whoever takes it out looks whether it still
/// counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Sleeper {
    pub until: Time,
    pub domain: DomId,
    pub vcpu: VcpuId,
}

/// The vCPUs that one CPU wakes by their timers.
#[derive(Default)]
pub struct Sleepers {
    heap: BinaryHeap<Reverse<Sleeper>>,
    /// How many entries there is room for.
    room: usize,
}

impl Sleepers {
    /// None.
    pub const fn new() -> Self {
        Self { heap: BinaryHeap::new(), room: 0 }
    }

    /// Makes room for so many vCPUs in all: twice as many entries, so that clearing out those that count no more is
    /// rare.
    ///
    /// **Errors:** `ENOMEM`.
    pub fn reserve(&mut self, vcpus: usize) -> Result<(), Errno> {
        let wanted = vcpus.saturating_mul(2).max(1);
        self.heap.try_reserve(wanted.saturating_sub(self.heap.len())).map_err(|_| Errno::ENOMEM)?;
        self.room = self.room.max(wanted);
        Ok(())
    }

    /// True if no more fit: those that count no more are to be cleared out.
    pub fn is_full(&self) -> bool {
        self.heap.len() >= self.room
    }

    /// Takes everything out, to be put back after looking through it.
    pub fn take_all(&mut self) -> BinaryHeap<Reverse<Sleeper>> {
        core::mem::take(&mut self.heap)
    }

    /// Puts back what [`Sleepers::take_all`] took; nothing was added meanwhile.
    pub fn put_all(&mut self, all: BinaryHeap<Reverse<Sleeper>>) {
        self.heap = all;
    }

    /// Looks after one.
    pub fn add(&mut self, sleeper: Sleeper) {
        self.heap.push(Reverse(sleeper));
    }

    /// Takes one whose time has come; to be called until there is none.
    pub fn take_due(&mut self, now: Time) -> Option<Sleeper> {
        let Reverse(first) = self.heap.peek()?;
        if first.until > now {
            return None;
        }
        self.heap.pop().map(|Reverse(sleeper)| sleeper)
    }

    /// How many entries there are, those that count no more included.
    pub fn count(&self) -> usize {
        self.heap.len()
    }

    /// When the next one's time comes, at the earliest.
    pub fn next(&self) -> Time {
        self.heap.peek().map_or(Time::NEVER, |Reverse(sleeper)| sleeper.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(until: u64) -> Sleeper {
        Sleeper { until: Time(until), domain: DomId(1), vcpu: VcpuId(0) }
    }

    #[test]
    fn the_earliest_comes_first_and_not_before_its_time() {
        let mut sleepers = Sleepers::new();
        sleepers.reserve(2).unwrap();
        for until in [30, 10, 20] {
            sleepers.add(sleeper(until));
        }
        assert_eq!(sleepers.next(), Time(10));
        assert_eq!(sleepers.take_due(Time(9)), None);
        assert_eq!(sleepers.take_due(Time(25)), Some(sleeper(10)));
        assert_eq!(sleepers.take_due(Time(25)), Some(sleeper(20)));
        assert_eq!(sleepers.take_due(Time(25)), None);
        assert_eq!(sleepers.next(), Time(30));
    }

    #[test]
    fn it_is_full_at_twice_the_vcpus_that_room_was_made_for() {
        let mut sleepers = Sleepers::new();
        sleepers.reserve(1).unwrap();
        sleepers.add(sleeper(1));
        assert!(!sleepers.is_full());
        sleepers.add(sleeper(2));
        assert!(sleepers.is_full());
    }
}
