//! A set of the 256 interrupt vectors: IRR, ISR and TMR.

/// Vectors as bits, in eight registers of 32 as the guest reads them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VectorSet {
    words: [u32; 8],
    /// A bit for each register that is not 0, since every entry of a guest asks for the highest vector.
    used: u8,
}

impl VectorSet {
    /// Builds a set from its eight registers, vectors 0-31 first.
    #[must_use]
    pub fn from_words(words: [u32; 8]) -> Self {
        let used = words.iter().rev().fold(0, |used, word| (used << 1) | u8::from(*word != 0));
        Self { words, used }
    }

    /// Returns the eight registers, vectors 0-31 first.
    #[must_use]
    pub const fn words(&self) -> &[u32; 8] {
        &self.words
    }

    /// Returns register `index`, 0 past the last.
    #[must_use]
    pub fn word(&self, index: usize) -> u32 {
        self.words.get(index).copied().unwrap_or(0)
    }

    /// Adds or removes a vector; returns true if that changed anything.
    pub fn set(&mut self, vector: u8, present: bool) -> bool {
        let bit = 1 << (vector & 31);
        let index = vector >> 5;
        let Some(word) = self.words.get_mut(usize::from(index)) else { return false };
        let before = *word;
        let after = if present { before | bit } else { before & !bit };
        *word = after;
        self.used = (self.used & !(1 << index)) | (u8::from(after != 0) << index);
        after != before
    }

    /// Returns whether the vector is in the set.
    #[must_use]
    pub fn contains(&self, vector: u8) -> bool {
        self.word(usize::from(vector >> 5)) & (1 << (vector & 31)) != 0
    }

    /// Returns the highest vector of the set.
    #[must_use]
    pub fn highest(&self) -> Option<u8> {
        let index = self.used.checked_ilog2()?;
        let within = self.words.get(index as usize)?.checked_ilog2()?;
        u8::try_from(index << 5 | within).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_vector_comes_first() {
        let mut set = VectorSet::default();
        assert_eq!(set.highest(), None);
        for vector in [16, 31, 32, 200, 255] {
            assert!(set.set(vector, true));
            assert!(!set.set(vector, true));
            assert_eq!(set.highest(), Some(vector));
        }
        assert!(set.set(255, false));
        assert_eq!(set.highest(), Some(200));
        assert!(set.contains(31) && !set.contains(30));
        assert_eq!(set.word(1), 1);
        assert_eq!(set.word(8), 0);
        assert_eq!(VectorSet::from_words(*set.words()), set);
        for vector in [16, 31, 32, 200] {
            assert!(set.set(vector, false));
        }
        assert_eq!(set, VectorSet::default());
    }
}
