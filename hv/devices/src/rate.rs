//! Clocks whose period is no whole number of nanoseconds.

use xenolith_hal::Time;

const NS_PER_SECOND: u128 = 1_000_000_000;

/// The rate of a clock in Hz, below 2^30.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate(pub(crate) u32);

impl Rate {
    /// Returns the whole ticks in a number of nanoseconds.
    #[expect(clippy::arithmetic_side_effects, reason = "64 bits times 32 in 128")]
    pub(crate) fn ticks(self, ns: u64) -> u64 {
        // Fewer ticks than nanoseconds: it fits.
        (u128::from(ns) * u128::from(self.0) / NS_PER_SECOND) as u64
    }

    /// Returns the nanoseconds after which this many ticks have passed, at most `u64::MAX`.
    pub(crate) fn ns(self, ticks: u64) -> u64 {
        let ns = (u128::from(ticks) * NS_PER_SECOND).div_ceil(u128::from(self.0.max(1)));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// Returns when this many ticks have passed since a moment; [`Time::NEVER`] past the end of the number space.
    pub(crate) fn after(self, since: Time, ticks: u64) -> Time {
        since.after_ns(self.ns(ticks))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_tick_has_passed_at_its_moment_and_not_before(
            ticks in 1u64..1 << 50,
            hz in prop_oneof![Just(32_768u32), Just(1_193_182), Just(3_579_545)],
        ) {
            let rate = Rate(hz);
            let at = rate.ns(ticks);
            prop_assert!(at == u64::MAX || rate.ticks(at) == ticks);
            prop_assert!(rate.ticks(at - 1) < ticks || at == u64::MAX);
        }
    }
}
