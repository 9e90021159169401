//! A hierarchical bitmap: finds the highest number below a bound in a few steps.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

const BITS: usize = u64::BITS as usize;

/// Bits in levels: a bit of level `n + 1` says that a word of level `n` is not zero.
#[derive(Debug, Default)]
pub struct LevelBitmap {
    levels: Vec<Vec<u64>>,
}

impl LevelBitmap {
    /// Creates an empty set of numbers below `limit`.
    ///
    /// **Errors:** no memory.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn new(limit: usize) -> Result<Self, TryReserveError> {
        let mut levels = Vec::new();
        let mut count = limit;
        loop {
            let words = count.div_ceil(BITS).max(1);
            let mut level = Vec::new();
            level.try_reserve_exact(words)?;
            level.resize(words, 0);
            levels.try_reserve(1)?;
            levels.push(level);
            if words == 1 {
                return Ok(Self { levels });
            }
            count = words;
        }
    }

    /// Returns true if the number is in the set.
    pub fn contains(&self, index: usize) -> bool {
        self.word(0, index / BITS) & (1 << (index % BITS)) != 0
    }

    /// Adds a number. A number past the limit is ignored.
    pub fn insert(&mut self, index: usize) {
        let mut index = index;
        for level in &mut self.levels {
            let Some(word) = level.get_mut(index / BITS) else { return };
            let was = *word;
            *word |= 1 << (index % BITS);
            if was != 0 {
                return;
            }
            index /= BITS;
        }
    }

    /// Removes a number; returns whether it was in the set.
    #[inline]
    pub fn remove(&mut self, index: usize) -> bool {
        let mut index = index;
        let mut was_there = false;
        for level in &mut self.levels {
            let Some(word) = level.get_mut(index / BITS) else { break };
            let bit = 1 << (index % BITS);
            // Above the lowest level the bit is set: the word below was not zero.
            if *word & bit == 0 {
                break;
            }
            was_there = true;
            *word &= !bit;
            if *word != 0 {
                break;
            }
            index /= BITS;
        }
        was_there
    }

    /// Returns the highest number in the set that is below `end`.
    #[expect(clippy::arithmetic_side_effects, reason = "the number of a bit of words that are there")]
    pub fn highest_below(&self, end: usize) -> Option<usize> {
        let mut end = end.min(self.levels.first()?.len().saturating_mul(BITS));
        for depth in 0..self.levels.len() {
            let (word, bit) = (end / BITS, end % BITS);
            let below = self.word(depth, word) & !(u64::MAX << bit);
            if let Some(bit) = below.checked_ilog2() {
                return Some(self.descend(depth, word * BITS + bit as usize));
            }
            end = word;
        }
        // Only where every bit of the topmost word is below the bound.
        let top = self.levels.len().checked_sub(1)?;
        let bit = self.word(top, 0).checked_ilog2().filter(|_| end > 0)?;
        Some(self.descend(top, bit as usize))
    }

    /// Descends from a bit that is set at `depth` to the highest number under it.
    #[expect(clippy::arithmetic_side_effects, reason = "the number of a bit of words that are there")]
    fn descend(&self, depth: usize, index: usize) -> usize {
        (0..depth).rev().fold(index, |index, depth| {
            let highest = self.word(depth, index).checked_ilog2().unwrap_or(0);
            index * BITS + highest as usize
        })
    }

    fn word(&self, depth: usize, word: usize) -> u64 {
        self.levels.get(depth).and_then(|level| level.get(word)).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    #[test]
    fn a_number_past_the_limit_is_ignored() {
        let mut set = LevelBitmap::new(64).unwrap();
        set.insert(64);
        assert!(!set.contains(64));
        assert_eq!(set.highest_below(usize::MAX), None);
    }

    proptest! {
        #[test]
        fn it_finds_what_an_ordered_set_finds(
            limit in prop::sample::select(&[64, 4096, 262_144, 300_000][..]),
            steps in prop::collection::vec((any::<bool>(), 0usize..300_000), 1..200),
            bounds in prop::collection::vec(0usize..300_001, 1..20),
        ) {
            let mut set = LevelBitmap::new(limit).unwrap();
            let mut model = BTreeSet::new();
            for (put, number) in steps {
                let number = number % limit;
                if put {
                    set.insert(number);
                    model.insert(number);
                } else {
                    prop_assert_eq!(set.remove(number), model.remove(&number));
                }
            }
            for bound in bounds.into_iter().chain([limit, usize::MAX]) {
                prop_assert_eq!(set.highest_below(bound), model.range(..bound).next_back().copied());
            }
        }
    }
}
