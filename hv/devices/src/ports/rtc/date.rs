//! Dates and seconds since 1970.

const SECONDS_PER_DAY: i64 = 86_400;

/// A date and time of day.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Date {
    pub(crate) year: i64,
    pub(crate) month: u8,
    pub(crate) day: u8,
    pub(crate) hour: u8,
    pub(crate) minute: u8,
    pub(crate) second: u8,
}

impl Date {
    /// Converts from seconds since 1970. Years run from March here, which puts the leap day at a year's end.
    #[expect(clippy::arithmetic_side_effects, reason = "no more days than 64 bits of seconds have")]
    pub(crate) fn from_seconds(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
        // Days since 0000-03-01, in cycles of 400 years.
        let days = days.saturating_add(719_468);
        let (cycle, day_of_cycle) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let leaps = day_of_cycle / 1_460 - day_of_cycle / 36_524 + day_of_cycle / 146_096;
        let year_of_cycle = (day_of_cycle - leaps) / 365;
        let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: cycle * 400 + year_of_cycle + i64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
            hour: (rest / 3600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
        }
    }

    /// Converts to seconds since 1970. Fields out of range carry into the next larger one.
    #[expect(clippy::arithmetic_side_effects, reason = "a year of four digits is set, or one of 64 bits of seconds")]
    pub(crate) fn to_seconds(self) -> i64 {
        let month = i64::from(self.month);
        let year = self.year - i64::from(month <= 2);
        let month_from_march = if month > 2 { month - 3 } else { month + 9 };
        let (cycle, year_of_cycle) = (year.div_euclid(400), year.rem_euclid(400));
        let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(self.day) - 1;
        let day_of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
        let days = cycle * 146_097 + day_of_cycle - 719_468;
        let time = i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second);
        days * SECONDS_PER_DAY + time
    }

    /// Returns the day of the week, 1 for Sunday.
    pub(crate) fn weekday(self) -> u8 {
        // 1970-01-01 was a Thursday.
        (self.to_seconds().div_euclid(SECONDS_PER_DAY).saturating_add(4).rem_euclid(7) as u8).saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn seconds_and_dates_are_each_others_inverse(seconds in -100_000_000_000i64..100_000_000_000) {
            let date = Date::from_seconds(seconds);
            prop_assert_eq!(date.to_seconds(), seconds);
            prop_assert!((1..=12).contains(&date.month) && (1..=31).contains(&date.day));
        }
    }
}
