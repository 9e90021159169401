//! Blocked vCPUs with a timer armed, on one CPU: the earliest first.

use alloc::collections::BinaryHeap;
use core::cmp::Reverse;
use xen_abi::{DomId, Errno, VcpuId};
use xenolith_hal::Time;

/// One blocked vCPU, by numbers: it does not keep its domain alive. When it is taken out, it must be checked for being
/// stale.
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
    /// The number of entries that there is room for.
    room: usize,
}

impl Sleepers {
    /// Creates an empty list.
    pub const fn new() -> Self {
        Self { heap: BinaryHeap::new(), room: 0 }
    }

    /// Reserves room for `vcpus` vCPUs: twice as many entries, so that removing stale entries is rare.
    ///
    /// **Errors:** `ENOMEM`.
    pub fn reserve(&mut self, vcpus: usize) -> Result<(), Errno> {
        let wanted = vcpus.saturating_mul(2).max(1);
        self.heap.try_reserve(wanted.saturating_sub(self.heap.len())).map_err(|_| Errno::ENOMEM)?;
        self.room = self.room.max(wanted);
        Ok(())
    }

    /// Returns true if there is no room: stale entries must be removed.
    pub fn is_full(&self) -> bool {
        self.heap.len() >= self.room
    }

    /// Takes all entries out, to be put back after stale ones were removed.
    pub fn take_all(&mut self) -> BinaryHeap<Reverse<Sleeper>> {
        core::mem::take(&mut self.heap)
    }

    /// Puts back what [`Sleepers::take_all`] took; nothing was added meanwhile.
    pub fn put_all(&mut self, all: BinaryHeap<Reverse<Sleeper>>) {
        self.heap = all;
    }

    /// Adds one.
    #[expect(clippy::disallowed_methods, reason = "there is room: the caller asked `is_full`")]
    pub fn add(&mut self, sleeper: Sleeper) {
        self.heap.push(Reverse(sleeper));
    }

    /// Takes out one whose deadline has passed; to be called until there is none.
    pub fn take_due(&mut self, now: Time) -> Option<Sleeper> {
        let Reverse(first) = self.heap.peek()?;
        if first.until > now {
            return None;
        }
        self.heap.pop().map(|Reverse(sleeper)| sleeper)
    }

    /// Returns the number of entries, stale ones included.
    pub fn count(&self) -> usize {
        self.heap.len()
    }

    /// Returns the earliest deadline.
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
