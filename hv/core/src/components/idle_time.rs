//! The idle time of a CPU.

use core::sync::atomic::{AtomicU64, Ordering};
use xenolith_hal::Time;

/// The value of `since` while the CPU is busy.
const BUSY: u64 = u64::MAX;

/// The idle time of one CPU. The CPU itself writes it, others read; they may miss the idle period that has just ended.
#[derive(Debug)]
pub struct IdleTime {
    /// Nanoseconds of the idle periods that are over.
    total_ns: AtomicU64,
    /// When the current idle period began.
    since: AtomicU64,
}

impl IdleTime {
    /// Creates the idle time of a busy CPU.
    pub const fn of_busy_cpu() -> Self {
        Self { total_ns: AtomicU64::new(0), since: AtomicU64::new(BUSY) }
    }

    /// Begins an idle period.
    pub fn begin(&self, now: Time) {
        self.since.store(now.0, Ordering::Release);
    }

    /// Ends the idle period.
    pub fn end(&self, now: Time) {
        let since = self.since.swap(BUSY, Ordering::AcqRel);
        if since != BUSY {
            self.total_ns.fetch_add(now.since_ns(Time(since)), Ordering::Release);
        }
    }

    /// Returns the total up to now, in nanoseconds.
    pub fn total_ns(&self, now: Time) -> u64 {
        let since = self.since.load(Ordering::Acquire);
        let present = if since == BUSY { 0 } else { now.since_ns(Time(since)) };
        self.total_ns.load(Ordering::Acquire).saturating_add(present)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_add_up_and_the_present_one_counts() {
        let idle = IdleTime::of_busy_cpu();
        assert_eq!(idle.total_ns(Time(50)), 0);
        idle.begin(Time(100));
        assert_eq!(idle.total_ns(Time(130)), 30);
        idle.end(Time(150));
        idle.end(Time(190));
        assert_eq!(idle.total_ns(Time(200)), 50);
    }
}
