//! LZMA's bits: each is told by where a number lies in a range that is split by how likely a zero is.
//!
//! **Source:** the LZMA specification (Igor Pavlov, 2015), "Range Decoder".

use core::hint::select_unpredictable;

/// How likely a zero is, in parts of 2048. It follows what is seen.
pub type Chance = u16;

/// Zero and one are as likely.
pub const EVEN: Chance = 1 << (CHANCE_BITS - 1);

const CHANCE_BITS: u32 = 11;
/// By which part of what is missing a chance moves, as a shift.
const PACE: u32 = 5;
/// Below this the range takes another byte in.
const LEAST: u32 = 1 << 24;

/// The entry of a table; its length is a power of two, so each number leads to one.
#[inline(always)]
pub fn entry<T, const N: usize>(table: &mut [T; N], number: u32) -> &mut T {
    const { assert!(N.is_power_of_two()) };
    &mut table[number as usize & (N - 1)]
}

/// Reads bits from one chunk.
pub struct RangeDecoder<'a> {
    range: u32,
    code: u32,
    input: core::slice::Iter<'a, u8>,
}

impl<'a> RangeDecoder<'a> {
    /// None when the chunk does not begin as all do.
    pub fn new(input: &'a [u8]) -> Option<Self> {
        let (&[first, a, b, c, d], rest) = input.split_first_chunk()?;
        (first == 0).then(|| Self { range: u32::MAX, code: u32::from_be_bytes([a, b, c, d]), input: rest.iter() })
    }

    /// Whether the chunk ends here, as a whole one does after its last symbol.
    pub fn ends_here(mut self) -> bool {
        self.fill();
        self.code == 0 && self.input.as_slice().is_empty()
    }

    /// A chunk that is too short goes on with zeros.
    #[inline(always)]
    fn fill(&mut self) {
        if self.range < LEAST {
            let next = self.input.next().copied().unwrap_or(0);
            self.code = self.code << 8 | u32::from(next);
            self.range <<= 8;
        }
    }

    /// A bit on which the way depends.
    #[inline(always)]
    pub fn flag(&mut self, chance: &mut Chance) -> bool {
        self.fill();
        let old = u32::from(*chance);
        let split = (self.range >> CHANCE_BITS).wrapping_mul(old);
        if self.code < split {
            self.range = split;
            *chance = (old + (((1 << CHANCE_BITS) - old) >> PACE)) as Chance;
            false
        } else {
            self.range = self.range.wrapping_sub(split);
            self.code = self.code.wrapping_sub(split);
            *chance = (old - (old >> PACE)) as Chance;
            true
        }
    }

    /// A bit of a number: without a jump, since nobody can foretell it.
    #[inline(always)]
    fn bit(&mut self, chance: &mut Chance) -> u32 {
        // Moves the chance towards 2048 as `flag` does, rounded as there.
        const TO_ZERO: i32 = (1 << CHANCE_BITS) - (1 << PACE) + 1;
        self.fill();
        let old = u32::from(*chance);
        let split = (self.range >> CHANCE_BITS).wrapping_mul(old);
        let is_zero = self.code < split;
        self.range = select_unpredictable(is_zero, split, self.range.wrapping_sub(split));
        self.code = select_unpredictable(is_zero, self.code, self.code.wrapping_sub(split));
        let goal = select_unpredictable(is_zero, TO_ZERO, 0);
        let step = (old as i32).wrapping_sub(goal) >> PACE;
        *chance = (old as i32).wrapping_sub(step) as Chance;
        u32::from(!is_zero)
    }

    /// A number of `BITS` bits, the highest first, by a table of as many chances as it has values.
    #[inline(always)]
    pub fn number<const BITS: u32, const N: usize>(&mut self, chances: &mut [Chance; N]) -> u32 {
        let mut found = 1;
        for _ in 0..BITS {
            found = found << 1 | self.bit(entry(chances, found));
        }
        found.wrapping_sub(1 << BITS)
    }

    /// A number of `bits` bits, the lowest first, by chances from `start` on.
    #[inline(always)]
    pub fn reversed<const N: usize>(&mut self, chances: &mut [Chance; N], start: u32, bits: u32) -> u32 {
        let (mut path, mut found) = (1_u32, 0);
        for place in 0..bits {
            let bit = self.bit(entry(chances, start.wrapping_add(path)));
            path = path << 1 | bit;
            found |= bit << place;
        }
        found
    }

    /// A number of `bits` bits, the highest first, zeros as likely as ones.
    #[inline(always)]
    pub fn even(&mut self, bits: u32) -> u32 {
        let mut found = 0_u32;
        for _ in 0..bits {
            self.fill();
            self.range >>= 1;
            let is_zero = self.code < self.range;
            self.code = select_unpredictable(is_zero, self.code, self.code.wrapping_sub(self.range));
            found = found << 1 | u32::from(!is_zero);
        }
        found
    }

    /// A byte by itself.
    #[inline(always)]
    pub fn byte(&mut self, chances: &mut [Chance; 1024]) -> u8 {
        let mut found = 1;
        while found < 0x100 {
            found = found << 1 | self.bit(entry(chances, found));
        }
        found as u8
    }

    /// A byte of which it is known that another one, `other`, does not stand there: chances of their own for as long as
    /// the two are alike.
    #[inline(always)]
    pub fn byte_unlike(&mut self, chances: &mut [Chance; 1024], other: u8) -> u8 {
        let (mut found, mut alike, mut other) = (1_u32, 0x100_u32, u32::from(other));
        while found < 0x100 {
            other <<= 1;
            let its_bit = other & alike;
            let bit = self.bit(entry(chances, alike.wrapping_add(its_bit).wrapping_add(found)));
            found = found << 1 | bit;
            // Stays as it is where the bits are the same.
            alike &= its_bit ^ bit.wrapping_sub(1);
        }
        found as u8
    }
}
