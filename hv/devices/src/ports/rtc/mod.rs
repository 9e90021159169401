//! The real-time clock (RTC, MC146818) and its CMOS memory, without interrupts.
//!
//! The clock's only state is its offset from the wall clock that is passed in, so it never drifts from it. **Source:**
//! Motorola MC146818A data sheet; the century is byte 0x32, as the FADT says.

mod date;
mod format;

use xenolith_hal::WallClock;

pub(crate) use date::Date;
#[cfg(test)]
pub(crate) use format::B_BINARY;
pub(crate) use format::{B_24_HOURS, Format};

pub(crate) const SECONDS: u8 = 0;
pub(crate) const MINUTES: u8 = 2;
pub(crate) const HOURS: u8 = 4;
pub(crate) const WEEKDAY: u8 = 6;
pub(crate) const DAY: u8 = 7;
pub(crate) const MONTH: u8 = 8;
pub(crate) const YEAR: u8 = 9;
pub(crate) const STATUS_A: u8 = 10;
pub(crate) const STATUS_B: u8 = 11;
pub(crate) const STATUS_C: u8 = 12;
pub(crate) const STATUS_D: u8 = 13;
const CENTURY: u8 = 0x32;

/// The usual divider and rate.
pub(crate) const STATUS_A_AT_RESET: u8 = 0x26;
/// Updates stop while the date is set.
pub(crate) const B_SET: u8 = 0x80;
const B_INTERRUPTS: u8 = 0x70;
pub(crate) const D_VALID: u8 = 0x80;

/// Ports 0x70 (index) and 0x71 (data).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rtc {
    index: u8,
    status_a: u8,
    status_b: u8,
    /// Seconds by which the guest set this clock ahead of the wall clock.
    offset: i64,
    /// The date that is being set, while updates are stopped.
    setting: Option<Date>,
    memory: [u8; 128],
}

impl Default for Rtc {
    fn default() -> Self {
        Self { index: 0, status_a: STATUS_A_AT_RESET, status_b: B_24_HOURS, offset: 0, setting: None, memory: [0; 128] }
    }
}

impl Rtc {
    /// Returns whether a port belongs to it.
    #[must_use]
    pub const fn has(port: u16) -> bool {
        matches!(port, 0x70 | 0x71)
    }

    /// Reads a byte. `now` is the wall clock.
    #[must_use]
    pub fn read(&self, port: u16, now: WallClock) -> u8 {
        if port != 0x71 {
            return 0xff;
        }
        let date = self.date(now);
        match self.index {
            SECONDS => self.format().code(date.second),
            MINUTES => self.format().code(date.minute),
            HOURS => self.format().code_hour(date.hour),
            WEEKDAY => self.format().code(date.weekday()),
            DAY => self.format().code(date.day),
            MONTH => self.format().code(date.month),
            YEAR => self.format().code(date.year.rem_euclid(100) as u8),
            CENTURY => self.format().code(date.year.div_euclid(100).rem_euclid(100) as u8),
            STATUS_A => self.status_a,
            STATUS_B => self.status_b,
            STATUS_C => 0,
            STATUS_D => D_VALID,
            index => self.memory.get(usize::from(index)).copied().unwrap_or(0xff),
        }
    }

    /// Writes a byte. `now` is the wall clock, which is not changed: only the guest's view is set.
    pub fn write(&mut self, port: u16, value: u8, now: WallClock) {
        match port {
            // The highest bit masks NMIs of the chip set.
            0x70 => self.index = value & 0x7f,
            0x71 => self.write_register(value, now),
            _ => {}
        }
    }

    fn write_register(&mut self, value: u8, now: WallClock) {
        match self.index {
            SECONDS | MINUTES | HOURS | WEEKDAY..=YEAR | CENTURY => {
                let mut date = self.date(now);
                self.set_field(&mut date, value);
                self.set_date(date, now);
            }
            STATUS_A => self.status_a = value & 0x7f,
            STATUS_B => self.write_status_b(value, now),
            STATUS_C | STATUS_D => {}
            index => {
                if let Some(byte) = self.memory.get_mut(usize::from(index)) {
                    *byte = value;
                }
            }
        }
    }

