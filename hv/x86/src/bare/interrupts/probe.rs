//! Reads and writes of MSRs that a CPU may not have: a general protection fault of these two instructions is an answer.

use core::arch::naked_asm;

use super::InterruptFrame;

const GENERAL_PROTECTION: u64 = 13;

unsafe extern "C" {
    static probe_msr_read: u8;
    static probe_msr_write: u8;
    static probe_msr_refused: u8;
}

/// Reads an MSR into `into`; false, and nothing is written, where `answer` was asked to go on.
///
/// # Safety
/// The exception handler calls `answer`.
#[unsafe(naked)]
unsafe extern "sysv64" fn read_to(msr: u32, into: &mut u64) -> bool {
    naked_asm!(
        "mov ecx, edi",
        ".global probe_msr_read",
        "probe_msr_read:",
        "rdmsr",
        "shl rdx, 32",
        "or rax, rdx",
        "mov [rsi], rax",
        "mov eax, 1",
        "ret",
        ".global probe_msr_refused",
        "probe_msr_refused:",
        "xor eax, eax",
        "ret",
    )
}

/// Writes an MSR; false where `answer` was asked to go on.
///
/// # Safety
/// What the MSR does with this value breaks nothing that the hypervisor relies on, and the exception handler calls
/// `answer`.
#[unsafe(naked)]
unsafe extern "sysv64" fn write_from(msr: u32, value: u64) -> bool {
    naked_asm!(
        "mov ecx, edi",
        "mov rax, rsi",
        "mov rdx, rsi",
        "shr rdx, 32",
        ".global probe_msr_write",
        "probe_msr_write:",
        "wrmsr",
        "mov eax, 1",
        "ret",
    )
}

/// Reads an MSR; None if this CPU has none of this number.
pub fn read(msr: u32) -> Option<u64> {
    let mut value = 0;
    // SAFETY: reading an MSR that is there changes nothing, and for one that is not, `answer` goes on where the function
    // returns false.
    unsafe { read_to(msr, &mut value) }.then_some(value)
}

/// Writes an MSR; false if this CPU has none of this number, or refuses the value.
///
/// # Safety
/// What the MSR does with this value breaks nothing that the hypervisor relies on.
pub unsafe fn write(msr: u32, value: u64) -> bool {
    // SAFETY: promised by the caller; for a write that is refused, `answer` goes on where the function returns false.
    unsafe { write_from(msr, value) }
}

/// Lets an access that was refused return. Returns false for any other exception.
pub(super) fn answer(frame: &mut InterruptFrame) -> bool {
    let at = [&raw const probe_msr_read as u64, &raw const probe_msr_write as u64];
    let ours = frame.vector == GENERAL_PROTECTION && at.contains(&frame.rip);
    if ours {
        frame.rip = &raw const probe_msr_refused as u64;
    }
    ours
}
