//! The alarm: a time of day, of which each part may be any.

use crate::ports::rtc::Format;

/// A part whose two highest bits are set matches always.
const ANY: u8 = 0xc0;

/// When the alarm goes off: hour, minute and second; None for any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Alarm {
    hour: Option<i64>,
    minute: Option<i64>,
    second: Option<i64>,
}

impl Alarm {
    /// Decodes the three registers.
    pub(super) fn new(format: Format, hour: u8, minute: u8, second: u8) -> Self {
        let part = |register: u8, value: u8| (register < ANY).then_some(i64::from(value));
        Self {
            hour: part(hour, format.decode_hour(hour)),
            minute: part(minute, format.decode(minute)),
            second: part(second, format.decode(second)),
        }
    }

    fn is_possible(&self) -> bool {
        let within = |part: Option<i64>, count: i64| part.is_none_or(|part| part < count);
        within(self.hour, 24) && within(self.minute, 60) && within(self.second, 60)
    }

    /// Returns the first second that matches, at or after one (both since 1970); None if none ever does.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "each step is less than a day, and the sums are checked at the end"
    )]
    pub(super) fn next(&self, from: i64) -> Option<i64> {
        if !self.is_possible() {
            return None;
        }
        // Seconds of the day, which may run into the next. A step for the hour is the last, one for the minute may need
        // the hour's, one for the second both of them.
        let start = from.rem_euclid(86_400);
        let mut at = start;
        for _ in 0..6 {
            let (hour, minute, second) = (at / 3600 % 24, at / 60 % 60, at % 60);
            let until =
                |wanted: Option<i64>, is: i64, count: i64| wanted.map_or(0, |wanted| (wanted - is).rem_euclid(count));
            if until(self.hour, hour, 24) != 0 {
                at = (at / 3600 + until(self.hour, hour, 24)) * 3600;
            } else if until(self.minute, minute, 60) != 0 {
                at = (at / 60 + until(self.minute, minute, 60)) * 60;
            } else if until(self.second, second, 60) != 0 {
                at += until(self.second, second, 60);
            } else {
                break;
            }
        }
        from.checked_add(at - start)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ports::rtc::{B_24_HOURS, B_BINARY};

    fn binary(hour: u8, minute: u8, second: u8) -> Alarm {
        Alarm::new(Format(B_24_HOURS | B_BINARY), hour, minute, second)
    }

    #[test]
    fn a_part_that_is_no_number_never_matches() {
        assert_eq!(binary(24, 0, 0).next(0), None);
        assert_eq!(binary(0, 60, 0).next(0), None);
        assert_eq!(binary(0xff, 0xc0, 0xbf).next(0), None);
    }

    #[test]
    fn decimal_digits_and_afternoons_are_decoded() {
        let alarm = Alarm::new(Format(0), 0x81, 0x59, 0xff);
        assert_eq!(alarm, Alarm { hour: Some(13), minute: Some(59), second: None });
        assert_eq!(alarm.next(0), Some(13 * 3600 + 59 * 60));
    }

    #[test]
    fn the_end_of_time_is_no_alarm() {
        assert_eq!(binary(0, 0, 0).next(i64::MAX), None);
    }

    proptest! {
        /// A minute is 60 seconds, an hour 3600: looking at each second finds the same one.
        #[test]
        fn the_next_match_is_the_first_one(
            hour in prop_oneof![Just(0xffu8), 0u8..24],
            minute in prop_oneof![Just(0xffu8), 0u8..60],
            second in prop_oneof![Just(0xc0u8), 0u8..60],
            from in -200_000i64..200_000,
        ) {
            let matches = |at: &i64| {
                let is = |register: u8, value: i64| register >= 0xc0 || i64::from(register) == value;
                let day = at.rem_euclid(86_400);
                is(hour, day / 3600) && is(minute, day / 60 % 60) && is(second, day % 60)
            };
            prop_assert_eq!(binary(hour, minute, second).next(from), (from..from + 86_400).find(matches));
        }
    }
}
