//! The interval timer (8254) of an HVM guest: that of PVH guests, and the interrupt of its channel 0.
//!
//! Counts are binary; the decimal mode is taken as binary, as Xen takes it. **Source:** Intel 8254 data sheet.

use xen_abi::hvm_save::HvmHwPit;
use xenolith_hal::Time;

use super::ticks::{MissedTicks, Ticks};
use crate::ports::Pit;

/// Ports 0x40 to 0x43 and 0x61.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct IntervalTimer {
    pit: Pit,
    /// How many interrupts since the count was written have been handled.
    handled: u64,
    ticks: Ticks,
}

impl IntervalTimer {
    pub(super) const fn has(port: u16) -> bool {
        Pit::has(port)
    }

    pub(super) fn read(&mut self, port: u16, now: Time) -> u8 {
        self.pit.read(port, now)
    }

    /// Writes a byte, after [`IntervalTimer::advance`]. When channel 0 is programmed anew, the ticks that the guest missed
    /// before are forgotten.
    pub(super) fn write(&mut self, port: u16, value: u8, now: Time) {
        let before = self.deadline();
        self.pit.write(port, value, now);
        self.handled = self.pit.interrupts(now);
        if self.deadline() != before {
            self.ticks = Ticks::default();
        }
    }

    /// Handles the interrupts that are due; returns whether the line is to be pulsed.
    #[must_use]
    pub(super) fn advance(&mut self, now: Time, missed: MissedTicks) -> bool {
        let interrupts = self.pit.interrupts(now);
        let count = interrupts.saturating_sub(core::mem::replace(&mut self.handled, interrupts));
        self.ticks.pass(count, missed)
    }

    /// Leaves the interrupts out that are due, and what was due before: the line is not connected.
    pub(super) fn skip(&mut self, now: Time) {
        (self.handled, self.ticks) = (self.pit.interrupts(now), Ticks::default());
    }

    /// Notes that the guest took the interrupt; returns whether the line is to be pulsed again.
    #[must_use]
    pub(super) fn take(&mut self) -> bool {
        self.ticks.take()
    }

    pub(super) const fn waits(&self) -> bool {
        self.ticks.waits()
    }

    /// Returns when the next interrupt is due, after [`IntervalTimer::advance`].
    pub(super) fn deadline(&self) -> Time {
        self.pit.next_interrupt(self.handled)
    }

    pub(super) fn save(&self) -> HvmHwPit {
        self.pit.save()
    }

    /// Builds the timer from its record, which is not trusted. Ticks that the guest missed before are forgotten.
    pub(super) fn load(record: &HvmHwPit, now: Time) -> Self {
        Self { pit: Pit::load(record, now), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at_18_hz() -> IntervalTimer {
        let mut timer = IntervalTimer::default();
        for (port, value) in [(0x43, 0x36), (0x40, 0), (0x40, 0)] {
            timer.write(port, value, Time(0));
        }
        timer
    }

    #[test]
    fn an_hour_of_ticks_is_delivered_one_by_one_to_a_guest_that_was_away() {
        let mut timer = at_18_hz();
        assert!(timer.advance(Time(3600 * SECOND), MissedTicks::NoDelay));
        let late = core::iter::from_fn(|| timer.take().then_some(())).count();
        assert_eq!(late + 1, 65_543, "what the BIOS calls an hour, less what 1193182 Hz lack");
        assert!(!timer.waits());
        assert!(timer.deadline() > Time(3600 * SECOND));
    }

    #[test]
    fn a_deadline_is_handled_once_and_the_next_lies_ahead() {
        let mut timer = at_18_hz();
        for _ in 0..100 {
            let deadline = timer.deadline();
            assert!(!timer.advance(Time(deadline.0 - 1), MissedTicks::OneLate));
            assert!(timer.advance(deadline, MissedTicks::OneLate));
            assert!(!timer.advance(deadline, MissedTicks::OneLate));
            assert!(timer.deadline() > deadline && !timer.take());
        }
    }

    #[test]
    fn a_new_count_starts_the_interrupts_anew_and_reading_does_not() {
        let mut timer = at_18_hz();
        assert!(timer.advance(timer.deadline(), MissedTicks::NoDelay));
        let now = Time(SECOND / 10);
        let deadline = timer.deadline();
        timer.write(0x43, 0, now);
        timer.read(0x40, now);
        timer.write(0x61, 3, now);
        assert_eq!(timer.deadline(), deadline);
        timer.write(0x43, 0x38, now);
        assert_eq!(timer.deadline(), Time::NEVER);
        timer.write(0x40, 0x10, now);
        timer.write(0x40, 0, now);
        assert!(timer.deadline().since_ns(now) < 15_000);
    }

    #[test]
    fn ticks_that_were_missed_are_forgotten_with_their_count() {
        let mut timer = at_18_hz();
        assert!(timer.advance(Time(SECOND), MissedTicks::NoDelay));
        timer.write(0x43, 0, Time(SECOND));
        assert!(timer.take(), "a latch command programs nothing");
        timer.write(0x43, 0x30, Time(SECOND));
        assert!(!timer.take() && !timer.waits());
    }

    #[test]
    fn interrupts_of_a_line_that_is_not_connected_are_gone() {
        let mut timer = at_18_hz();
        assert!(timer.advance(Time(SECOND / 2), MissedTicks::NoDelay));
        timer.skip(Time(SECOND));
        assert!(!timer.take() && !timer.advance(Time(SECOND), MissedTicks::NoDelay) && !timer.waits());
    }
}