    fn write_status_b(&mut self, value: u8, now: WallClock) {
        // No interrupt ever comes, so none can be turned on.
        let value = value & !B_INTERRUPTS;
        let stops = value & B_SET != 0;
        match self.setting {
            None if stops => self.setting = Some(self.date(now)),
            Some(date) if !stops => {
                self.setting = None;
                self.set_date(date, now);
            }
            _ => {}
        }
        self.status_b = value;
    }

    #[expect(clippy::arithmetic_side_effects, reason = "a hundred times a hundredth, and two digits")]
    fn set_field(&self, date: &mut Date, value: u8) {
        let decoded = self.format().decode(value);
        match self.index {
            SECONDS => date.second = decoded.min(59),
            MINUTES => date.minute = decoded.min(59),
            HOURS => date.hour = self.format().decode_hour(value).min(23),
            DAY => date.day = decoded.clamp(1, 31),
            MONTH => date.month = decoded.clamp(1, 12),
            YEAR => date.year = date.year.div_euclid(100) * 100 + i64::from(decoded.min(99)),
            CENTURY => date.year = i64::from(decoded.min(99)) * 100 + date.year.rem_euclid(100),
            _ => {}
        }
    }

    fn set_date(&mut self, date: Date, now: WallClock) {
        match &mut self.setting {
            Some(setting) => *setting = date,
            None => self.offset = date.to_seconds().saturating_sub(seconds(now)),
        }
    }

    const fn format(&self) -> Format {
        Format(self.status_b)
    }

    fn date(&self, now: WallClock) -> Date {
        self.setting.unwrap_or_else(|| Date::from_seconds(seconds(now).saturating_add(self.offset)))
    }
}

