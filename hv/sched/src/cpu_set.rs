//! A set of physical CPUs.

use core::fmt;

use xenolith_hal::CpuId;

const BITS: u32 = 64;

/// CPUs, each in the set or not: 64 for each word.
#[derive(Clone, Copy, Eq)]
pub struct CpuMask<const WORDS: usize>([u64; WORDS]);

/// CPUs 0 to 255.
pub type CpuSet = CpuMask<4>;

/// CPUs 0 to 511: as many as a policy deals with.
pub type Cpus = CpuMask<8>;

impl<const WORDS: usize> Default for CpuMask<WORDS> {
    fn default() -> Self {
        Self::NONE
    }
}

/// Word by word: sets are compared at each wake-up, where a call that compares bytes would cost more than all the rest.
impl<const WORDS: usize> PartialEq for CpuMask<WORDS> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |different, (word, other)| different | (word ^ other)) == 0
    }
}

impl<const WORDS: usize> CpuMask<WORDS> {
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

    /// The CPUs that are in this set and not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut out = *self;
        for (word, other) in out.0.iter_mut().zip(other.0) {
            *word &= !other;
        }
        out
    }

    /// The CPUs that are in one of both.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut out = *self;
        for (word, other) in out.0.iter_mut().zip(other.0) {
            *word |= other;
        }
        out
    }

    /// Whether a CPU is in both.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |both, (word, other)| both | (word & other)) != 0
    }

    /// The lowest CPU.
    #[must_use]
    pub fn lowest(&self) -> Option<CpuId> {
        self.members().next()
    }

    /// How many CPUs are in the set.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// The CPUs in rising order, in steps that grow with how many there are.
    pub fn members(&self) -> impl Iterator<Item = CpuId> + use<WORDS> {
        self.0.into_iter().zip(0u32..).flat_map(|(word, index)| {
            let first = (word != 0).then_some(word);
            let words = core::iter::successors(first, |word| Some(word & (word - 1)).filter(|rest| *rest != 0));
            words.map(move |word| CpuId(index * BITS + word.trailing_zeros()))
        })
    }

    /// The CPUs of one word of the set, the lowest in the lowest bit.
    #[must_use]
    pub fn word(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// A set of these words.
    #[must_use]
    pub const fn of_words(words: [u64; WORDS]) -> Self {
        Self(words)
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

impl<const WORDS: usize> fmt::Debug for CpuMask<WORDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return f.write_str("all");
        }
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
    fn the_members_of_a_wide_set_come_in_rising_order() {
        let numbers = [0, 63, 64, 200, 511];
        let mut set = Cpus::NONE;
        numbers.iter().for_each(|cpu| set.insert(CpuId(*cpu)));
        assert!(set.members().map(|cpu| cpu.0).eq(numbers));
        assert_eq!((set.count(), set.lowest()), (5, Some(CpuId(0))));
        assert_eq!(set.without(&Cpus::first(64)).lowest(), Some(CpuId(64)));
        assert!(set.intersects(&Cpus::only(CpuId(511))) && !set.intersects(&Cpus::only(CpuId(1))));
        assert_eq!(set.without(&Cpus::first(1)).union(&Cpus::first(1)), set);
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
