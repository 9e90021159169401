//! A handler of interrupts that does nothing but note when it was reached: for measuring how long they are on the way.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

use crate::traps;

/// What the handler noted of the last interrupt. One processor at a time uses it.
#[repr(C)]
struct Stamps {
    /// The time-stamp counter near the handler's first instruction.
    reached: AtomicU64,
    /// The counter before and after the write that ends the interrupt.
    ending: AtomicU64,
    ended: AtomicU64,
    count: AtomicU64,
}

unsafe extern "C" {
    static kit_stamps: Stamps;
    static kit_stamp: u8;
}

global_asm!(
    r#"
    .text
    .balign 16
    .global kit_stamp
kit_stamp:
    push rdx
    push rax
    rdtsc
    mov dword ptr [kit_stamps], eax
    mov dword ptr [kit_stamps + 4], edx
    push rcx
    rdtsc
    mov dword ptr [kit_stamps + 8], eax
    mov dword ptr [kit_stamps + 12], edx
    mov ecx, 0x80b                  // end of interrupt
    xor eax, eax
    xor edx, edx
    wrmsr
    rdtsc
    mov dword ptr [kit_stamps + 16], eax
    mov dword ptr [kit_stamps + 20], edx
    inc qword ptr [kit_stamps + 24]
    pop rcx
    pop rax
    pop rdx
    iretq

    .section .bss.kit_stamps, "aw", @nobits
    .balign 64
    .global kit_stamps
kit_stamps:
    .skip 32
    .text
"#
);

/// Instructions of the handler up to where it reads the counter first, that one included.
pub const BEFORE_REACHED: u64 = 3;
/// Instructions from the counter's reading before the end of the interrupt to the one after it, without the end itself.
pub const AROUND_END: u64 = 6;

fn stamps() -> &'static Stamps {
    // SAFETY: the symbol is 32 zeroed bytes, aligned, that are changed by whole words only.
    unsafe { &kit_stamps }
}

/// Lets this handler serve `vector` (32 and above), which the local APIC raises, from now on and on every processor.
pub fn serve(vector: u8) {
    // SAFETY: the handler lies in this kernel's image, which is below 4 GiB, keeps all registers and ends with `iretq`.
    unsafe { traps::lead(vector, &raw const kit_stamp as u64) };
}

/// Returns how many interrupts it has served.
#[must_use]
pub fn count() -> u64 {
    stamps().count.load(Ordering::Acquire)
}

/// Returns when the last one reached its first instruction, by the time-stamp counter.
#[must_use]
pub fn reached() -> u64 {
    stamps().reached.load(Ordering::Acquire).wrapping_sub(BEFORE_REACHED)
}

/// Returns how long the end of the last one took, in ticks.
#[must_use]
pub fn end_took() -> u64 {
    let took = stamps().ended.load(Ordering::Acquire).wrapping_sub(stamps().ending.load(Ordering::Acquire));
    took.wrapping_sub(AROUND_END)
}
