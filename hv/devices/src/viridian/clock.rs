//! Reference time: a count of 100 ns, which a guest computes from its time stamp counter by a scale and an offset.

/// The nanoseconds of one count.
pub const COUNT_NS: u64 = 100;
/// Counts of a millisecond.
const PER_MILLISECOND: u128 = 10_000;

/// How many counts a tick of the time stamp counter is, times 2^64.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TscScale(pub u64);

impl TscScale {
    /// Returns the scale of a counter of `khz`.
    pub fn of(khz: u32) -> Self {
        // A counter below 10 MHz has no scale that fits.
        Self((PER_MILLISECOND << 64).checked_div(u128::from(khz)).map_or(u64::MAX, saturated))
    }

    /// Returns the counts that these ticks are.
    pub fn counts(self, ticks: u64) -> u64 {
        // Below 2^128, of which the upper half is taken.
        (u128::from(ticks).wrapping_mul(u128::from(self.0)) >> 64) as u64
    }
}

fn saturated(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
