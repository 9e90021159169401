//! Crash reports: what this CPU did, what the others did, and why the machine ends.

mod backtrace;
pub mod exceptions;
mod others;
mod provoke;
pub mod reboot;
mod registers;
mod symbols;
mod witness;

use core::fmt;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use x86_64::instructions::{hlt, interrupts};

use xenolith_hal::CpuId;

use crate::bare::base::{clock, cpu_area};
use crate::bare::console;
use crate::bare::interrupts::InterruptFrame;

pub use others::report_and_stop;
pub use provoke::{get_stuck_if_asked, provoke};
pub use symbols::Place;
pub use witness::{answer, show_all};

const NOBODY: u32 = u32::MAX;
const BANNER: &str = "****************************************";

/// The CPU that brings the machine down.
static CULPRIT: AtomicU32 = AtomicU32::new(NOBODY);
static NO_REBOOT: AtomicBool = AtomicBool::new(false);

/// Sets whether the machine stops after a panic instead of rebooting (`noreboot`).
pub fn set_no_reboot(no_reboot: bool) {
    NO_REBOOT.store(no_reboot, Ordering::Relaxed);
}

/// Returns true from the moment that a CPU began to bring the machine down.
#[must_use]
pub fn is_going_on() -> bool {
    CULPRIT.load(Ordering::Acquire) != NOBODY
}

/// Ends the machine after a Rust panic.
pub fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let frame = registers::here();
    match info.location() {
        Some(place) => die(&frame, format_args!("{} at {}:{}", info.message(), place.file(), place.line())),
        None => die(&frame, format_args!("{}", info.message())),
    }
}

/// Ends the machine because another CPU is stuck; what that one does is part of the report.
pub fn stuck(cpu: CpuId) -> ! {
    die(&registers::here(), format_args!("Watchdog timer detects that CPU{} is stuck!", cpu.0))
}

/// Ends the machine: `frame` is the state of this CPU, `reason` the cause to be logged.
pub fn die(frame: &InterruptFrame, reason: fmt::Arguments<'_>) -> ! {
    interrupts::disable();
    let cpu = cpu_area::this_index().as_u32();
    if let Err(culprit) = CULPRIT.compare_exchange(NOBODY, cpu, Ordering::AcqRel, Ordering::Acquire) {
        if culprit == cpu {
            // The report itself failed. What is known is on the console; nothing more can be relied on.
            crate::print!("Panic while panicking on CPU {cpu}: {reason}");
            finish();
        }
        report_and_stop(frame);
    }
    console::force();
    registers::show(frame);
    crate::print!("\n{BANNER}\nPanic on CPU {cpu}:\n{reason}\n{BANNER}\n");
    others::stop_and_report();
    finish();
}

/// Ends the start of the machine for something that is no fault of the hypervisor's: `reason` is one sentence with the
/// cause and, where there is one, the remedy. Nothing else is told.
pub fn refuse(reason: fmt::Arguments<'_>) -> ! {
    interrupts::disable();
    console::force();
    console::speak_up();
    crate::print!("\n{BANNER}\nXenolith does not start: {reason}\n{BANNER}\n");
    finish();
}

fn finish() -> ! {
    if NO_REBOOT.load(Ordering::Relaxed) {
        crate::print!("Manual reset required ('noreboot' specified)");
        console::drain();
        reboot::leave_emulator(1);
        halt();
    }
    crate::print!("Reboot in five seconds...");
    console::drain();
    reboot::leave_emulator(1);
    clock::wait_microseconds(5_000_000);
    reboot::now();
}

/// Stops this CPU for good.
pub fn halt() -> ! {
    interrupts::disable();
    loop {
        hlt();
    }
}
