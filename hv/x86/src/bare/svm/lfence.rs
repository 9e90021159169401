//! LFENCE made serialising on each CPU, before guests are told that it is.

use core::sync::atomic::{AtomicBool, Ordering};

use crate::bare::base::cpu_area;
use crate::bare::interrupts::probe;
use crate::plain::lfence::Lfence;

const DE_CFG: u32 = 0xc001_1029;
const LFENCE_SERIALIZES: u64 = 1 << 1;

/// Set by the first CPU on which LFENCE does not serialise.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Makes LFENCE serialising on the calling CPU, or notes and logs that it is not. Each CPU calls it when it comes up.
pub(super) fn set_up_this_cpu(kind: Lfence) {
    if kind == Lfence::Always || is_set() {
        return;
    }
    if let Some(value) = probe::read(DE_CFG) {
        // SAFETY: the bit slows LFENCE down, and changes nothing else.
        unsafe { probe::write(DE_CFG, value | LFENCE_SERIALIZES) };
    }
    // An emulator may take the write and drop it.
    if !is_set() && !FAILED.swap(true, Ordering::AcqRel) {
        let cpu = cpu_area::this_index().as_u32();
        crate::log!(Warning, "CPU{cpu}: LFENCE cannot be made serialising, so guests are told that it is not");
    }
}

fn is_set() -> bool {
    probe::read(DE_CFG).is_some_and(|value| value & LFENCE_SERIALIZES != 0)
}

/// Returns whether LFENCE serialises on all CPUs that came up.
#[must_use]
pub fn lfence_serializes() -> bool {
    !FAILED.load(Ordering::Acquire)
}
