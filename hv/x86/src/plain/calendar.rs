//! Dates as days.

/// Days from 1970-01-01 to a date of the years 2000 to 2099, in which every fourth year is a leap year.
pub const fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years are counted from March, so that the leap day comes last.
    let (year, month) = if month > 2 { (2000 + year, month - 3) } else { (2000 + year - 1, month + 9) };
    let before = (153 * month + 2) / 5;
    365 * year + year / 4 - year / 100 + year / 400 + before + day - 1 - 719_468
}

/// Returns the date `days` days after 1970-01-01: year, month, day.
pub const fn date(days: u64) -> (u64, u64, u64) {
    // Years are counted from March of the year 0, in periods of 400.
    let days = days.saturating_add(719_468);
    let (period, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, after) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (period * 400 + year + after, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates_have_their_known_numbers() {
        assert_eq!(days(0, 1, 1), 10_957);
        assert_eq!(days(0, 2, 29), 11_016);
        assert_eq!(days(0, 3, 1), 11_017);
        assert_eq!(days(26, 11, 21), 20_778);
        assert_eq!(days(99, 12, 31), 47_481);
    }

    #[test]
    fn the_first_day_is_the_first_of_1970() {
        assert_eq!(date(0), (1970, 1, 1));
        assert_eq!(date(47_482), (2100, 1, 1));
    }

    #[test]
    fn each_day_is_one_more_than_the_day_before() {
        const LENGTHS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut expected = days(0, 1, 1);
        for year in 0..100 {
            for (month, length) in (1..).zip(LENGTHS) {
                let length = if month == 2 && year % 4 == 0 { 29 } else { length };
                for day in 1..=length {
                    assert_eq!(days(year, month, day), expected);
                    assert_eq!(date(expected), (2000 + year, month, day));
                    expected += 1;
                }
            }
        }
    }
}
