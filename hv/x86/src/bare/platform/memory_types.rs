//! The memory type range registers of the machine, as firmware set them.

use core::arch::x86_64::__cpuid;

use x86_64::registers::model_specific::Msr;

/// **Source:** AMD manual volume 2, 7.7 and appendix A.
const CAPABILITIES: u32 = 0xfe;
const VARIABLE: u32 = 0x200;
const FIXED_64K: u32 = 0x250;
const FIXED_16K: core::ops::RangeInclusive<u32> = 0x258..=0x259;
const FIXED_4K: core::ops::RangeInclusive<u32> = 0x268..=0x26f;
const DEFAULT_TYPE: u32 = 0x2ff;

/// Leaf 1, EDX: the registers exist.
const HAS_REGISTERS: u32 = 1 << 12;
/// [`CAPABILITIES`]: fixed ranges exist; the lowest byte counts the variable ones.
const HAS_FIXED: u64 = 1 << 8;

/// Reads one of the registers, by its MSR, on the calling CPU; 0 for one that does not exist.
#[must_use]
pub fn read(msr: u32) -> u64 {
    if __cpuid(1).edx & HAS_REGISTERS == 0 {
        return 0;
    }
    // SAFETY: CPUID says that the registers exist, this one always among them; reading it changes nothing.
    let capabilities = unsafe { Msr::new(CAPABILITIES).read() };
    let variable_end = VARIABLE + 2 * (capabilities as u32 & 0xff);
    let is_fixed = msr == FIXED_64K || FIXED_16K.contains(&msr) || FIXED_4K.contains(&msr);
    let exists = match msr {
        DEFAULT_TYPE => true,
        _ if is_fixed => capabilities & HAS_FIXED != 0,
        _ => (VARIABLE..variable_end).contains(&msr),
    };
    if !exists {
        return 0;
    }
    // SAFETY: the capabilities say that this register exists; reading it changes nothing.
    unsafe { Msr::new(msr).read() }
}
