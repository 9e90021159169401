//! The ACPI event registers PM1a and the power-management timer. PM1a's control register is the device model's.
//!
//! **Source:** ACPI specification 6.4, 4.8.3.1 and 4.8.3.3; `hvm/ioreq.h` for where they lie.

use xen_abi::hvm_save::HvmHwPmtimer;
use xenolith_hal::{IoSize, Time};

use crate::rate::Rate;

/// Where the registers lie, as HVM_PARAM_ACPI_IOPORTS_LOCATION chooses.
const BASES: [u16; 2] = [0x1f40, 0xb000];
const TIMER: u16 = 8;
const RATE: Rate = Rate(3_579_545);
/// The counter has 32 bits, as the FADT of Xen's firmware says; the highest one changes every 10 minutes.
const HALF: u32 = 31;

const TIMER_CHANGED: u16 = 1;
const GLOBAL_LOCK: u16 = 1 << 5;
const POWER_BUTTON: u16 = 1 << 8;
const SLEEP_BUTTON: u16 = 1 << 9;
const CLOCK_ALARM: u16 = 1 << 10;
/// The events that make a system control interrupt (SCI).
const EVENTS: u16 = TIMER_CHANGED | GLOBAL_LOCK | POWER_BUTTON | SLEEP_BUTTON | CLOCK_ALARM;

/// An event from outside the guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PowerEvent {
    PowerButton,
    SleepButton,
    /// The firmware released the global lock.
    GlobalLock,
}

/// The registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Power {
    base: u16,
    status: u16,
    enable: u16,
    /// The counter, and when it was that.
    count: u32,
    since: Time,
    /// How often the counter's highest bit changed since then, as far as that was handled.
    handled: u64,
}

impl Power {
    pub(super) const fn new(now: Time) -> Self {
        let [base, _] = BASES;
        Self { base, status: 0, enable: 0, count: 0, since: now, handled: 0 }
    }

    /// Moves the registers; false, with nothing done, for a location that does not exist.
    #[must_use]
    pub(super) fn set_location(&mut self, location: u64) -> bool {
        let base = usize::try_from(location).ok().and_then(|location| BASES.get(location));
        if let Some(base) = base {
            self.base = *base;
        }
        base.is_some()
    }

    /// Returns the location that was chosen.
    pub(super) fn location(&self) -> u64 {
        let [first, _] = BASES;
        (self.base != first).into()
    }

    /// Returns whether an access lies within PM1a's status and enable or within the timer.
    pub(super) fn has(&self, port: u16, size: IoSize) -> bool {
        let Some(offset) = port.checked_sub(self.base) else { return false };
        let end = u32::from(offset).saturating_add(size.bytes());
        end <= 4 || offset >= TIMER && end <= 12
    }

    /// Returns the ticks of the timer, of which the guest sees the lower 32 bits.
    fn ticks(&self, now: Time) -> u64 {
        RATE.ticks(now.since_ns(self.since)).saturating_add(self.count.into())
    }

    /// Returns how often the highest bit changed.
    fn changes(&self, now: Time) -> u64 {
        (self.ticks(now) >> HALF).saturating_sub(u64::from(self.count >> HALF))
    }

    /// Reads, after [`Power::advance`].
    pub(super) fn read(&self, port: u16, size: IoSize, now: Time) -> u32 {
        let offset = port.wrapping_sub(self.base);
        let (register, offset) = match offset {
            ..TIMER => (u32::from(self.enable) << 16 | u32::from(self.status), offset),
            _ => (self.ticks(now) as u32, offset.wrapping_sub(TIMER)),
        };
        register >> (offset & 3).saturating_mul(8) & size.mask()
    }

    /// Writes; the timer cannot be written.
    pub(super) fn write(&mut self, port: u16, size: IoSize, value: u32) {
        let offset = port.wrapping_sub(self.base);
        for (register, byte) in (offset..).zip(value.to_le_bytes()).take(size.bytes() as usize) {
            self.write_byte(register, byte.into());
        }
    }

    fn write_byte(&mut self, register: u16, byte: u16) {
        let shift = (register & 1) << 3;
        match register {
            // Ones clear.
            0 | 1 => self.status &= !(byte << shift),
            2 | 3 => self.enable = self.enable & !(0xff << shift) | byte << shift,
            _ => {}
        }
    }

    pub(super) fn note(&mut self, event: PowerEvent) {
        self.status |= match event {
            PowerEvent::PowerButton => POWER_BUTTON,
            PowerEvent::SleepButton => SLEEP_BUTTON,
            PowerEvent::GlobalLock => GLOBAL_LOCK,
        };
    }

    /// Notes a change of the timer's highest bit.
    pub(super) fn advance(&mut self, now: Time) {
        let changes = self.changes(now);
        if changes > core::mem::replace(&mut self.handled, changes) {
            self.status |= TIMER_CHANGED;
        }
    }

    /// Returns whether the system control interrupt is asserted.
    pub(super) const fn asserts(&self) -> bool {
        self.status & self.enable & EVENTS != 0
    }

    /// Returns when the timer interrupts next, after [`Power::advance`]; [`Time::NEVER`] if it does not, or does already.
    pub(super) fn deadline(&self) -> Time {
        if self.enable & !self.status & TIMER_CHANGED == 0 {
            return Time::NEVER;
        }
        let next = u64::from(self.count >> HALF).saturating_add(self.handled).saturating_add(1);
        RATE.after(self.since, next.saturating_mul(1 << HALF).saturating_sub(self.count.into()))
    }

