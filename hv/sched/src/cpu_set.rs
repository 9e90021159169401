//! Sets of physical CPUs (CPU masks).

use core::fmt;

use xenolith_hal::CpuId;

const BITS: u32 = 64;

/// A CPU mask of `WORDS` words of 64 CPUs each.
#[derive(Clone, Copy, Eq)]
pub struct CpuMask<const WORDS: usize>([u64; WORDS]);

/// A mask of CPUs 0 to 255.
pub type CpuSet = CpuMask<4>;

/// A mask of CPUs 0 to 511, the most that a policy of [`crate::policy`] handles.
pub type Cpus = CpuMask<8>;

impl<const WORDS: usize> Default for CpuMask<WORDS> {
    fn default() -> Self {
        Self::NONE
    }
}

/// Compares word by word: masks are compared at each wake-up, where a call of `memcmp` would cost more than the rest.
impl<const WORDS: usize> PartialEq for CpuMask<WORDS> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        !self.any(other, |word, other| word ^ other)
    }
}

impl<const WORDS: usize> CpuMask<WORDS> {
    /// The empty mask.
    pub const NONE: Self = Self([0; WORDS]);
    /// The mask of every CPU that this type can name.
    pub const ALL: Self = Self([u64::MAX; WORDS]);
    /// Number of CPUs that the mask can hold.
    const CAPACITY: u32 = BITS * WORDS as u32;

    /// Returns what comes of each pair of words. Four at a time, as its callers are built for size and keep loops.
    #[inline]
    fn combined(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> Self {
        const { assert!(WORDS.is_multiple_of(4)) }
        let mut out = *self;
        for ([a, b, c, d], [e, f, g, h]) in out.0.as_chunks_mut().0.iter_mut().zip(other.0.as_chunks().0) {
            (*a, *b, *c, *d) = (of(*a, *e), of(*b, *f), of(*c, *g), of(*d, *h));
        }
        out
    }

    /// Returns whether something else than 0 comes of a pair of words.
    #[inline]
    fn any(&self, other: &Self, of: impl Fn(u64, u64) -> u64) -> bool {
        const { assert!(WORDS.is_multiple_of(4)) }
        let pairs = self.0.as_chunks().0.iter().zip(other.0.as_chunks().0);
        pairs.fold(0, |any, ([a, b, c, d], [e, f, g, h])| any | of(*a, *e) | of(*b, *f) | of(*c, *g) | of(*d, *h)) != 0
    }

    /// Returns the mask of one CPU; the empty mask if its number is past the last that the mask can hold.
    #[must_use]
    pub fn only(cpu: CpuId) -> Self {
        let mut set = Self::NONE;
        set.insert(cpu);
        set
    }

    /// Returns the mask of CPUs 0 to `count` - 1, cut at the capacity of the mask.
    #[must_use]
    pub fn first(count: u32) -> Self {
        let mut set = Self::NONE;
        for cpu in 0..count.min(Self::CAPACITY) {
            set.insert(CpuId(cpu));
        }
        set
    }

    /// Adds a CPU. A number past the last that the mask can hold is ignored.
    pub fn insert(&mut self, cpu: CpuId) {
        if let Some(word) = self.0.get_mut((cpu.0 / BITS) as usize) {
            *word |= 1 << (cpu.0 % BITS);
        }
    }

    /// Removes a CPU.
    pub fn remove(&mut self, cpu: CpuId) {
        if let Some(word) = self.0.get_mut((cpu.0 / BITS) as usize) {
            *word &= !(1 << (cpu.0 % BITS));
        }
    }

    /// Returns whether a CPU is in the mask.
    #[must_use]
    pub fn contains(&self, cpu: CpuId) -> bool {
        self.0.get((cpu.0 / BITS) as usize).is_some_and(|word| word & (1 << (cpu.0 % BITS)) != 0)
    }

    /// Returns the CPUs that are in both masks.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.combined(other, |word, other| word & other)
    }

    /// Returns the CPUs that are in this mask and not in the other.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        self.combined(other, |word, other| word & !other)
    }

    /// Returns the CPUs that are in either mask.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.combined(other, |word, other| word | other)
    }

    /// Returns whether some CPU is in both masks.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        self.any(other, |word, other| word & other)
    }

    /// Returns the CPU with the lowest number; None if the mask is empty.
    #[must_use]
    pub fn lowest(&self) -> Option<CpuId> {
        self.members().next()
    }

    /// Returns the number of CPUs in the mask.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Iterates over the CPUs in rising order, in time proportional to their number and the number of words.
    #[expect(clippy::arithmetic_side_effects, reason = "no word is 0 in there, and numbers are below the capacity")]
    pub fn members(&self) -> impl Iterator<Item = CpuId> + use<WORDS> {
        self.0.into_iter().zip(0u32..).flat_map(|(word, index)| {
            let first = (word != 0).then_some(word);
            let words = core::iter::successors(first, |word| Some(word & (word - 1)).filter(|rest| *rest != 0));
            words.map(move |word| CpuId(index * BITS + word.trailing_zeros()))
        })
    }

    /// Returns one word of the mask, the lowest CPU in the lowest bit; 0 past the last word.
    #[must_use]
    pub fn word(&self, index: usize) -> u64 {
        self.0.get(index).copied().unwrap_or(0)
    }

    /// Makes a mask of its words, CPUs 0 to 63 in the first.
    #[must_use]
    pub const fn of_words(words: [u64; WORDS]) -> Self {
        Self(words)
    }

    /// Returns whether the mask is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// Iterates over the CPUs in rising order, in time proportional to the capacity of the mask.
    pub fn iter(&self) -> impl Iterator<Item = CpuId> + '_ {
        (0..Self::CAPACITY).map(CpuId).filter(|cpu| self.contains(*cpu))
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
