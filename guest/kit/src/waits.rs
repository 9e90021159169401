//! How long test and benchmark kernels wait, in ticks of a time-stamp counter that makes a thousand million a second.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::cpu;

/// Ample time for something that should come: seconds.
pub const LONG: u64 = 6_000_000_000;
/// Enough to see that something does not come: some hundredths of a second.
pub const SHORT: u64 = 60_000_000;

/// The rate for which the bounds are written, in kHz.
const WRITTEN_FOR: u64 = 1_000_000;

/// Where the hypervisor says the counter's rate in kHz, in ECX.
const TIME_LEAF: u32 = 0x4000_0003;

/// Returns `bound` in ticks of this machine's counter, where that is slower than the bound was written for: a machine
/// whose counter steps once an executed instruction would spend minutes on seconds.
pub fn at_this_rate(bound: u64) -> u64 {
    static KHZ: AtomicU64 = AtomicU64::new(0);
    let mut khz = KHZ.load(Ordering::Relaxed);
    if khz == 0 {
        khz = match cpu::cpuid(TIME_LEAF, 0).ecx {
            0 => WRITTEN_FOR,
            told => u64::from(told).min(WRITTEN_FOR),
        };
        KHZ.store(khz, Ordering::Relaxed);
    }
    bound / WRITTEN_FOR * khz
}
