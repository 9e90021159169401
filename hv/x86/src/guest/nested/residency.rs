//! The CPUs that are inside a guest of a p2m, and the TLB generation with which each entered.

use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};
use xenolith_hal::CpuId;

/// The CPU is not in a guest of this space.
const OUTSIDE: u64 = u64::MAX;

/// For each CPU the generation with which it entered, so that a frame that stopped being a table is used again only
/// when no CPU can hold a cached reference to it.
pub struct Residency {
    entered: Vec<AtomicU64>,
    generation: AtomicU64,
}

impl Residency {
    /// Creates it for the CPUs below `cpus`; None if memory is short.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn new(cpus: usize) -> Option<Self> {
        let mut entered = Vec::new();
        entered.try_reserve_exact(cpus).ok()?;
        entered.extend((0..cpus).map(|_| AtomicU64::new(OUTSIDE)));
        Some(Self { entered, generation: AtomicU64::new(1) })
    }

    /// Returns the current generation.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Starts a new generation and returns it.
    pub(crate) fn advance(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::SeqCst).wrapping_add(1)
    }

    /// Notes that `cpu` is about to enter a guest; returns the generation whose translations it may keep. None for a
    /// CPU that the space was not made for.
    ///
    /// The number is published before it is read again: either this CPU sees a generation that starts now, or the CPU
    /// that starts it sees this one inside.
    pub fn enter(&self, cpu: CpuId) -> Option<u64> {
        let slot = self.entered.get(cpu.index())?;
        let mut generation = self.generation.load(Ordering::Relaxed);
        loop {
            slot.store(generation, Ordering::SeqCst);
            let now = self.generation.load(Ordering::SeqCst);
            if now == generation {
                return Some(now);
            }
            generation = now;
        }
    }

    /// Notes that `cpu` has left the guest.
    pub fn leave(&self, cpu: CpuId) {
        if let Some(slot) = self.entered.get(cpu.index()) {
            slot.store(OUTSIDE, Ordering::Release);
        }
    }

    /// Returns true if no CPU is inside that entered before `generation`.
    pub fn all_since(&self, generation: u64) -> bool {
        self.entered.iter().all(|slot| slot.load(Ordering::SeqCst) >= generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_entered_earlier_is_waited_for() {
        let residency = Residency::new(2).unwrap();
        assert_eq!(residency.enter(CpuId(1)), Some(1));
        let generation = residency.advance();
        assert!(!residency.all_since(generation));
        residency.leave(CpuId(1));
        assert!(residency.all_since(generation));
    }

    #[test]
    fn a_cpu_that_entered_since_is_not_waited_for() {
        let residency = Residency::new(1).unwrap();
        let generation = residency.advance();
        assert_eq!(residency.enter(CpuId(0)), Some(generation));
        assert!(residency.all_since(generation));
    }

    #[test]
    fn an_unknown_cpu_may_not_enter() {
        assert_eq!(Residency::new(1).unwrap().enter(CpuId(1)), None);
    }
}
