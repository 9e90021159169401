//! The one timer of each CPU.

use core::sync::atomic::Ordering;

use xenolith_hal::{HostEvents, Time};

use super::local_apic;
use crate::bare::base::{clock, cpu_area};

/// The longest that the hardware timer is set for, in nanoseconds: should its one interrupt be lost, the CPU looks
/// again after this.
const LONGEST: u64 = 1_000_000_000;

/// Sets this CPU's timer; [`Time::NEVER`] stops it. Setting the same deadline again costs nothing: the hardware's timer
/// is slow to write, and most turns of a CPU change no deadline.
pub fn set(deadline: Time) {
    let area = cpu_area::this();
    let before = area.deadline.swap(deadline.0, Ordering::Relaxed);
    let now = clock::nanoseconds();
    if before == deadline.0 && area.armed_until.load(Ordering::Relaxed) > now {
        return;
    }
    if deadline == Time::NEVER {
        area.armed_until.store(0, Ordering::Relaxed);
        local_apic::stop_timer();
    } else {
        arm(deadline.0, now);
    }
}

#[inline]
fn arm(deadline: u64, now: u64) {
    let at = deadline.min(now.saturating_add(LONGEST));
    cpu_area::this().armed_until.store(at, Ordering::Relaxed);
    local_apic::set_timer(at);
}

/// Raises the timer event if the deadline has passed; returns whether it has.
#[inline]
pub fn check() -> bool {
    let area = cpu_area::this();
    let deadline = area.deadline.load(Ordering::Relaxed);
    if deadline == u64::MAX || clock::nanoseconds() < deadline {
        return false;
    }
    area.deadline.store(u64::MAX, Ordering::Relaxed);
    cpu_area::note(HostEvents::TIMER);
    true
}

/// Handles the timer's interrupt: it may have come before the deadline, if that was too far off for the hardware or the
/// hardware is a little fast.
pub(crate) fn expire() {
    let area = cpu_area::this();
    area.armed_until.store(0, Ordering::Relaxed);
    let deadline = area.deadline.load(Ordering::Relaxed);
    if !check() && deadline != u64::MAX {
        arm(deadline, clock::nanoseconds());
    }
}

/// Arms a fallback that wakes an idle CPU once in a while even if its own timer's interrupt is lost.
pub(crate) fn guard_idle() {
    let (area, now) = (cpu_area::this(), clock::nanoseconds());
    if area.deadline.load(Ordering::Relaxed) == u64::MAX && area.armed_until.load(Ordering::Relaxed) <= now {
        arm(u64::MAX, now);
    }
}
