//! When the output of channel 0 rises, which is interrupt request 0 of a PC.

use xenolith_hal::Time;

use super::Pit;
use super::channel::{Channel, RATE};
use crate::rate::Rate;

/// The fewest ticks between two interrupts: a shorter period still counts, but interrupts every 100 us.
const FEWEST_TICKS: u64 = 120;

impl Channel {
    /// Returns the ticks between two rising edges, or until the only one.
    fn ticks_to_rise(&self) -> u64 {
        let reload = u64::from(self.reload);
        match self.mode {
            2 | 3 => reload.max(FEWEST_TICKS),
            // A strobe is low for the tick in which the count is 0.
            4 | 5 => reload.saturating_add(1),
            _ => reload,
        }
    }

    /// Returns how often the output rose since the count was written.
    fn rises(&self, now: Time) -> u64 {
        if !self.loaded {
            return 0;
        }
        let rises = self.ticks(now).checked_div(self.ticks_to_rise()).unwrap_or(0);
        if self.is_periodic() { rises } else { rises.min(1) }
    }

    /// Returns when the output rises for the time after `rises`; [`Time::NEVER`] if it does not.
    fn next_rise(&self, rises: u64) -> Time {
        match self.since {
            Some(since) if self.loaded && (rises == 0 || self.is_periodic()) => {
                let ticks = self.ticks_to_rise().saturating_mul(rises.saturating_add(1));
                Rate(RATE as u32).after(since, ticks.saturating_sub(self.counted))
            }
            _ => Time::NEVER,
        }
    }
}

impl Pit {
    /// Returns how often channel 0 interrupted since its count was written.
    pub(crate) fn interrupts(&self, now: Time) -> u64 {
        let [first, ..] = &self.channels;
        first.rises(now)
    }

    /// Returns when channel 0 interrupts next after this many times; [`Time::NEVER`] if it does not.
    pub(crate) fn next_interrupt(&self, interrupts: u64) -> Time {
        let [first, ..] = &self.channels;
        first.next_rise(interrupts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(mode: u8, count: u16) -> Pit {
        let mut pit = Pit::default();
        let [low, high] = count.to_le_bytes();
        for (port, value) in [(0x43, 0x30 | mode << 1), (0x40, low), (0x40, high)] {
            pit.write(port, value, Time(1000));
        }
        pit
    }

    fn at(ticks: u64) -> Time {
        Rate(RATE as u32).after(Time(1000), ticks)
    }

    #[test]
    fn periodic_modes_interrupt_at_each_period() {
        for mode in [2, 3] {
            let pit = running(mode, 1000);
            assert_eq!((pit.next_interrupt(0), pit.next_interrupt(6)), (at(1000), at(7000)));
            assert_eq!((pit.interrupts(at(999)), pit.interrupts(at(1000)), pit.interrupts(at(7999))), (0, 1, 7));
            assert_eq!(running(mode, 0).next_interrupt(0), at(0x1_0000));
        }
    }

    #[test]
    fn one_shots_interrupt_once_at_the_end_or_after_the_strobe() {
        for (mode, ticks) in [(0, 500), (1, 500), (4, 501), (5, 501)] {
            let pit = running(mode, 500);
            assert_eq!((pit.next_interrupt(0), pit.next_interrupt(1)), (at(ticks), Time::NEVER), "mode {mode}");
            assert_eq!((pit.interrupts(at(ticks - 1)), pit.interrupts(at(1 << 40))), (0, 1));
        }
    }

    #[test]
    fn nothing_comes_before_a_count_was_written() {
        let mut pit = Pit::default();
        assert_eq!((pit.next_interrupt(0), pit.interrupts(Time(u64::MAX))), (Time::NEVER, 0));
        pit.write(0x43, 0x34, Time(0));
        pit.write(0x40, 10, Time(0));
        assert_eq!(pit.next_interrupt(0), Time::NEVER, "half of it is no count");
    }

    #[test]
    fn a_short_period_interrupts_every_100_us() {
        let pit = running(2, 1);
        assert!(pit.next_interrupt(0).since_ns(Time(1000)) >= 100_000);
        assert_eq!(pit.interrupts(Time(1000 + 1_000_000_000)), 1_193_182 / 120);
    }

    #[test]
    fn the_end_of_time_is_no_deadline() {
        let pit = running(2, 0);
        assert_eq!(pit.next_interrupt(u64::MAX), Time::NEVER);
        let _ = pit.interrupts(Time(u64::MAX));
    }
}
