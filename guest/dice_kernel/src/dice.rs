//! Random numbers that come again with the same seed.

/// A generator of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Dice(u64);

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Dice {
    /// Creates the generator of one case.
    #[must_use]
    pub fn new(seed: u64, case: u64) -> Self {
        let mut dice = Self(seed);
        let start = dice.next();
        Self(start ^ case.wrapping_mul(STEP).rotate_left(17))
    }

    /// Returns 64 random bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Returns a number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((self.next() >> 32) * bound) >> 32
    }

    /// Returns true once in `times` throws.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Returns one of `choices`, of which there is at least one.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }

    /// Returns a value for a register: often one at which arithmetic turns over.
    pub fn value(&mut self) -> u64 {
        let bits = self.next();
        match bits & 7 {
            0 => bits >> 3 & 0xf,
            1 => (bits as i8 as i64).cast_unsigned(),
            2 => (1 << (bits >> 3 & 0x3f)) - (bits >> 9 & 1),
            3 => bits >> 32,
            _ => self.next(),
        }
    }
}
