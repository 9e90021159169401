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

    /// Returns the moment of this system time, where `at_zero` is what UTC was at system time 0.
    #[must_use]
    pub fn new(time: Time, at_zero: WallClock) -> Self {
        let parts = |ns: u64| {
            let seconds = ns.checked_div(Self::NS_PER_SECOND).unwrap_or_default();
            (seconds, ns.checked_rem(Self::NS_PER_SECOND).unwrap_or_default())
        };
        let (passed, rest) = parts(time.0);
        let (carried, nanoseconds) = parts(rest.saturating_add(at_zero.nanoseconds.into()));
        let seconds = at_zero.seconds.saturating_add(passed).saturating_add(carried);
        let nanoseconds = nanoseconds as u32;
        Self { time, wall: WallClock { seconds, nanoseconds } }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_goes_by_system_time() {
        let at_zero = WallClock { seconds: 1_700_000_000, nanoseconds: 900_000_000 };
        let moment = Moment::new(Time(3_200_000_001), at_zero);
        assert_eq!(moment.time, Time(3_200_000_001));
        assert_eq!(moment.wall, WallClock { seconds: 1_700_000_004, nanoseconds: 100_000_001 });
        let _no_overflow = Moment::new(Time::NEVER, WallClock { seconds: u64::MAX, nanoseconds: u32::MAX });
    }
}
