//! Time since boot, from the time stamp counter.

use core::arch::x86_64::_rdtsc;
use core::sync::atomic::{AtomicU64, Ordering};

/// Nanoseconds per tick, in units of 2^-32; 0 until the counter has been calibrated.
static SCALE: AtomicU64 = AtomicU64::new(0);
/// The counter at system time 0.
static START: AtomicU64 = AtomicU64::new(0);
static KHZ: AtomicU64 = AtomicU64::new(0);

const NANOSECONDS_PER_MILLISECOND: u128 = 1_000_000;

/// Returns the time stamp counter.
#[must_use]
#[inline]
pub fn ticks() -> u64 {
    // SAFETY: the instruction reads a counter and nothing else; the hypervisor runs where it is allowed.
    unsafe { _rdtsc() }
}

/// Sets the start of system time to now.
pub fn start() {
    START.store(ticks(), Ordering::Relaxed);
}

/// Sets the rate of the counter.
pub fn set_khz(khz: u64) {
    let Some(scale) = (NANOSECONDS_PER_MILLISECOND << 32).checked_div(khz.into()) else { return };
    KHZ.store(khz, Ordering::Relaxed);
    SCALE.store(u64::try_from(scale).unwrap_or(u64::MAX), Ordering::Release);
}

/// Returns the rate in kHz, 0 until it is known.
#[must_use]
pub fn khz() -> u64 {
    KHZ.load(Ordering::Relaxed)
}

/// Returns the system time at a reading of the counter, in nanoseconds; 0 until the counter has been calibrated.
#[must_use]
#[inline]
pub fn nanoseconds_at(ticks: u64) -> u64 {
    let delta = u128::from(ticks.saturating_sub(START.load(Ordering::Relaxed)));
    // 64 bits of ticks at 1 kHz or more stay below 2^128 when scaled.
    (delta.wrapping_mul(SCALE.load(Ordering::Acquire).into()) >> 32) as u64
}

/// Returns nanoseconds since boot.
#[must_use]
#[inline]
pub fn nanoseconds() -> u64 {
    nanoseconds_at(ticks())
}

/// Returns the reading of the counter at a system time; `u64::MAX` for a time that no counter will reach.
#[must_use]
pub fn ticks_at(nanoseconds: u64) -> u64 {
    let ticks = u128::from(nanoseconds).wrapping_mul(khz().into()) / NANOSECONDS_PER_MILLISECOND;
    u64::try_from(ticks).map_or(u64::MAX, |ticks| ticks.saturating_add(START.load(Ordering::Relaxed)))
}

/// Busy-waits. Before the counter has been calibrated it is taken for one of 4 GHz: rather too long than too short.
pub fn wait_microseconds(microseconds: u64) {
    let khz = match khz() {
        0 => 4_000_000,
        khz => khz,
    };
    let end = ticks().saturating_add(microseconds.saturating_mul(khz) / 1000);
    while ticks() < end {
        core::hint::spin_loop();
    }
}
