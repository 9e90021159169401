//! The parameters and the accounting of a unit: period, budget and deadline of its server.

use xenolith_hal::Time;

use crate::policy::Order;

/// Scheduling parameters of a unit, set by the toolstack. The defaults are those of Xen: 10 ms, 4 ms, with extra time.
///
/// **Source:** xl(1), `sched-rtds`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parameters {
    /// Period of the replenishment, in nanoseconds; at least [`LEAST_NS`].
    pub period_ns: u64,
    /// Budget of one period, in nanoseconds; at least [`LEAST_NS`], at most the period.
    pub budget_ns: u64,
    /// Extra time: whether the unit may run on without budget while no unit with budget wants the CPU
    /// (`XEN_DOMCTL_SCHEDRT_extra` in `domctl.h`).
    pub extratime: bool,
}

/// Shortest period and budget, in nanoseconds.
///
/// **Source:** this policy's choice, far above the cost of a decision; Xen's manuals give no bound.
pub const LEAST_NS: u64 = 10_000;

impl Default for Parameters {
    fn default() -> Self {
        Self { period_ns: 10_000_000, budget_ns: 4_000_000, extratime: true }
    }
}

impl Parameters {
    /// Returns the parameters, cut to their bounds.
    fn bounded(self) -> Self {
        let period_ns = self.period_ns.max(LEAST_NS);
        Self { period_ns, budget_ns: self.budget_ns.clamp(LEAST_NS, period_ns), ..self }
    }
}

/// The accounting state of a unit.
#[derive(Debug)]
pub struct Account {
    pub(super) parameters: Parameters,
    /// End of the current period.
    pub(super) deadline: Time,
    /// What is left of the budget. Below 0 after an overrun.
    left_ns: i64,
    /// Number of budgets that it has used up in this period: the priority level of its extra time.
    level: u64,
    /// Whether it is in the heap of running units that can be preempted; not while its CPU was asked to reschedule.
    pub(super) preemptible: bool,
}

impl Account {
    /// Makes the account of a unit that never ran.
    pub(super) fn new(parameters: Parameters) -> Self {
        Self { parameters: parameters.bounded(), deadline: Time(0), left_ns: 0, level: 0, preemptible: false }
    }

    /// Changes the parameters from the next period on.
    pub(super) fn set(&mut self, parameters: Parameters) {
        self.parameters = parameters.bounded();
    }

    /// Returns the sort key: units within their budget first, then the earlier deadline.
    pub(super) const fn order(&self) -> Order {
        (self.level, self.deadline.0)
    }

    fn renew(&mut self, overrun: bool) {
        let budget = i64::try_from(self.parameters.budget_ns).unwrap_or(i64::MAX);
        let owed = if overrun { self.left_ns.min(0) } else { 0 };
        self.left_ns = budget.saturating_add(owed);
        self.level = 0;
    }

    /// Wakes up: after the end of its period it starts a new one at `now`, so that a job that comes once a period has a
    /// whole period before it.
    pub(super) fn wake(&mut self, now: Time) {
        if now >= self.deadline {
            self.deadline = now.after_ns(self.parameters.period_ns);
            self.renew(false);
        }
    }

    /// Starts the next period, because the current one ends while the unit is runnable.
    #[expect(clippy::arithmetic_side_effects, reason = "a period is bounded from below")]
    pub(super) fn next_period(&mut self, now: Time) {
        let over = now.since_ns(self.deadline) / self.parameters.period_ns;
        self.deadline = self.deadline.after_ns(over.saturating_add(1).saturating_mul(self.parameters.period_ns));
        self.renew(true);
    }

    /// Charges `ns` nanoseconds of CPU time.
    pub(super) fn charge(&mut self, ns: u64) {
        self.left_ns = self.left_ns.saturating_sub(i64::try_from(ns).unwrap_or(i64::MAX));
    }

    /// Returns whether it has budget. With extra time it always has, at a lower priority.
    pub(super) fn may_run(&mut self) -> bool {
        if self.left_ns <= 0 && self.parameters.extratime {
            self.level = self.level.saturating_add(1);
            self.left_ns = i64::try_from(self.parameters.budget_ns).unwrap_or(i64::MAX);
        }
        self.left_ns > 0
    }

    /// Returns when the budget is used up if it runs from `now` on.
    pub(super) fn runs_out(&self, now: Time) -> Time {
        now.after_ns(u64::try_from(self.left_ns).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(extratime: bool) -> Account {
        Account::new(Parameters { period_ns: 10_000_000, budget_ns: 2_000_000, extratime })
    }

    #[test]
    fn a_budget_is_kept_while_it_is_not_used_and_renewed_at_the_end_of_the_period() {
        let mut account = of(false);
        account.wake(Time(5));
        assert_eq!(account.deadline, Time(10_000_005));
        account.wake(Time(9_000_000));
        assert_eq!((account.deadline, account.runs_out(Time(0))), (Time(10_000_005), Time(2_000_000)));
        account.charge(2_000_000);
        assert!(!account.may_run());
        account.next_period(Time(10_000_005));
        assert_eq!((account.deadline, account.may_run()), (Time(20_000_005), true));
    }

    #[test]
    fn with_extra_time_one_whose_budget_is_used_up_comes_after_all_that_have_one() {
        let (mut account, mut other) = (of(true), of(false));
        account.wake(Time(0));
        other.wake(Time(9_000_000));
        assert!(account.order() < other.order());
        account.charge(2_000_000);
        assert!(account.may_run() && account.order() > other.order());
    }

    #[test]
    fn periods_that_passed_unseen_are_skipped_and_an_overrun_is_owed() {
        let mut account = of(false);
        account.wake(Time(0));
        account.charge(2_500_000);
        account.next_period(Time(35_000_000));
        assert_eq!((account.deadline, account.runs_out(Time(0))), (Time(40_000_000), Time(1_500_000)));
    }

    #[test]
    fn what_is_set_is_made_possible() {
        let account = Account::new(Parameters { period_ns: 0, budget_ns: u64::MAX, extratime: false });
        assert_eq!(account.parameters, Parameters { period_ns: LEAST_NS, budget_ns: LEAST_NS, extratime: false });
    }
}
