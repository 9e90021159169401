//! The timers of a vCPU.

use core::sync::atomic::{AtomicU64, Ordering};
use xenolith_hal::Time;

/// The kinds of timer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub enum Timer {
    /// `VCPUOP_set_singleshot_timer`.
    OneShot,
    /// `VCPUOP_set_periodic_timer`.
    Periodic,
    /// The timeout of a `SCHEDOP_poll`.
    Poll,
    /// A watchdog of the domain that this vCPU armed.
    Watchdog,
    /// The local APIC's, as of the moment the vCPU was last descheduled.
    Lapic,
    /// The chipset's of an HVM guest, which vCPU 0 keeps.
    Chipset,
}

const COUNT: usize = 6;

/// Deadlines in nanoseconds of system time; the largest number for none.
pub struct VcpuTimers {
    deadlines: [AtomicU64; COUNT],
    /// Of the periodic timer, in nanoseconds.
    period_ns: AtomicU64,
}

impl Default for VcpuTimers {
    fn default() -> Self {
        Self { deadlines: [const { AtomicU64::new(u64::MAX) }; COUNT], period_ns: AtomicU64::new(0) }
    }
}

impl VcpuTimers {
    fn slot(&self, timer: Timer) -> Option<&AtomicU64> {
        self.deadlines.get(timer as usize)
    }

    /// Sets a timer; [`Time::NEVER`] stops it.
    pub fn set(&self, timer: Timer, deadline: Time) {
        if let Some(slot) = self.slot(timer) {
            slot.store(deadline.0, Ordering::SeqCst);
        }
    }

    /// Returns the deadline of a timer.
    pub fn get(&self, timer: Timer) -> Time {
        self.slot(timer).map_or(Time::NEVER, |slot| Time(slot.load(Ordering::SeqCst)))
    }

    /// Starts the periodic timer; a period of 0 stops it.
    pub fn set_periodic(&self, period_ns: u64, now: Time) {
        self.period_ns.store(period_ns, Ordering::SeqCst);
        self.set(Timer::Periodic, if period_ns == 0 { Time::NEVER } else { now.after_ns(period_ns) });
    }

    /// Returns the earliest deadline.
    pub fn deadline(&self) -> Time {
        Time(self.deadlines.iter().map(|slot| slot.load(Ordering::Relaxed)).min().unwrap_or(u64::MAX))
    }

    /// Stops a timer that has expired; returns false for one that has not. The periodic one is rearmed instead.
    pub fn take_due(&self, timer: Timer, now: Time) -> bool {
        let Some(slot) = self.slot(timer) else { return false };
        let next = match timer {
            Timer::Periodic => match self.period_ns.load(Ordering::SeqCst) {
                0 => u64::MAX,
                period => now.0.saturating_add(period),
            },
            _ => u64::MAX,
        };
        slot.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |deadline| (deadline <= now.0).then_some(next)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_runs_down_once() {
        let timers = VcpuTimers::default();
        timers.set(Timer::OneShot, Time(100));
        assert_eq!(timers.deadline(), Time(100));
        assert!(!timers.take_due(Timer::OneShot, Time(99)));
        assert!(timers.take_due(Timer::OneShot, Time(100)));
        assert!(!timers.take_due(Timer::OneShot, Time(101)));
        assert_eq!(timers.deadline(), Time::NEVER);
    }

    #[test]
    fn the_periodic_timer_goes_on_until_it_is_stopped() {
        let timers = VcpuTimers::default();
        timers.set_periodic(10, Time(0));
        assert!(timers.take_due(Timer::Periodic, Time(12)));
        assert_eq!(timers.get(Timer::Periodic), Time(22));
        timers.set_periodic(0, Time(12));
        assert!(!timers.take_due(Timer::Periodic, Time(u64::MAX - 1)));
    }
}
