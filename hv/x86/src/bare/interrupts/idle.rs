//! Idling until an event.

use core::sync::atomic::Ordering;

use x86_64::instructions::interrupts;

use super::timer;
use crate::bare::base::cpu_area;

/// Waits with interrupts on until this CPU has an event; returns at once if it has one.
pub fn wait() {
    interrupts::disable();
    if !has_events() {
        timer::guard_idle();
        // The CPU takes no interrupt between the two instructions, so none can be missed.
        interrupts::enable_and_hlt();
        interrupts::disable();
    }
}

/// Returns true if this CPU has an event that was not handled yet.
pub fn has_events() -> bool {
    cpu_area::this().events.load(Ordering::Acquire) != 0 || timer::check()
}

/// Enables interrupts for a moment, so that pending ones are taken.
pub fn open_interrupt_window() {
    interrupts::enable();
    // The first instruction after the one that lets interrupts in is still shielded from them.
    x86_64::instructions::nop();
    interrupts::disable();
}
