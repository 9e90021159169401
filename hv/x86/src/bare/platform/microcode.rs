//! The level of the CPU's microcode.

use x86_64::registers::model_specific::Msr;

/// **Source:** AMD manual volume 2, appendix A, PATCH_LEVEL; Intel manual volume 4, IA32_BIOS_SIGN_ID.
const PATCH_LEVEL: u32 = 0x8b;

/// Reads the MSR on the calling CPU.
#[must_use]
pub fn level() -> u64 {
    // SAFETY: every CPU with SVM or VMX has this MSR, and reading it changes nothing.
    unsafe { Msr::new(PATCH_LEVEL).read() }
}
