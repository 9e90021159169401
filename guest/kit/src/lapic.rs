//! The local APIC in x2APIC mode, by its model-specific registers.

use crate::{cpu, traps};

/// Identifier register.
pub const ID: u32 = 0x802;
/// Task priority register.
pub const TPR: u32 = 0x808;
/// End of interrupt.
pub const EOI: u32 = 0x80b;
/// Spurious-interrupt vector register; bit 8 enables the APIC.
pub const SVR: u32 = 0x80f;
/// First of the eight in-service registers.
pub const ISR: u32 = 0x810;
/// First of the eight interrupt-request registers.
pub const IRR: u32 = 0x820;
/// Interrupt command register.
pub const ICR: u32 = 0x830;
/// Timer entry of the local vector table.
pub const LVT_TIMER: u32 = 0x832;
/// Initial count of the timer.
pub const TIMER_INITIAL: u32 = 0x838;
/// Current count of the timer.
pub const TIMER_CURRENT: u32 = 0x839;
/// Divider of the timer.
pub const TIMER_DIVIDE: u32 = 0x83e;
/// Self-IPI register.
pub const SELF_IPI: u32 = 0x83f;

/// Writes a register of the local APIC. Faults where it is reserved: call it within [`crate::catch`].
pub fn write(register: u32, value: u64) {
    // SAFETY: registers of the local APIC raise interrupts at most, and every vector has a handler.
    unsafe { cpu::write_msr(register, value) };
}

/// Turns x2APIC mode on for this processor, and the APIC itself with spurious vector 0xff.
pub(crate) fn enable_x2apic() {
    let base = cpu::read_msr(0x1b);
    // SAFETY: changes only how the APIC is addressed.
    unsafe { cpu::write_msr(0x1b, base | 0xc00) };
    write(SVR, 0x1ff);
}

fn bit(first: u32, vector: u8) -> bool {
    cpu::read_msr(first + u32::from(vector >> 5)) >> (vector & 31) & 1 != 0
}

/// Returns whether `vector` is being served.
#[must_use]
pub fn in_service(vector: u8) -> bool {
    bit(ISR, vector)
}

/// Returns whether `vector` waits to be served.
#[must_use]
pub fn requested(vector: u8) -> bool {
    bit(IRR, vector)
}

/// Ends the service of the highest vector in service.
pub fn end_of_interrupt() {
    write(EOI, 0);
}

/// Sends an ordinary interrupt to the processor with `apic_id`.
pub fn send(apic_id: u32, vector: u8) {
    write(ICR, u64::from(apic_id) << 32 | 0x4000 | u64::from(vector));
}

/// Sends an interrupt to this processor by the self-IPI register.
pub fn send_to_self(vector: u8) {
    write(SELF_IPI, u64::from(vector));
}

/// Sends INIT (assert, then de-assert as old processors want it).
pub(crate) fn send_init(apic_id: u32) {
    write(ICR, u64::from(apic_id) << 32 | 0xc500);
    let _ = traps::catch(|| write(ICR, u64::from(apic_id) << 32 | 0x8500));
}

/// Sends the start-up interrupt: the processor begins in real mode at `page` * 4096.
pub(crate) fn send_startup(apic_id: u32, page: u8) {
    write(ICR, u64::from(apic_id) << 32 | 0x4600 | u64::from(page));
}
