//! The watchdog over CPUs (`watchdog`): each CPU is watched by the one before it, and one that has not come back to its loop
//! for too long is stuck.
//!
//! Every CPU comes back about once a second while the watchdog is on: when its timer fires, if nothing else brings it.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use xenolith_hal::{CpuId, Time};

/// How often each CPU comes to look, in nanoseconds.
const INTERVAL_NS: u64 = 1_000_000_000;
/// A CPU that is not watched yet.
const NOT_WATCHED: u64 = 0;

/// When each CPU last came back to its loop.
#[derive(Debug, Default)]
pub struct CpuWatchdog {
    timeout_ns: u64,
    /// In nanoseconds of system time.
    last: Box<[AtomicU64]>,
    /// How many reports are being written now, which may take longer than the timeout.
    suspended: AtomicU32,
}

impl CpuWatchdog {
    /// Creates the watchdog of a machine with this many CPUs; off if the timeout is 0 or there is no second CPU to look at the
    /// first.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "made once, at boot")]
    pub fn new(timeout_s: u32, cpus: usize) -> Self {
        let timeout_ns = if cpus > 1 { u64::from(timeout_s).saturating_mul(1_000_000_000) } else { 0 };
        let watched = if timeout_ns > 0 { cpus } else { 0 };
        Self {
            timeout_ns,
            last: (0..watched).map(|_| AtomicU64::new(NOT_WATCHED)).collect(),
            suspended: AtomicU32::new(0),
        }
    }

    /// Returns whether CPUs are watched.
    #[inline]
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.timeout_ns > 0
    }

    /// Notes that a CPU has come back to its loop. Returns the CPU that it finds stuck, if it does, and when it must come
    /// again.
    pub fn visit(&self, cpu: CpuId, now: Time) -> (Option<CpuId>, Time) {
        let again = now.after_ns(INTERVAL_NS);
        let own = cpu.index();
        let (Some(mine), Some(next)) =
            (self.last.get(own), self.last.get(own.wrapping_add(1)).or_else(|| self.last.first()))
        else {
            return (None, again);
        };
        // Asked before it is looked: a report that ends in between has made all of them unwatched.
        let watches = self.suspended.load(Ordering::Acquire) == 0;
        mine.store(now.0.max(1), Ordering::Relaxed);
        // From the first look on, so that one that never begins is found as well.
        let before = next.compare_exchange(NOT_WATCHED, now.0.max(1), Ordering::Relaxed, Ordering::Relaxed);
        let is_late = before.is_err_and(|last| now.since_ns(Time(last)) > self.timeout_ns);
        let stuck = (is_late && watches).then(|| {
            let number = own.wrapping_add(1);
            CpuId(if number < self.last.len() { number as u32 } else { 0 })
        });
        (stuck, again)
    }

    /// Watches nobody any more: the machine ends, and its CPUs stop one by one.
    pub fn stop(&self) {
        self.suspended.fetch_add(1, Ordering::Relaxed);
    }

    /// Watches nobody until the answer is dropped.
    pub fn suspend(&self) -> Suspended<'_> {
        self.suspended.fetch_add(1, Ordering::Relaxed);
        Suspended(self)
    }
}

/// Keeps the watchdog from looking.
#[derive(Debug)]
pub struct Suspended<'a>(&'a CpuWatchdog);

impl Drop for Suspended<'_> {
    fn drop(&mut self) {
        // Each is watched again from the next look at it on.
        self.0.last.iter().for_each(|last| last.store(NOT_WATCHED, Ordering::Relaxed));
        self.0.suspended.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(seconds: u64) -> Time {
        Time(seconds * SECOND)
    }

    #[test]
    fn a_cpu_that_stays_away_is_found_by_the_one_before_it() {
        let watchdog = CpuWatchdog::new(5, 3);
        for seconds in 1..10 {
            for cpu in 0..3 {
                assert_eq!(watchdog.visit(CpuId(cpu), at(seconds)), (None, at(seconds + 1)));
            }
        }
        // CPU 2 stays away: CPU 1 finds it, and nobody else.
        for seconds in 10..15 {
            assert_eq!(watchdog.visit(CpuId(0), at(seconds)).0, None);
            assert_eq!(watchdog.visit(CpuId(1), at(seconds)).0, None, "{seconds}");
        }
        assert_eq!(watchdog.visit(CpuId(0), at(15)).0, None);
        assert_eq!(watchdog.visit(CpuId(1), at(15)).0, Some(CpuId(2)));
        // The last one watches the first.
        assert_eq!(watchdog.visit(CpuId(2), at(30)).0, Some(CpuId(0)));
    }

    #[test]
    fn one_that_never_begins_is_found_too() {
        let watchdog = CpuWatchdog::new(5, 2);
        assert_eq!(watchdog.visit(CpuId(0), at(100)).0, None);
        assert_eq!(watchdog.visit(CpuId(0), at(105)).0, None);
        assert_eq!(watchdog.visit(CpuId(0), at(106)).0, Some(CpuId(1)));
    }

    #[test]
    fn nobody_is_found_while_a_report_is_written_nor_for_having_written_it() {
        let watchdog = CpuWatchdog::new(5, 2);
        watchdog.visit(CpuId(1), at(1));
        let report = watchdog.suspend();
        assert_eq!(watchdog.visit(CpuId(0), at(20)).0, None);
        drop(report);
        assert_eq!(watchdog.visit(CpuId(0), at(21)).0, None);
        assert_eq!(watchdog.visit(CpuId(0), at(27)).0, Some(CpuId(1)));
    }

    #[test]
    fn nobody_is_found_when_the_machine_ends() {
        let watchdog = CpuWatchdog::new(5, 2);
        watchdog.visit(CpuId(1), at(1));
        watchdog.stop();
        drop(watchdog.suspend());
        watchdog.visit(CpuId(1), at(2));
        assert_eq!(watchdog.visit(CpuId(0), at(100)).0, None);
    }

    #[test]
    fn it_is_off_without_a_timeout_and_with_one_cpu() {
        assert!(!CpuWatchdog::new(0, 8).is_on() && !CpuWatchdog::new(5, 1).is_on());
        assert!(CpuWatchdog::new(1, 2).is_on());
    }
}
