//! A deadline relative to now.

use core::fmt;
use xenolith_hal::Time;

const NS_PER_US: u64 = 1000;

/// Shown as "never", "in 1.500 ms" or "1.500 ms overdue".
pub struct Until {
    pub now: Time,
    pub at: Time,
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at == Time::NEVER {
            return f.write_str("never");
        }
        if self.at >= self.now {
            write!(f, "in {}", Milliseconds(self.at.since_ns(self.now)))
        } else {
            write!(f, "{} overdue", Milliseconds(self.now.since_ns(self.at)))
        }
    }
}

/// A span in nanoseconds, shown in milliseconds.
pub struct Milliseconds(pub u64);

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.0 / NS_PER_US;
        write!(f, "{}.{:03} ms", us / 1000, us % 1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_moment_is_told_from_now_on() {
        let shown = |at| Until { now: Time(2_000_000), at }.to_string();
        assert_eq!(shown(Time(3_500_999)), "in 1.500 ms");
        assert_eq!(shown(Time(2_000_000)), "in 0.000 ms");
        assert_eq!(shown(Time(1_994_000)), "0.006 ms overdue");
        assert_eq!(shown(Time::NEVER), "never");
    }
}
