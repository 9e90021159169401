//! What `console_timestamps=` puts before each line.

use core::fmt;

use xenolith_bootinfo::Timestamps;

use crate::plain::calendar::date;

const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

/// A moment, and how it is told.
#[derive(Debug, Clone, Copy)]
pub struct Timestamp {
    pub form: Timestamps,
    /// The time stamp counter.
    pub ticks: u64,
    /// Nanoseconds.
    pub since_boot: u64,
    /// Nanoseconds since 1970 at boot; 0 while the date is not known.
    pub at_boot: u64,
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.form {
            Timestamps::None => return Ok(()),
            Timestamps::Raw => return write!(f, "[{:016x}] ", self.ticks),
            Timestamps::Date | Timestamps::DateMilliseconds if self.at_boot != 0 => {}
            _ => {
                let microseconds = self.since_boot / 1000;
                return write!(f, "[{:5}.{:06}] ", microseconds / 1_000_000, microseconds % 1_000_000);
            }
        }
        let now = self.at_boot.saturating_add(self.since_boot);
        let seconds = now / NANOSECONDS_PER_SECOND;
        let (year, month, day) = date(seconds / SECONDS_PER_DAY);
        let (hours, minutes, rest) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
        write!(f, "[{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{rest:02}")?;
        if self.form == Timestamps::DateMilliseconds {
            write!(f, ".{:03}", now / 1_000_000 % 1000)?;
        }
        f.write_str("] ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    fn told(form: Timestamps, at_boot: u64) -> String {
        Timestamp { form, ticks: 0x1234, since_boot: 61_234_567_890, at_boot }.to_string()
    }

    #[test]
    fn every_form_is_xens() {
        // 2026-11-21 12:34:00.
        let at_boot = (20_778 * SECONDS_PER_DAY + 45_240) * NANOSECONDS_PER_SECOND;
        assert_eq!(told(Timestamps::None, at_boot), "");
        assert_eq!(told(Timestamps::Date, at_boot), "[2026-11-21 12:35:01] ");
        assert_eq!(told(Timestamps::DateMilliseconds, at_boot), "[2026-11-21 12:35:01.234] ");
        assert_eq!(told(Timestamps::SinceBoot, at_boot), "[   61.234567] ");
        assert_eq!(told(Timestamps::Raw, at_boot), "[0000000000001234] ");
    }

    #[test]
    fn without_a_date_the_time_since_boot_is_told() {
        assert_eq!(told(Timestamps::Date, 0), "[   61.234567] ");
    }
}
