//! The high-precision event timer (HPET) of an HVM guest: a main counter of 64 bits at 62.5 MHz and three timers, each of
//! which can be periodic.
//!
//! **Source:** IA-PC HPET specification 1.0a. The counter's rate is the one that Linux reports in HVM guests of Xen; the
//! routes and the answers to accesses that are not aligned are Xen's too.

mod saved;
#[cfg(test)]
mod tests;
mod timer;

use timer::{ENABLED, IS_32_BITS, LEVEL, PERIODIC, Start, TICK_NS, Timer};
use xen_abi::hvm_save::HPET_TIMER_NUM;
use xenolith_hal::{Gpa, Time};

use super::ticks::MissedTicks;

/// Where its registers lie.
pub const HPET_PAGE: Gpa = Gpa(0xfed0_0000);
/// How many bytes of registers there are.
pub const HPET_BYTES: u32 = 0x400;

pub(super) const TIMERS: usize = HPET_TIMER_NUM;
/// A bit for each pin of the I/O APIC that a timer can be routed to: 20 to 23.
const TIMER_ROUTES: u64 = 0x00f0_0000;
const TIMER_ROUTES_FIRST: u8 = 20;

/// From the high half: the period in femtoseconds, the vendor, legacy routes, 64 bits, the last timer, the revision.
const CAPABILITY: u64 = 0x00f4_2400_8086_a201;

const CONFIG_ENABLED: u64 = 1;
const CONFIG_LEGACY: u64 = 2;

const REGISTER_CAPABILITY: u32 = 0;
const REGISTER_CONFIG: u32 = 0x10;
const REGISTER_STATUS: u32 = 0x20;
const REGISTER_COUNTER: u32 = 0xf0;
const REGISTER_FIRST_TIMER: u32 = 0x100;
const TIMER_CONFIG: u32 = 0;
const TIMER_COMPARATOR: u32 = 8;

/// The state of the HPET.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Hpet {
    config: u64,
    /// Level interrupts that are asserted, a bit for each timer.
    status: u8,
    /// The main counter when it was started or stopped.
    base: u64,
    /// When it was started.
    since: Time,
    timers: [Timer; TIMERS],
}

/// An aligned access to part of a register of 8 bytes.
#[derive(Clone, Copy)]
struct Access {
    register: u32,
    shift: u32,
    /// As wide as the access, at bit 0.
    mask: u64,
}

impl Access {
    /// None for an access that crosses a register or lies outside.
    fn new(offset: u32, bytes: u32) -> Option<Self> {
        let is_sound = matches!(bytes, 1 | 2 | 4 | 8) && offset.is_multiple_of(bytes) && offset < HPET_BYTES;
        is_sound.then(|| Self { register: offset & !7, shift: (offset & 7) << 3, mask: ones(bytes) })
    }

    fn extract(self, register: u64) -> u64 {
        register >> self.shift & self.mask
    }

    fn merge(self, register: u64, value: u64) -> u64 {
        register & !(self.mask << self.shift) | (value & self.mask) << self.shift
    }
}

/// Returns a value of this many bytes with all bits set.
const fn ones(bytes: u32) -> u64 {
    match u64::MAX.checked_shr(64_u32.saturating_sub(bytes.saturating_mul(8))) {
        Some(ones) => ones,
        None => 0,
    }
}

/// Returns the timer of a register, and its place among the timer's.
fn timer_of(register: u32) -> Option<(usize, u32)> {
    let place = register.checked_sub(REGISTER_FIRST_TIMER)?;
    Some(((place >> 5) as usize, place & 0x18))
}

impl Hpet {
    const fn counts(&self) -> bool {
        self.config & CONFIG_ENABLED != 0
    }

    /// Returns whether its first two timers stand for the interval timer and the clock.
    pub(super) const fn is_legacy(&self) -> bool {
        self.config & (CONFIG_ENABLED | CONFIG_LEGACY) == CONFIG_ENABLED | CONFIG_LEGACY
    }

    const fn elapsed(&self, now: Time) -> u64 {
        if self.counts() { now.since_ns(self.since) / TICK_NS } else { 0 }
    }

    const fn counter(&self, now: Time) -> u64 {
        self.base.wrapping_add(self.elapsed(now))
    }

    /// Sets the main counter, which goes on from there if it counts.
    fn set_counter(&mut self, counter: u64, now: Time, why: Start) {
        (self.base, self.since) = (counter, now);
        let counts = self.counts();
        for timer in &mut self.timers {
            timer.due = None;
            if counts {
                timer.start(why, counter, 0);
            }
        }
    }

    /// Reads part of a register, after [`Hpet::advance`]. An access that is not aligned reads all ones.
    pub(super) fn read(&self, offset: u32, bytes: u32, now: Time) -> u64 {
        match Access::new(offset, bytes) {
            Some(access) => access.extract(self.read_register(access.register, now)),
            None => ones(bytes),
        }
    }

