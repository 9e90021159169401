//! Doing nothing until something happens.

use core::sync::atomic::Ordering;

use x86_64::instructions::interrupts;

use super::timer;
use crate::bare::base::cpu_area;

/// Waits with interrupts on until something has happened to this CPU; returns at once when something already has.
pub fn wait() {
    interrupts::disable();
    if !has_events() {
        timer::guard_idle();
        // The CPU takes no interrupt between the two instructions, so none can be missed.
        interrupts::enable_and_hlt();
        interrupts::disable();
    }
}

/// True when something has happened to this CPU that nobody has taken note of yet.
pub fn has_events() -> bool {
    cpu_area::this().events.load(Ordering::Acquire) != 0 || timer::check()
}

/// Lets pending interrupts in for a moment.
pub fn open_interrupt_window() {
    interrupts::enable();
    // The first instruction after the one that lets interrupts in is still shielded from them.
    x86_64::instructions::nop();
    interrupts::disable();
}
