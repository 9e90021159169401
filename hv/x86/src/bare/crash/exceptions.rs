//! CPU exceptions. In the hypervisor itself every one of them is a bug, so it ends the machine.

use core::sync::atomic::Ordering;

use x86_64::registers::control::Cr2;

use crate::bare::base::cpu_area;
use crate::bare::crash;
use crate::bare::interrupts::InterruptFrame;
use crate::bare::memory::stacks;
use crate::bare::svm;

const DEBUG: u64 = 1;
const NMI: u64 = 2;
const DOUBLE_FAULT: u64 = 8;
const PAGE_FAULT: u64 = 14;

/// The names that Xen's reports use.
const NAMES: [&str; 22] = [
    "DIVIDE ERROR",
    "DEBUG",
    "NMI",
    "INT3",
    "OVERFLOW",
    "BOUNDS",
    "INVALID OPCODE",
    "DEVICE NOT AVAILABLE",
    "DOUBLE FAULT",
    "COPROCESSOR SEGMENT OVERRUN",
    "INVALID TSS",
    "SEGMENT NOT FOUND",
    "STACK ERROR",
    "GENERAL PROTECTION FAULT",
    "PAGE FAULT",
    "RESERVED",
    "COPROCESSOR ERROR",
    "ALIGNMENT CHECK",
    "MACHINE CHECK",
    "SIMD ERROR",
    "VIRTUALISATION EXCEPTION",
    "CONTROL PROTECTION",
];

/// Handles an exception: the handler for [`crate::bare::interrupts::descriptors::fill_gates`].
pub fn handle(frame: &InterruptFrame) {
    if frame.vector == NMI {
        if crash::is_going_on() {
            crash::report_and_stop(frame);
        }
        if crash::answer(frame) {
            return;
        }
        cpu_area::this().stray_nmis.fetch_add(1, Ordering::Relaxed);
        return;
    }
    // The guest's own, which an emulator let come over with the exit: the hypervisor steps nowhere. What the guest is
    // due, the handler of the exit gives it.
    if frame.vector == DEBUG && svm::before_host_state().contains(&frame.rip) {
        return;
    }
    let name = NAMES.get(frame.vector as usize).copied().unwrap_or("UNKNOWN TRAP");
    let address = Cr2::read_raw();
    match frame.vector {
        PAGE_FAULT if stacks::is_guard(address) => crash::die(
            frame,
            format_args!(
                "FATAL PAGE FAULT (stack overflow)\n[error_code={:04x}]\nFaulting linear address: {address:016x}",
                frame.error_code
            ),
        ),
        PAGE_FAULT => crash::die(
            frame,
            format_args!(
                "FATAL PAGE FAULT\n[error_code={:04x}]\nFaulting linear address: {address:016x}",
                frame.error_code
            ),
        ),
        // The push that found no stack left CR2 behind.
        DOUBLE_FAULT if stacks::is_guard(address) => {
            crash::die(frame, format_args!("DOUBLE FAULT -- stack overflow\nFaulting linear address: {address:016x}"))
        }
        DOUBLE_FAULT => crash::die(frame, format_args!("DOUBLE FAULT -- system shutdown")),
        vector => crash::die(
            frame,
            format_args!("FATAL TRAP: vector = {vector} ({name})\n[error_code={:04x}]", frame.error_code),
        ),
    }
}
