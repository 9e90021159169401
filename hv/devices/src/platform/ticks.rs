//! Ticks of a periodic timer that the guest did not take in time.

use xen_abi::hvm_param::{
    HVMPTM_DELAY_FOR_MISSED_TICKS, HVMPTM_NO_DELAY_FOR_MISSED_TICKS, HVMPTM_NO_MISSED_TICKS_PENDING,
    HVMPTM_ONE_MISSED_TICK_PENDING,
};

/// The shortest period of interrupts in nanoseconds: a guest cannot make a timer interrupt the machine more often. Xen has
/// such a bound too.
pub(super) const SHORTEST_PERIOD_NS: u64 = 100_000;

/// What becomes of missed ticks (HVM_PARAM_TIMER_MODE). **Source:** `hvm/params.h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MissedTicks {
    /// Each is delivered late. The guest's clocks stand still until it has them: that is the caller's part.
    Delay,
    /// Each is delivered late, and the guest's clocks go on. What the toolstack sets.
    #[default]
    NoDelay,
    /// None is delivered late: one that comes a period or more late is left out, but not two in a row.
    NoneLate,
    /// All of them become one late tick.
    OneLate,
}

impl MissedTicks {
    /// Decodes the parameter's value; None for one that does not exist.
    #[must_use]
    pub const fn from_param(value: u64) -> Option<Self> {
        match value {
            HVMPTM_DELAY_FOR_MISSED_TICKS => Some(Self::Delay),
            HVMPTM_NO_DELAY_FOR_MISSED_TICKS => Some(Self::NoDelay),
            HVMPTM_NO_MISSED_TICKS_PENDING => Some(Self::NoneLate),
            HVMPTM_ONE_MISSED_TICK_PENDING => Some(Self::OneLate),
            _ => None,
        }
    }
}

/// The ticks of one timer: which of them the guest has yet to take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Ticks {
    /// A tick was given to the line, and the guest has not taken it.
    waits: bool,
    /// More ticks that are due to it.
    owed: u32,
    /// The last tick was left out.
    left_out: bool,
}

impl Ticks {
    /// Notes that ticks came; returns whether the line is to be pulsed.
    ///
    /// It is pulsed for each tick even if the one before still waits: a controller that was masked or reset may have
    /// lost that.
    #[must_use]
    pub(super) fn pass(&mut self, count: u64, missed: MissedTicks) -> bool {
        if count == 0 {
            return false;
        }
        self.left_out = missed == MissedTicks::NoneLate && count > 1 && !self.waits && !self.left_out;
        if self.left_out {
            return false;
        }
        if matches!(missed, MissedTicks::Delay | MissedTicks::NoDelay) {
            let more = if self.waits { count } else { count.saturating_sub(1) };
            self.owed = self.owed.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
        }
        self.waits = true;
        true
    }

    /// Returns whether the guest has yet to take a tick.
    pub(super) const fn waits(&self) -> bool {
        self.waits
    }

    /// Notes that the guest took a tick; returns whether the line is to be pulsed for one that is owed.
    #[must_use]
    pub(super) fn take(&mut self) -> bool {
        self.waits = self.waits && self.owed > 0;
        self.owed = self.owed.saturating_sub(1);
        self.waits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes ticks, and takes all that follow; returns how many those are.
    fn delivered(ticks: &mut Ticks, counts: &[u64], missed: MissedTicks) -> usize {
        let mut pulsed = false;
        for count in counts {
            pulsed |= ticks.pass(*count, missed);
        }
        let mut taken = usize::from(pulsed);
        while ticks.take() {
            taken += 1;
        }
        taken
    }

    #[test]
    fn each_tick_in_time_is_delivered_whatever_becomes_of_missed_ones() {
        for missed in [MissedTicks::Delay, MissedTicks::NoDelay, MissedTicks::NoneLate, MissedTicks::OneLate] {
            let mut ticks = Ticks::default();
            for _ in 0..3 {
                assert_eq!(delivered(&mut ticks, &[1], missed), 1);
            }
            assert_eq!(ticks, Ticks::default());
        }
    }

    #[test]
    fn missed_ticks_come_late_or_as_one_or_not_at_all() {
        for (missed, late, waiting) in [
            (MissedTicks::Delay, 5, 6),
            (MissedTicks::NoDelay, 5, 6),
            (MissedTicks::NoneLate, 0, 1),
            (MissedTicks::OneLate, 1, 1),
        ] {
            assert_eq!(delivered(&mut Ticks::default(), &[5], missed), late, "{missed:?}: the timer came late");
            let mut ticks = Ticks::default();
            assert_eq!(delivered(&mut ticks, &[1, 2, 3], missed), waiting, "{missed:?}: the guest came late");
            assert_eq!(delivered(&mut ticks, &[1], missed), 1);
        }
    }

    #[test]
    fn no_two_ticks_in_a_row_are_left_out() {
        let mut ticks = Ticks::default();
        let pulsed = [2, 3, 2, 2].map(|count| {
            let pulsed = ticks.pass(count, MissedTicks::NoneLate);
            assert!(!ticks.take());
            pulsed
        });
        assert_eq!(pulsed, [false, true, false, true]);
    }

    #[test]
    fn an_interrupt_that_is_no_tick_takes_none() {
        let mut ticks = Ticks::default();
        assert!(!ticks.take());
        assert!(ticks.pass(u64::MAX, MissedTicks::NoDelay));
        assert_eq!(ticks.owed, u32::MAX);
    }

    #[test]
    fn the_parameter_has_four_values() {
        assert_eq!(MissedTicks::from_param(1), Some(MissedTicks::default()));
        assert!((0..10).all(|value| MissedTicks::from_param(value).is_some() == (value < 4)));
    }
}
