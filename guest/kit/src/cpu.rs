//! Single instructions of the processor, as functions. Instructions that exit are aligned, so that no hypervisor that
//! fetches the instruction has to look at two pages.

use core::arch::asm;

/// The four registers that CPUID answers with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cpuid {
    pub eax: u32,
    pub ebx: u32,
    pub ecx: u32,
    pub edx: u32,
}

/// Returns what CPUID answers for a leaf and a sub-leaf.
#[must_use]
pub fn cpuid(leaf: u32, sub_leaf: u32) -> Cpuid {
    let (eax, rbx, ecx, edx): (u32, u64, u32, u32);
    // SAFETY: every processor with long mode has the instruction. The compiler keeps RBX for itself, so it is put back.
    unsafe {
        asm!("mov {rbx}, rbx", ".p2align 5", "cpuid", "xchg {rbx}, rbx", rbx = out(reg) rbx,
            inlateout("eax") leaf => eax, inlateout("ecx") sub_leaf => ecx, lateout("edx") edx, options(nomem, nostack))
    };
    Cpuid { eax, ebx: rbx as u32, ecx, edx }
}

/// Reads a model-specific register. Faults where there is none: call it within [`crate::catch`].
#[must_use]
pub fn read_msr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reading a register changes no memory, and a fault is caught or ends the kernel.
    unsafe {
        asm!(".p2align 5", "rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nomem, nostack))
    };
    u64::from(high) << 32 | u64::from(low)
}

/// Writes a model-specific register. Faults on a bad register or value: call it within [`crate::catch`].
///
/// # Safety
/// The value must leave this kernel's addressing, stacks and segments as Rust expects them.
pub unsafe fn write_msr(register: u32, value: u64) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the caller answers for the value.
    unsafe { asm!(".p2align 5", "wrmsr", in("ecx") register, in("eax") low, in("edx") high, options(nostack)) };
}

/// Returns the time-stamp counter.
#[must_use]
pub fn ticks() -> u64 {
    // SAFETY: reading the counter has no effect on memory.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Reads a byte from an I/O port.
#[must_use]
pub fn in8(port: u16) -> u8 {
    let value: u8;
    // SAFETY: a port read touches no memory of this kernel; no device is programmed to.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack)) };
    value
}

/// Reads 16 bits from an I/O port.
#[must_use]
pub fn in16(port: u16) -> u16 {
    let value: u16;
    // SAFETY: as for a byte.
    unsafe { asm!("in ax, dx", in("dx") port, out("ax") value, options(nomem, nostack)) };
    value
}

/// Reads 32 bits from an I/O port.
#[must_use]
pub fn in32(port: u16) -> u32 {
    let value: u32;
    // SAFETY: as for a byte.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack)) };
    value
}

/// Writes a byte to an I/O port.
///
/// # Safety
/// The device behind the port must not be made to write to memory.
pub unsafe fn out8(port: u16, value: u8) {
    // SAFETY: the caller answers for the device.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack)) };
}

/// Writes 32 bits to an I/O port.
///
/// # Safety
/// The device behind the port must not be made to write to memory.
pub unsafe fn out32(port: u16, value: u32) {
    // SAFETY: the caller answers for the device.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack)) };
}

/// The size of what one step of INS or OUTS moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    Byte,
    Word,
    DoubleWord,
}

/// Where INS and OUTS go from one step to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    Up,
    Down,
}

/// Defines a function that repeats an instruction of string I/O: `$name`, with the address in `$register`.
macro_rules! string_io {
    ($name:ident, $register:tt, $byte:literal, $word:literal, $double_word:literal, $doc:literal) => {
        #[doc = $doc]
        ///
        /// Returns the address and the count as they are afterwards.
        ///
        /// # Safety
        /// What is written must be of a kind that Rust knows only as volatile, and the device must not write to memory.
        pub unsafe fn $name(port: u16, width: Width, at: u64, count: u64, direction: Direction) -> (u64, u64) {
            let (mut end, mut left) = (at, count);
            if direction == Direction::Down {
                // SAFETY: undone below, and at the entry of traps.
                unsafe { asm!("std", options(nostack)) };
            }
            // SAFETY: the caller answers for memory and device.
            unsafe {
                match width {
                    Width::Byte => {
                        asm!($byte, in("dx") port, inout($register) end, inout("rcx") left, options(nostack, preserves_flags));
                    }
                    Width::Word => {
                        asm!($word, in("dx") port, inout($register) end, inout("rcx") left, options(nostack, preserves_flags));
                    }
                    Width::DoubleWord => {
                        asm!($double_word, in("dx") port, inout($register) end, inout("rcx") left, options(nostack, preserves_flags));
                    }
                }
                asm!("cld", options(nostack));
            }
            (end, left)
        }
    };
}

string_io!(ins, "rdi", "rep insb", "rep insw", "rep insd", "Reads `count` times from a port into memory at `at`.");
string_io!(outs, "rsi", "rep outsb", "rep outsw", "rep outsd", "Writes `count` times from memory at `at` to a port.");

/// Lets interrupts in.
pub fn interrupts_on() {
    // SAFETY: every vector has a handler that keeps all registers.
    unsafe { asm!("sti", options(nostack)) };
}

/// Keeps interrupts out.
pub fn interrupts_off() {
    // SAFETY: affects only when interrupts come.
    unsafe { asm!("cli", options(nostack)) };
}

/// Lets waiting interrupts in for a moment.
pub fn let_interrupts_in() {
    // SAFETY: every vector has a handler that keeps all registers.
    unsafe { asm!("sti", "pause", "nop", "cli", options(nostack)) };
}

/// Lets interrupts in and sleeps until one has come, without a gap between the two.
pub fn sleep_until_interrupt() {
    // SAFETY: every vector has a handler that keeps all registers.
    unsafe { asm!("sti", "hlt", "cli", options(nostack)) };
}

/// Stops this processor for good.
pub fn stop() -> ! {
    loop {
        // SAFETY: nothing is awaited any more.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// Returns the address that the last page fault complained of.
#[must_use]
pub fn fault_address() -> u64 {
    let value: u64;
    // SAFETY: reading a control register has no effect.
    unsafe { asm!("mov {}, cr2", out(reg) value, options(nomem, nostack)) };
    value
}

/// Forgets the translation of one address.
pub fn forget_translation(address: u64) {
    // SAFETY: dropping a cached translation is always sound.
    unsafe { asm!("invlpg [{}]", in(reg) address, options(nostack)) };
}