    fn read_register(&self, register: u32, now: Time) -> u64 {
        match register {
            REGISTER_CAPABILITY => CAPABILITY,
            REGISTER_CONFIG => self.config,
            REGISTER_STATUS => self.status.into(),
            REGISTER_COUNTER => self.counter(now),
            _ => self.read_timer(register).unwrap_or(0),
        }
    }

    fn read_timer(&self, register: u32) -> Option<u64> {
        let (number, place) = timer_of(register)?;
        let timer = self.timers.get(number)?;
        match place {
            TIMER_CONFIG => Some(timer.config),
            TIMER_COMPARATOR => Some(timer.comparator),
            _ => None,
        }
    }

    /// Writes part of a register, after [`Hpet::advance`]. An access that is not aligned is dropped.
    pub(super) fn write(&mut self, offset: u32, bytes: u32, value: u64, now: Time) {
        let Some(access) = Access::new(offset, bytes) else { return };
        match access.register {
            REGISTER_CONFIG => self.configure(access.merge(self.config, value), now),
            // Ones clear; what is not written is no one.
            REGISTER_STATUS => self.status &= !(access.merge(0, value) as u8),
            REGISTER_COUNTER => self.set_counter(access.merge(self.counter(now), value), now, Start::Counting),
            register => self.write_timer(register, access, value, now),
        }
    }

    fn configure(&mut self, value: u64, now: Time) {
        let counter = self.counter(now);
        let counted = self.counts();
        self.config = value & (CONFIG_ENABLED | CONFIG_LEGACY);
        if self.counts() != counted {
            self.set_counter(counter, now, Start::Counting);
        }
    }

    fn write_timer(&mut self, register: u32, access: Access, value: u64, now: Time) {
        let (counts, counter, elapsed) = (self.counts(), self.counter(now), self.elapsed(now));
        let Some((number, place)) = timer_of(register) else { return };
        let Some(timer) = self.timers.get_mut(number) else { return };
        let why = match place {
            TIMER_CONFIG => {
                let before = timer.config;
                timer.configure(access.merge(before, value));
                if !timer.has(LEVEL) {
                    self.status &= !(1 << number);
                }
                ((before ^ timer.config) & (PERIODIC | IS_32_BITS) != 0).then_some(Start::Counting)
            }
            TIMER_COMPARATOR => {
                let before = timer.comparator;
                timer.write_comparator(|register| access.merge(register, value));
                // A new period alone counts from the next time on.
                (!timer.has(PERIODIC) || timer.comparator != before).then_some(Start::Written)
            }
            _ => None,
        };
        if let Some(why) = why.filter(|_| counts) {
            timer.start(why, counter, elapsed);
        }
    }

    /// Handles what is due; returns a bit for each timer whose line is to be pulsed.
    #[must_use]
    pub(super) fn advance(&mut self, now: Time, missed: MissedTicks) -> u8 {
        if !self.counts() {
            return 0;
        }
        let elapsed = self.elapsed(now);
        let (mut pulses, mut bit) = (0, 1);
        for timer in &mut self.timers {
            let count = timer.fire(elapsed);
            if count > 0 && timer.has(LEVEL) {
                self.status |= bit;
            }
            if timer.pass(count, missed) {
                pulses |= bit;
            }
            bit <<= 1;
        }
        pulses
    }

    /// Returns the line of a timer: that of the interval timer or the clock if it stands for one, else a pin of the I/O
    /// APIC from 20 on.
    #[inline]
    pub(super) fn line(&self, timer: usize) -> u8 {
        match timer {
            0 if self.is_legacy() => 0,
            1 if self.is_legacy() => 8,
            _ => self.timers.get(timer).map_or(TIMER_ROUTES_FIRST, Timer::route),
        }
    }

    /// Returns whether a timer asserts its line as a level.
    pub(super) fn asserts(&self, timer: usize) -> bool {
        let is_on = self.timers.get(timer).is_some_and(|timer| timer.has(LEVEL) && timer.has(ENABLED));
        is_on && self.counts() && self.status >> timer & 1 != 0
    }

    /// Notes that the guest took a timer's interrupt; returns whether its line is to be pulsed again.
    #[must_use]
    pub(super) fn take(&mut self, timer: usize) -> bool {
        self.timers.get_mut(timer).is_some_and(|timer| timer.ticks.take())
    }

    pub(super) fn waits(&self, timer: usize) -> bool {
        self.timers.get(timer).is_some_and(|timer| timer.ticks.waits())
    }

    /// Returns when a timer interrupts next, after [`Hpet::advance`]; [`Time::NEVER`] if it does not.
    pub(super) fn deadline(&self, number: usize) -> Time {
        let timer = self.timers.get(number).filter(|timer| timer.has(ENABLED) && !self.asserts(number));
        match timer.and_then(|timer| timer.due) {
            Some(due) if self.counts() => self.since.after_ns(due.saturating_mul(TICK_NS)),
            _ => Time::NEVER,
        }
    }
}
