//! The time of an access.

use xenolith_hal::{Time, WallClock};

/// The same moment by both clocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Moment {
    /// System time, by which timers run.
    pub time: Time,
    /// UTC, by which the real-time clock goes.
    pub wall: WallClock,
}

impl Moment {
    const NS_PER_SECOND: u64 = 1_000_000_000;

    /// Returns the nanoseconds that are left of this second of UTC, at least 1.
    pub(super) fn rest_of_second(self) -> u64 {
        Self::NS_PER_SECOND.saturating_sub(u64::from(self.wall.nanoseconds)).max(1)
    }

    /// Returns when the second begins that is `seconds` after the current one, which counts as 0: later than this moment.
    pub(super) fn second_after(self, seconds: u64) -> Time {
        let whole = seconds.saturating_sub(1).saturating_mul(Self::NS_PER_SECOND);
        self.time.after_ns(self.rest_of_second().saturating_add(whole))
    }
}
