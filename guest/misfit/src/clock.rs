//! Time, roughly: by the time stamp counter and what the hypervisor says of its rate.

use xenolith_guest_kit::cpu;

/// The leaf that tells about the counter; its second part has the rate of the machine's, in kHz.
const TIME_LEAF: u32 = 0x4000_0003;
/// Where nothing is said.
const USUAL_KHZ: u32 = 1_000_000;

/// Busy-waits for this many seconds.
pub fn wait(seconds: u64) {
    wait_milliseconds(seconds.saturating_mul(1000));
}

/// Waits so in milliseconds.
pub fn wait_milliseconds(milliseconds: u64) {
    let khz = match cpu::cpuid(TIME_LEAF, 2).eax {
        0 => USUAL_KHZ,
        khz => khz,
    };
    let ticks = milliseconds.saturating_mul(khz.into());
    let begin = cpu::ticks();
    while cpu::ticks().wrapping_sub(begin) < ticks {
        core::hint::spin_loop();
    }
}
