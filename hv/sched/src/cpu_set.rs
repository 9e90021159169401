//! A set of physical CPUs.

use core::fmt;

use xenolith_hal::CpuId;

const WORDS: usize = 4;
const BITS: u32 = 64;

/// CPUs 0 to 255, each in the set or not.
#[derive(Clone, Copy, Eq, Default)]
pub struct CpuSet([u64; WORDS]);

/// Word by word: sets are compared at each wake-up, where a call that compares bytes would cost more than all the rest.
impl PartialEq for CpuSet {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |different, (word, other)| different | (word ^ other)) == 0
    }
}

impl CpuSet {
    /// No CPU.
    pub const NONE: Self = Self([0; WORDS]);
    /// Every CPU that there can be.
    pub const ALL: Self = Self([u64::MAX; WORDS]);

    /// One CPU; none if its number is past the last that the set can hold.
    #[must_use]
    pub fn only(cpu: CpuId) -> Self {
        let mut set = Self::NONE;
        set.insert(cpu);
        set
    }

    /// The first `count` CPUs.
    #[must_use]
    pub fn first(count: u32) -> Self {
        let mut set = Self::NONE;
        for cpu in 0..count.min(BITS * WORDS as u32) {
            set.insert(CpuId(cpu));
        }
        set
    }

    /// Puts a CPU in. One past the last is left out.
    pub fn insert(&mut self, cpu: CpuId) {
        if let Some(word) = self.0.get_mut((cpu.0 / BITS) as usize) {
            *word |= 1 << (cpu.0 % BITS);
        }
    }

    /// Takes a CPU out.
    pub fn remove(&mut self, cpu: CpuId) {
        if let Some(word) = self.0.get_mut((cpu.0 / BITS) as usize) {
            *word &= !(1 << (cpu.0 % BITS));
        }
    }

    /// Whether a CPU is in the set.
    #[must_use]
    pub fn contains(&self, cpu: CpuId) -> bool {
        self.0.get((cpu.0 / BITS) as usize).is_some_and(|word| word & (1 << (cpu.0 % BITS)) != 0)
    }

    /// The CPUs that are in both.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        let mut out = *self;
        for (word, other) in out.0.iter_mut().zip(other.0) {
            *word &= other;
        }
        out
    }

    /// Whether no CPU is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// The CPUs in rising order.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + '_ {
        (0..BITS * WORDS as u32).map(CpuId).filter(|cpu| self.contains(*cpu))
    }
}

impl fmt::Debug for CpuSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|cpu| cpu.0)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_put_in_and_ignores_cpus_past_the_last() {
        let mut set = CpuSet::only(CpuId(65));
        set.insert(CpuId(0));
        set.insert(CpuId(256));
        assert!(set.contains(CpuId(65)) && set.contains(CpuId(0)) && !set.contains(CpuId(256)));
        set.remove(CpuId(0));
        assert!(set.iter().eq([CpuId(65)]));
        assert!(set.intersection(&CpuSet::first(65)).is_empty());
        assert_eq!(CpuSet::first(1000), CpuSet::ALL);
    }

    #[test]
    fn sets_that_differ_in_one_cpu_are_not_equal() {
        for cpu in (0..256).map(CpuId) {
            let mut set = CpuSet::ALL;
            set.remove(cpu);
            assert!(set != CpuSet::ALL && CpuSet::only(cpu) != CpuSet::NONE);
            set.insert(cpu);
            assert_eq!(set, CpuSet::ALL);
        }
    }
}
