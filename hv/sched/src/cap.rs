//! Caps: the budget that an entity may run in each period.

use xenolith_hal::Time;

use crate::CAP_PERIOD_NS;

/// The budget of a capped entity in the current period. Below 0 after an overrun, which the next replenishment pays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Budget {
    left_ns: i64,
    /// Time of the next replenishment; None before the first.
    next: Option<Time>,
}

impl Budget {
    pub(crate) const fn new() -> Self {
        Self { left_ns: 0, next: None }
    }

    /// Replenishes the budget by `quota_ns` for each period that has passed. It never exceeds one quota: unused budget
    /// is lost.
    pub(crate) fn refresh(&mut self, quota_ns: u64, now: Time) {
        let quota = i64::try_from(quota_ns).unwrap_or(i64::MAX);
        match self.next {
            None => (self.left_ns, self.next) = (quota, Some(now.after_ns(CAP_PERIOD_NS))),
            Some(next) if now >= next => {
                let periods = (now.since_ns(next) / CAP_PERIOD_NS).saturating_add(1);
                let shares = i64::try_from(periods).unwrap_or(i64::MAX).saturating_mul(quota);
                self.left_ns = self.left_ns.saturating_add(shares).min(quota);
                self.next = Some(next.after_ns(periods.saturating_mul(CAP_PERIOD_NS)));
            }
            Some(_) => {}
        }
    }

    pub(crate) fn spend(&mut self, ns: u64) {
        self.left_ns = self.left_ns.saturating_sub(i64::try_from(ns).unwrap_or(i64::MAX));
    }

    pub(crate) const fn is_spent(&self) -> bool {
        self.left_ns <= 0
    }

    /// Returns when the budget is used up if the entity runs from `now` on.
    pub(crate) fn runs_out(&self, now: Time) -> Time {
        now.after_ns(u64::try_from(self.left_ns).unwrap_or(0))
    }

    /// Returns the time of the next replenishment; 0 before the first.
    pub(crate) fn next(&self) -> Time {
        self.next.unwrap_or(Time(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: u64 = 3_000_000;

    #[test]
    fn a_share_is_given_out_each_period_and_not_saved_up() {
        let mut budget = Budget::new();
        budget.refresh(QUOTA, Time(0));
        assert_eq!(budget.runs_out(Time(0)), Time(QUOTA));
        budget.spend(QUOTA);
        assert!(budget.is_spent());
        budget.refresh(QUOTA, Time(CAP_PERIOD_NS - 1));
        assert!(budget.is_spent());
        budget.refresh(QUOTA, Time(CAP_PERIOD_NS * 5));
        assert_eq!(budget.runs_out(Time(0)), Time(QUOTA));
        assert_eq!(budget.next(), Time(CAP_PERIOD_NS * 6));
    }

    #[test]
    fn what_was_overrun_is_paid_back() {
        let mut budget = Budget::new();
        budget.refresh(QUOTA, Time(0));
        budget.spend(QUOTA * 2 + 1);
        budget.refresh(QUOTA, Time(CAP_PERIOD_NS));
        assert!(budget.is_spent());
        budget.refresh(QUOTA, Time(CAP_PERIOD_NS * 2));
        assert!(!budget.is_spent());
    }
}
