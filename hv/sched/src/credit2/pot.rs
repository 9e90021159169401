//! The budget that the units of a capped domain share in each period.

use core::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use xenolith_hal::Time;

/// Smallest portion that a unit draws at a time, in nanoseconds, unless less is left.
const LEAST_DRAW_NS: i64 = 100_000;

/// The budget of a capped domain. Its units draw portions of it on whatever CPUs they run. Unused budget is lost at the
/// end of the period; an overrun is subtracted from the next one.
#[derive(Debug)]
pub struct Pot {
    /// Cap in percent of one CPU; 0 for no cap.
    cap_percent: u32,
    units: u32,
    period_ns: u64,
    left_ns: AtomicI64,
    /// Time of the next replenishment, in nanoseconds.
    next: AtomicU64,
}

impl Pot {
    /// Makes the budget of a domain of `units` units. `cap_percent` is in percent of one CPU (250 is two and a half
    /// CPUs), `period_ns` in nanoseconds.
    #[must_use]
    pub fn new(cap_percent: u32, units: u32, period_ns: u64) -> Self {
        let (left_ns, next) = (AtomicI64::new(0), AtomicU64::new(0));
        Self { cap_percent, units: units.max(1), period_ns: period_ns.max(1), left_ns, next }
    }

    /// Returns the cap in percent of one CPU; 0 for no cap.
    #[must_use]
    pub const fn cap_percent(&self) -> u32 {
        self.cap_percent
    }

    #[expect(clippy::arithmetic_side_effects, reason = "64 bits by 32 bits in 128")]
    fn quota(&self) -> i64 {
        let quota = u128::from(self.period_ns) * u128::from(self.cap_percent()) / 100;
        i64::try_from(quota).unwrap_or(i64::MAX)
    }

    /// Replenishes the budget if a period has ended.
    #[expect(clippy::arithmetic_side_effects, reason = "a period is no 0, and the time of the next one has come")]
    fn refill(&self, now: Time) {
        let next = self.next.load(Ordering::Acquire);
        if now.0 < next {
            return;
        }
        // The first fill starts the periods.
        let (start, periods) =
            if next == 0 { (now.0, 1) } else { (next, ((now.0 - next) / self.period_ns).saturating_add(1)) };
        let then = start.saturating_add(periods.saturating_mul(self.period_ns));
        // Of the CPUs that see the replenishment due, one does it; the others find it done.
        if self.next.compare_exchange(next, then, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            let (quota, times) = (self.quota(), i64::try_from(periods).unwrap_or(i64::MAX));
            let fill = |left: i64| Some(left.saturating_add(quota.saturating_mul(times)).min(quota));
            let _ = self.left_ns.fetch_update(Ordering::AcqRel, Ordering::Acquire, fill);
        }
    }

    /// Draws a portion for one unit and returns its length in nanoseconds. `owed` is the unit's overrun in nanoseconds;
    /// it is paid first.
    ///
    /// **Errors:** the budget is used up; the time of the next replenishment.
    #[expect(clippy::arithmetic_side_effects, reason = "a quota is divided by 1 unit at least")]
    pub fn draw(&self, owed: i64, now: Time) -> Result<i64, Time> {
        self.refill(now);
        let portion = (self.quota() / i64::from(self.units)).max(LEAST_DRAW_NS);
        let mut drawn = 0;
        let take = |left: i64| {
            let rest = left.saturating_sub(owed);
            drawn = portion.min(rest).max(0);
            Some(rest.saturating_sub(drawn))
        };
        let _ = self.left_ns.fetch_update(Ordering::AcqRel, Ordering::Acquire, take);
        if drawn > 0 { Ok(drawn) } else { Err(Time(self.next.load(Ordering::Acquire))) }
    }

    /// Returns `ns` nanoseconds that a unit did not use; a negative value is its overrun.
    pub fn give_back(&self, ns: i64) {
        self.left_ns.fetch_add(ns, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: u64 = 10_000_000;

    #[test]
    fn a_pot_holds_its_part_of_each_period_and_saves_nothing_up() {
        let pot = Pot::new(50, 1, PERIOD);
        assert_eq!(pot.draw(0, Time(5)), Ok(5_000_000));
        assert_eq!(pot.draw(0, Time(6)), Err(Time(5 + PERIOD)));
        assert_eq!(pot.draw(0, Time(5 + 7 * PERIOD)), Ok(5_000_000));
        assert_eq!(pot.draw(0, Time(5 + 7 * PERIOD)), Err(Time(5 + 8 * PERIOD)));
    }

    #[test]
    fn what_was_used_too_much_is_missing_later() {
        let pot = Pot::new(50, 1, PERIOD);
        assert_eq!(pot.draw(0, Time(0)), Ok(5_000_000));
        assert_eq!(pot.draw(6_000_000, Time(PERIOD)), Err(Time(2 * PERIOD)));
        assert_eq!(pot.draw(0, Time(2 * PERIOD)), Ok(4_000_000));
    }

    #[test]
    fn units_share_a_pot_in_portions() {
        let pot = Pot::new(100, 4, PERIOD);
        for _ in 0..4 {
            assert_eq!(pot.draw(0, Time(0)), Ok(2_500_000));
        }
        assert!(pot.draw(0, Time(0)).is_err());
        pot.give_back(1_000_000);
        assert_eq!(pot.draw(0, Time(1)), Ok(1_000_000));
    }
}
