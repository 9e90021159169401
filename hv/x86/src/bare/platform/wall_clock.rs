//! Date and time of day, from the real-time clock (RTC).
//!
//! **Source:** the MC146818 data sheet.

use core::sync::atomic::{AtomicU64, Ordering};

use x86_64::instructions::port::{PortReadOnly, PortWriteOnly};

use crate::bare::base::clock;
use crate::plain::calendar::days;

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;
const STATUS_A: u8 = 0x0a;
const STATUS_B: u8 = 0x0b;
const UPDATING: u8 = 0x80;
const BINARY: u8 = 0x04;
const HOURS_24: u8 = 0x02;
const PM: u8 = 0x80;
const SECONDS_PER_DAY: u64 = 86_400;
const NANOSECONDS_PER_SECOND: u64 = 1_000_000_000;

/// Nanoseconds since 1970 at system time 0.
static AT_BOOT: AtomicU64 = AtomicU64::new(0);

/// What the clock holds: seconds, minutes, hours, day, month, year of the century.
type Reading = [u8; 6];
const REGISTERS: Reading = [0, 2, 4, 7, 8, 9];

fn read(register: u8) -> u8 {
    // SAFETY: choosing a register and reading it has no other effect; bit 7 of the index stays clear, which leaves
    // NMIs on. Only the boot CPU does this, while no guest runs.
    unsafe {
        PortWriteOnly::<u8>::new(INDEX).write(register);
        PortReadOnly::<u8>::new(DATA).read()
    }
}

/// Reads the clock twice until both readings agree, so that no update came between.
fn reading() -> Option<Reading> {
    let once = || {
        let idle = (0..100_000).any(|_| read(STATUS_A) & UPDATING == 0);
        idle.then(|| REGISTERS.map(read))
    };
    (0..8).find_map(|_| once().filter(|first| once() == Some(*first)))
}

/// Decodes a number of the clock, BCD unless it says otherwise.
const fn decoded(value: u8, mode: u8) -> u64 {
    if mode & BINARY != 0 { value as u64 } else { (value >> 4) as u64 * 10 + (value & 0xf) as u64 }
}

/// Returns seconds since 1970; None if the clock has no valid date.
fn seconds_now() -> Option<u64> {
    let [seconds, minutes, hours, day, month, year] = reading()?;
    let mode = read(STATUS_B);
    let afternoon = mode & HOURS_24 == 0 && hours & PM != 0;
    let hour = decoded(if mode & HOURS_24 == 0 { hours & !PM } else { hours }, mode);
    let hour = if mode & HOURS_24 == 0 { hour % 12 + if afternoon { 12 } else { 0 } } else { hour };
    let [seconds, minutes, day, month, year] = [seconds, minutes, day, month, year].map(|value| decoded(value, mode));
    let sound = seconds < 60 && minutes < 60 && hour < 24 && (1..=31).contains(&day) && (1..=12).contains(&month);
    (sound && year < 100).then(|| days(year, month, day) * SECONDS_PER_DAY + hour * 3600 + minutes * 60 + seconds)
}

/// Reads the clock once and sets the time at boot.
pub fn start() {
    let Some(seconds) = seconds_now() else {
        crate::log!(Warning, "the battery-backed clock gives no date: the year is 1970");
        return;
    };
    let now = seconds.saturating_mul(NANOSECONDS_PER_SECOND);
    AT_BOOT.store(now.saturating_sub(clock::nanoseconds()), Ordering::Relaxed);
}

/// Returns seconds and nanoseconds since 1970 at system time 0.
#[must_use]
pub fn at_boot() -> (u64, u32) {
    let nanoseconds = AT_BOOT.load(Ordering::Relaxed);
    (nanoseconds / NANOSECONDS_PER_SECOND, (nanoseconds % NANOSECONDS_PER_SECOND) as u32)
}