/// Returns seconds since 1970, at most 2^40 of them.
pub(crate) fn seconds(clock: WallClock) -> i64 {
    i64::try_from(clock.seconds).unwrap_or(0).min(1 << 40)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> WallClock {
        WallClock { seconds, nanoseconds: 0 }
    }

    fn register(rtc: &mut Rtc, index: u8, now: WallClock) -> u8 {
        rtc.write(0x70, index, now);
        rtc.read(0x71, now)
    }

    fn set(rtc: &mut Rtc, index: u8, value: u8, now: WallClock) {
        rtc.write(0x70, index, now);
        rtc.write(0x71, value, now);
    }

    // 2026-11-21 14:05:09 UTC, a Saturday.
    const NOW: WallClock = WallClock { seconds: 1_795_269_909, nanoseconds: 0 };

    #[test]
    fn the_date_reads_as_decimal_digits() {
        let mut rtc = Rtc::default();
        let expected = [
            (SECONDS, 0x09),
            (MINUTES, 0x05),
            (HOURS, 0x14),
            (WEEKDAY, 7),
            (DAY, 0x21),
            (MONTH, 0x11),
            (YEAR, 0x26),
            (CENTURY, 0x20),
        ];
        for (index, value) in expected {
            assert_eq!(register(&mut rtc, index, NOW), value, "register {index}");
        }
        assert_eq!(register(&mut rtc, STATUS_D, NOW), 0x80);
    }

    #[test]
    fn binary_and_twelve_hours_if_so_set() {
        let mut rtc = Rtc::default();
        set(&mut rtc, STATUS_B, B_BINARY, NOW);
        assert_eq!(register(&mut rtc, HOURS, NOW), 0x82);
        assert_eq!(register(&mut rtc, YEAR, NOW), 26);
        set(&mut rtc, HOURS, 12, NOW);
        assert_eq!(register(&mut rtc, HOURS, NOW), 12);
        set(&mut rtc, STATUS_B, B_BINARY | B_24_HOURS, NOW);
        assert_eq!(register(&mut rtc, HOURS, NOW), 0);
    }

    #[test]
    fn a_date_set_with_updates_stopped_goes_on_from_there() {
        let mut rtc = Rtc::default();
        set(&mut rtc, STATUS_B, B_SET | B_24_HOURS, NOW);
        for (index, value) in
            [(SECONDS, 0x58), (MINUTES, 0x59), (HOURS, 0x23), (DAY, 0x28), (MONTH, 0x02), (YEAR, 0x28)]
        {
            set(&mut rtc, index, value, NOW);
        }
        assert_eq!(register(&mut rtc, SECONDS, at(NOW.seconds + 100)), 0x58);
        set(&mut rtc, STATUS_B, B_24_HOURS, NOW);
        let later = at(NOW.seconds + 2);
        assert_eq!((register(&mut rtc, DAY, later), register(&mut rtc, MONTH, later)), (0x29, 0x02));
        assert_eq!(register(&mut rtc, HOURS, later), 0);
    }

    #[test]
    fn bytes_beside_the_clock_are_memory() {
        let mut rtc = Rtc::default();
        set(&mut rtc, 0x0f, 0x0a, NOW);
        set(&mut rtc, 0x7f, 0x55, NOW);
        set(&mut rtc, 1, 0x12, NOW);
        assert_eq!(register(&mut rtc, 0x0f, NOW), 0x0a);
        assert_eq!(register(&mut rtc, 0xff, NOW), 0x55, "the highest bit is not part of the index");
        assert_eq!(register(&mut rtc, 1, NOW), 0x12);
        assert_eq!(rtc.read(0x70, NOW), 0xff);
    }

    #[test]
    fn no_interrupt_can_be_turned_on() {
        let mut rtc = Rtc::default();
        set(&mut rtc, STATUS_B, 0x72, NOW);
        assert_eq!(register(&mut rtc, STATUS_B, NOW), 2);
        assert_eq!(register(&mut rtc, STATUS_C, NOW), 0);
    }

    proptest! {
        #[test]
        fn odd_accesses_do_no_harm(
            steps in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u64>()), 0..50),
        ) {
            let mut rtc = Rtc::default();
            let mut memory = [0; 128];
            for (index, value, clock) in steps {
                set(&mut rtc, index, value, at(clock));
                let read = register(&mut rtc, index, at(clock));
                let index = index & 0x7f;
                memory[usize::from(index)] = value;
                match index {
                    STATUS_A => prop_assert_eq!(read, value & 0x7f),
                    STATUS_B => prop_assert_eq!(read, value & !B_INTERRUPTS),
                    STATUS_C => prop_assert_eq!(read, 0, "no interrupt ever comes"),
                    STATUS_D => prop_assert_eq!(read, D_VALID),
                    SECONDS | MINUTES | HOURS | WEEKDAY..=YEAR | CENTURY => {}
                    _ => prop_assert_eq!(read, value),
                }
            }
            for index in (STATUS_D + 1..0x80).filter(|index| *index != CENTURY) {
                prop_assert_eq!(register(&mut rtc, index, NOW), memory[usize::from(index)], "byte {}", index);
            }
            // Whatever the clock was set to, it can be set right again, and then goes on with the wall clock.
            set(&mut rtc, STATUS_B, B_SET | B_24_HOURS, NOW);
            for (index, value) in [(DAY, 1), (SECONDS, 9), (MINUTES, 5), (HOURS, 0x14), (CENTURY, 0x20), (YEAR, 0x26)] {
                set(&mut rtc, index, value, NOW);
            }
            set(&mut rtc, MONTH, 0x11, NOW);
            set(&mut rtc, DAY, 0x21, NOW);
            set(&mut rtc, STATUS_B, B_24_HOURS, NOW);
            let later = at(NOW.seconds + 60);
            let shown = [SECONDS, MINUTES, HOURS, DAY, MONTH, YEAR].map(|index| register(&mut rtc, index, later));
            prop_assert_eq!(shown, [9, 6, 0x14, 0x21, 0x11, 0x26]);
        }
    }
}