    /// Builds the record.
    pub(super) fn save(&self, now: Time) -> HvmHwPmtimer {
        HvmHwPmtimer { tmr_val: self.ticks(now) as u32, pm1a_sts: self.status, pm1a_en: self.enable }
    }

    /// Takes over a record, which is not trusted. Where the registers lie is in no record.
    pub(super) fn load(&mut self, record: &HvmHwPmtimer, now: Time) {
        let (status, enable) = (record.pm1a_sts, record.pm1a_en);
        *self = Self { base: self.base, status, enable, count: record.tmr_val, since: now, handled: 0 };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn late() -> Power {
        let mut power = Power::new(Time(0));
        assert!(power.set_location(1));
        power
    }

    #[test]
    fn the_registers_lie_where_the_parameter_says() {
        let mut power = Power::new(Time(0));
        assert!(power.has(0x1f40, IoSize::Dword) && power.has(0x1f48, IoSize::Dword));
        assert!(!power.set_location(2) && !power.set_location(u64::MAX));
        assert!(power.set_location(1) && !power.has(0x1f40, IoSize::Word));
        for (port, size, is_own) in [
            (0xb000, IoSize::Dword, true),
            (0xb003, IoSize::Byte, true),
            (0xb002, IoSize::Dword, false),
            (0xb004, IoSize::Word, false),
            (0xb006, IoSize::Dword, false),
            (0xb008, IoSize::Dword, true),
            (0xb00b, IoSize::Byte, true),
            (0xb00b, IoSize::Word, false),
            (0xafff, IoSize::Word, false),
        ] {
            assert_eq!(power.has(port, size), is_own, "{port:#x} {size:?}");
        }
    }

    #[test]
    fn the_timer_counts_at_its_rate_and_is_read_by_parts() {
        let mut power = late();
        assert_eq!(power.read(0xb008, IoSize::Dword, Time(10 * SECOND)), 35_795_450);
        assert_eq!(power.read(0xb009, IoSize::Word, Time(10 * SECOND)), 35_795_450 >> 8 & 0xffff);
        power.write(0xb008, IoSize::Dword, 0);
        assert_eq!(power.read(0xb008, IoSize::Dword, Time(SECOND)), 3_579_545);
    }

    #[test]
    fn a_button_interrupts_when_enabled_until_it_is_cleared() {
        let mut power = late();
        power.note(PowerEvent::PowerButton);
        assert!(!power.asserts());
        power.write(0xb002, IoSize::Word, 0x0120);
        assert!(power.asserts());
        assert_eq!(power.read(0xb000, IoSize::Dword, Time(0)), 0x0120_0100);
        power.write(0xb000, IoSize::Byte, 0xff);
        assert!(power.asserts(), "the other byte");
        power.write(0xb001, IoSize::Byte, 1);
        assert!(!power.asserts());
        power.note(PowerEvent::GlobalLock);
        assert!(power.asserts());
        power.write(0xb000, IoSize::Dword, 0xffff);
        assert_eq!(power.read(0xb000, IoSize::Dword, Time(0)), 0, "a wide write does both");
        power.note(PowerEvent::SleepButton);
        assert_eq!(power.read(0xb000, IoSize::Word, Time(0)), 0x200);
    }

    #[test]
    fn the_events_are_timer_lock_buttons_and_alarm() {
        for event in 0..16 {
            let mut power = late();
            power.load(&HvmHwPmtimer { tmr_val: 0, pm1a_sts: 1 << event, pm1a_en: 1 << event }, Time(0));
            assert_eq!(power.asserts(), [0, 5, 8, 9, 10].contains(&event), "bit {event}");
        }
    }

    #[test]
    fn the_timer_interrupts_as_its_highest_bit_changes() {
        let mut power = late();
        assert_eq!(power.deadline(), Time::NEVER);
        power.write(0xb002, IoSize::Word, 1);
        let first = power.deadline();
        assert_eq!(first.0 / SECOND, 599);
        power.advance(Time(first.0 - 1));
        assert!(!power.asserts());
        power.advance(first);
        assert!(power.asserts() && power.deadline() == Time::NEVER);
        assert_eq!(power.read(0xb008, IoSize::Dword, first), 1 << 31);
        power.write(0xb000, IoSize::Word, 1);
        assert_eq!(power.deadline().0 / SECOND, 1199);
    }

    #[test]
    fn what_was_saved_goes_on_where_it_was() {
        let mut power = late();
        power.note(PowerEvent::PowerButton);
        power.write(0xb002, IoSize::Word, 0x101);
        power.advance(Time(900 * SECOND));
        let record = power.save(Time(900 * SECOND));
        assert_eq!((record.tmr_val, record.pm1a_sts, record.pm1a_en), (3_221_590_500, 0x101, 0x101));
        let mut loaded = late();
        loaded.load(&record, Time(SECOND));
        assert_eq!(loaded.save(Time(SECOND)), record);
        loaded.write(0xb000, IoSize::Word, 1);
        assert_eq!(loaded.deadline().0 / SECOND, 300);
    }

    proptest! {
        #[test]
        fn a_record_of_anything_gives_what_a_guest_could_have_set(
            tmr_val: u32, pm1a_sts: u16, pm1a_en: u16, now: u64, later: u64,
        ) {
            let record = HvmHwPmtimer { tmr_val, pm1a_sts, pm1a_en };
            let mut power = late();
            power.load(&record, Time(now >> 1));
            prop_assert_eq!(power.save(Time(now >> 1)), record);
            let later = Time(now >> 1).after_ns(later >> 2);
            power.advance(later);
            prop_assert!(power.deadline() > later);
        }
    }
}
