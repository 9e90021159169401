//! Code that writes control registers, for an emulated CPU, which leaves the checks of the values to the hypervisor.

use fastrand::Rng;
use xenolith_hal::{CpuState, Gfn, Gpa, PageWords, Registers};
use xenolith_x86::guest::svm::Features;

/// Where it lies.
pub const CODE: Gfn = Gfn(0x2000);

/// Instructions, each with the operand that is its register.
const INSTRUCTIONS: [&[u8]; 10] = [
    &[0x0f, 0x22, 0xc1],       // mov cr0, ecx
    &[0x0f, 0x22, 0xc2],       // mov cr0, edx
    &[0x0f, 0x22, 0xe2],       // mov cr4, edx
    &[0x66, 0x0f, 0x22, 0xe3], // mov cr4, ebx
    &[0x0f, 0x06],             // clts
    &[0x0f, 0x01, 0xf2],       // lmsw dx
    &[0x2e, 0x0f, 0x22, 0xc3], // mov cr0, ebx
    &[0x0f, 0x22, 0xe3],       // mov cr4, ebx
    &[0x44, 0x0f, 0x22, 0xc1], // mov cr8, rcx, in long mode alone
    &[0xf0, 0x0f, 0x22, 0xc3], // mov cr8, ebx
];
/// Bytes from one to the next.
const STEP: u64 = 8;

/// Puts the instructions into a page.
pub fn write_code(page: &PageWords) {
    for (bytes, at) in INSTRUCTIONS.iter().zip((0..).step_by(STEP as usize)) {
        assert!(page.write_bytes(at, bytes));
    }
}

/// Returns where one of them lies, and gives its operands values that might be meant.
pub fn any(dice: &mut Rng, registers: &mut Registers) -> u64 {
    let bits = [0, 1, 3, 4, 5, 16, 18, 29, 30, 31, 32, 17, 20];
    let mut value = || {
        let mut value: u64 = if dice.bool() { 0x11 } else { 0x20 };
        for _ in 0..dice.u8(..4) {
            value ^= 1 << dice.choice(bits).unwrap_or(0);
        }
        value
    };
    (registers.rcx, registers.rdx, registers.rbx) = (value(), value(), value());
    Gpa::from_gfn(CODE).0 + STEP * dice.u64(..INSTRUCTIONS.len() as u64)
}

/// Returns the length of the instruction at an address.
pub fn length(at: u64) -> u64 {
    INSTRUCTIONS.get((at & 0xfff) as usize / STEP as usize).map_or(0, |bytes| bytes.len() as u64)
}

/// Returns whether the instruction at an address writes CR8, which no translation hangs on.
pub fn writes_cr8(at: u64) -> bool {
    (at & 0xfff) / STEP >= INSTRUCTIONS.len() as u64 - 2
}

/// Checks that a CPU can be in this state.
///
/// **Source:** AMD manual volume 2, 15.5.1 (consistency checks).
pub fn check(state: &CpuState, features: &Features) {
    let bit = |word: u64, bit: u32| word >> bit & 1 != 0;
    let (paging, protected) = (bit(state.cr0, 31), bit(state.cr0, 0));
    assert!(!paging || protected, "paging without protection: {state:x?}");
    assert!(!bit(state.cr0, 29) || bit(state.cr0, 30), "NW without CD: {state:x?}");
    assert!(bit(state.cr0, 4) && state.cr0 >> 32 == 0, "CR0: {state:x?}");
    assert_eq!(state.cr4 & !features.cr4, 0, "CR4 has a bit that the CPU has not: {state:x?}");
    let long = bit(state.efer, 8) && paging;
    assert_eq!(bit(state.efer, 10), long, "LMA: {state:x?}");
    assert!(!long || bit(state.cr4, 5), "long mode without PAE: {state:x?}");
}
