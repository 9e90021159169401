//! The one timer of each CPU.

use core::sync::atomic::Ordering;

use xenolith_hal::{HostEvents, Time};

use crate::{clock, cpu_area, interrupts, local_apic};

/// The longest that the hardware timer is set for, in nanoseconds: should its one interrupt be lost, the CPU looks
/// again after this.
const LONGEST: u64 = 1_000_000_000;

/// Sets this CPU's timer; [`Time::NEVER`] stops it.
pub fn set(deadline: Time) {
    cpu_area::this().deadline.store(deadline.0, Ordering::Relaxed);
    if deadline == Time::NEVER {
        local_apic::stop_timer();
    } else {
        arm(deadline.0);
    }
}

fn arm(deadline: u64) {
    local_apic::set_timer(deadline.min(clock::nanoseconds().saturating_add(LONGEST)));
}

/// Notes that the deadline has passed, if it has. True when it has.
pub fn check() -> bool {
    let area = cpu_area::this();
    let deadline = area.deadline.load(Ordering::Relaxed);
    if deadline == u64::MAX || clock::nanoseconds() < deadline {
        return false;
    }
    area.deadline.store(u64::MAX, Ordering::Relaxed);
    interrupts::note(HostEvents::TIMER);
    true
}

/// Takes the timer's interrupt: it may have come before the deadline, when that was too far off for the hardware or
/// the hardware is a little fast.
pub(crate) fn expire() {
    let deadline = cpu_area::this().deadline.load(Ordering::Relaxed);
    if !check() && deadline != u64::MAX {
        arm(deadline);
    }
}

/// Has an idle CPU woken once in a while even when its own timer's interrupt is lost.
pub(crate) fn guard_idle() {
    if cpu_area::this().deadline.load(Ordering::Relaxed) == u64::MAX {
        arm(u64::MAX);
    }
}
