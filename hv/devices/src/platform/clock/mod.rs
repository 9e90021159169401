//! The real-time clock (MC146818) of an HVM guest: registers 0 to 13, and interrupt request 8. The memory behind them is
//! the device model's.
//!
//! The time is the wall clock's, which is passed in, and an offset, so it never drifts. An interrupt comes whether or not
//! the guest read register C after the one before, as the WAET table tells guests of Xen. **Source:** Motorola MC146818A
//! data sheet.

mod alarm;
#[cfg(test)]
mod tests;

use alarm::Alarm;
use xen_abi::hvm_save::HvmHwRtc;
use xenolith_hal::{Time, WallClock};

use super::moment::Moment;
use super::ticks::{MissedTicks, Ticks};
use crate::ports::Rtc;
use crate::ports::rtc::{
    B_24_HOURS, B_SET, D_VALID, DAY, Date, Format, HOURS, MINUTES, MONTH, SECONDS, STATUS_A, STATUS_A_AT_RESET,
    STATUS_B, STATUS_C, STATUS_D, WEEKDAY, YEAR, seconds,
};
use crate::rate::Rate;

const REGISTERS: usize = 14;
const ALARM_SECONDS: u8 = 1;
const ALARM_MINUTES: u8 = 3;
const ALARM_HOURS: u8 = 5;

/// An update is in progress, or begins within [`UPDATE_NOTICE_NS`].
const A_UPDATING: u8 = 0x80;
const UPDATE_NOTICE_NS: u64 = 244_000;
/// The divider, and its value for a crystal of 32768 Hz: with others the clock's interrupts stand still.
const A_DIVIDER: u8 = 0x70;
const A_DIVIDER_RUNS: u8 = 0x20;

/// Flags of register C; the enable bits of register B are the same.
const PERIODIC: u8 = 0x40;
const ALARM: u8 = 0x20;
const UPDATE: u8 = 0x10;
const EVENTS: u8 = PERIODIC | ALARM | UPDATE;
/// An event that is enabled is flagged.
const C_INTERRUPT: u8 = 0x80;

const CRYSTAL: Rate = Rate(32_768);
const SECONDS_PER_DAY: i64 = 86_400;
/// The most seconds by which it can be ahead or behind: more than 30,000 years.
const FARTHEST: i64 = 1 << 40;
/// Registers hold two digits of the year.
const CENTURY: i64 = 2000;

/// What a write did beside changing registers.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Written {
    /// The line is to be pulsed.
    pub(super) pulse: bool,
    /// Seconds by which the guest set the clock forward.
    pub(super) seconds: i64,
}

/// Ports 0x70 and 0x71.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Clock {
    /// The registers; the time in them is that of the last look while the clock runs.
    registers: [u8; REGISTERS],
    index: u8,
    /// Seconds that it is ahead of UTC.
    offset: i64,
    /// The second, by this clock, whose update was handled last.
    updated: i64,
    /// When the periodic interrupt's counter began, and how many interrupts since then have been handled.
    since: Time,
    handled: u64,
    ticks: Ticks,
}

impl Clock {
    pub(super) fn new(now: Moment) -> Self {
        let mut clock = Self {
            registers: [0; REGISTERS],
            index: 0,
            offset: 0,
            updated: seconds(now.wall),
            since: now.time,
            handled: 0,
            ticks: Ticks::default(),
        };
        for (register, value) in [(STATUS_A, STATUS_A_AT_RESET), (STATUS_B, B_24_HOURS), (STATUS_D, D_VALID)] {
            clock.set(register, value);
        }
        clock
    }

    pub(super) const fn has(port: u16) -> bool {
        Rtc::has(port)
    }

    /// Returns whether the register that is selected belongs to the clock, not to the memory behind it.
    pub(super) const fn is_selected(&self) -> bool {
        (self.index as usize) < REGISTERS
    }

    fn get(&self, register: u8) -> u8 {
        self.registers.get(usize::from(register)).copied().unwrap_or(0)
    }

    fn set(&mut self, register: u8, value: u8) {
        if let Some(place) = self.registers.get_mut(usize::from(register)) {
            *place = value;
        }
    }

    fn enabled(&self, event: u8) -> bool {
        self.get(STATUS_B) & event != 0
    }

    fn second(&self, wall: WallClock) -> i64 {
        seconds(wall).saturating_add(self.offset)
    }

    fn is_being_set(&self) -> bool {
        self.get(STATUS_B) & B_SET != 0
    }

    fn divider_runs(&self) -> bool {
        self.get(STATUS_A) & A_DIVIDER == A_DIVIDER_RUNS
    }

    /// Returns whether the time is updated each second.
    fn updates(&self) -> bool {
        self.divider_runs() && !self.is_being_set()
    }

    fn format(&self) -> Format {
        Format(self.get(STATUS_B))
    }

    fn alarm(&self) -> Alarm {
        Alarm::new(self.format(), self.get(ALARM_HOURS), self.get(ALARM_MINUTES), self.get(ALARM_SECONDS))
    }

    /// Returns the period of the periodic interrupt in ticks of the crystal; None if it is off.
    fn period(&self) -> Option<u64> {
        let rate = match self.get(STATUS_A) & 0xf {
            0 => return None,
            // The two lowest are those of 8 and 9.
            rate @ (1 | 2) => rate.saturating_add(7),
            rate => rate,
        };
        self.divider_runs().then(|| 1 << rate.saturating_sub(1))
    }

    /// Brings the registers of the time up to date, unless they are being set.
    fn refresh(&mut self, wall: WallClock) {
        if self.is_being_set() {
            return;
        }
        let (date, format) = (Date::from_seconds(self.second(wall)), self.format());
        for (register, value) in [
            (SECONDS, format.code(date.second)),
            (MINUTES, format.code(date.minute)),
            (HOURS, format.code_hour(date.hour)),
            (WEEKDAY, format.code(date.weekday())),
            (DAY, format.code(date.day)),
            (MONTH, format.code(date.month)),
            (YEAR, format.code(date.year.rem_euclid(100) as u8)),
        ] {
            self.set(register, value);
        }
    }

    /// Sets the time to what the registers say; returns the seconds by which that is later.
    fn set_time(&mut self, wall: WallClock) -> i64 {
        let format = self.format();
        let decode = |register: u8| format.decode(self.get(register));
        let date = Date {
            year: CENTURY.saturating_add(decode(YEAR).min(99).into()),
            month: decode(MONTH).clamp(1, 12),
            day: decode(DAY).clamp(1, 31),
            hour: format.decode_hour(self.get(HOURS)).min(23),
            minute: decode(MINUTES).min(59),
            second: decode(SECONDS).min(59),
        };
        let change = date.to_seconds().saturating_sub(self.second(wall));
        self.set_offset(self.offset.saturating_add(change), wall);
        change
    }

    pub(super) const fn offset(&self) -> i64 {
        self.offset
    }

    /// Sets the seconds by which the clock is ahead of UTC, at most [`FARTHEST`]. No alarm is missed or made up for.
    pub(super) fn set_offset(&mut self, offset: i64, wall: WallClock) {
        self.offset = offset.clamp(-FARTHEST, FARTHEST);
        self.updated = self.second(wall);
    }

    /// Reads a port, after [`Clock::advance`].
    pub(super) fn read(&mut self, port: u16, now: Moment) -> u8 {
        if port != 0x71 {
            return 0xff;
        }
        match self.index {
            STATUS_A => self.get(STATUS_A) | self.update_notice(now),
            STATUS_C => {
                let flags = self.get(STATUS_C);
                self.set(STATUS_C, 0);
                flags
            }
            index => {
                self.refresh(now.wall);
                self.get(index)
            }
        }
    }

    fn update_notice(&self, now: Moment) -> u8 {
        if self.updates() && now.rest_of_second() <= UPDATE_NOTICE_NS { A_UPDATING } else { 0 }
    }

    /// Writes a port, after [`Clock::advance`].
    pub(super) fn write(&mut self, port: u16, value: u8, now: Moment) -> Written {
        match (port, self.index) {
            // The highest bit masks NMIs of the chip set.
            (0x70, _) => self.index = value & 0x7f,
            (0x71, STATUS_A) => self.write_a(value & !A_UPDATING, now.time),
            (0x71, STATUS_B) => return self.write_b(value, now.wall),
            (0x71, ALARM_SECONDS | ALARM_MINUTES | ALARM_HOURS) => self.set(self.index, value),
            (0x71, SECONDS..=YEAR) => return self.write_time(value, now.wall),
            _ => {}
        }
        Written::default()
    }

    fn write_a(&mut self, value: u8, now: Time) {
        if value != self.get(STATUS_A) {
            self.set(STATUS_A, value);
            (self.since, self.handled, self.ticks) = (now, 0, Ticks::default());
        }
    }

    fn write_b(&mut self, value: u8, wall: WallClock) -> Written {
        let before = self.get(STATUS_B);
        // No update comes while the time is set, and none is waited for.
        let value = if value & B_SET != 0 { value & !UPDATE } else { value };
        self.refresh(wall);
        self.set(STATUS_B, value);
        let is_set_now = before & !value & B_SET != 0;
        let seconds = if is_set_now { self.set_time(wall) } else { 0 };
        if value & PERIODIC == 0 {
            self.ticks = Ticks::default();
        }
        self.flag_interrupt();
        let pulse = self.get(STATUS_C) & value & !before & EVENTS != 0;
        Written { pulse, seconds }
    }

    fn write_time(&mut self, value: u8, wall: WallClock) -> Written {
        self.refresh(wall);
        self.set(self.index, value);
        // The day of the week follows from the date.
        let seconds = if self.is_being_set() || self.index == WEEKDAY { 0 } else { self.set_time(wall) };
        Written { pulse: false, seconds }
    }

    /// Makes the interrupt flag what the other flags make it.
    fn flag_interrupt(&mut self) {
        let events = self.get(STATUS_C) & EVENTS;
        let interrupt = if self.enabled(events) { C_INTERRUPT } else { 0 };
        self.set(STATUS_C, events | interrupt);
    }

    /// Flags events; returns whether one of them is enabled.
    fn raise(&mut self, events: u8) -> bool {
        self.set(STATUS_C, self.get(STATUS_C) | events);
        self.flag_interrupt();
        self.enabled(events)
    }

    /// Handles what is due; returns whether the line is to be pulsed.
    #[must_use]
    pub(super) fn advance(&mut self, now: Moment, missed: MissedTicks) -> bool {
        let events = self.update(now.wall);
        let raised = self.raise(events);
        self.advance_periodic(now.time, missed) || raised
    }

    fn advance_periodic(&mut self, now: Time, missed: MissedTicks) -> bool {
        let Some(period) = self.period() else { return false };
        let ticks = CRYSTAL.ticks(now.since_ns(self.since)).checked_div(period).unwrap_or(0);
        let count = ticks.saturating_sub(core::mem::replace(&mut self.handled, ticks));
        count > 0 && self.raise(PERIODIC) && self.ticks.pass(count, missed)
    }

    /// Updates the time; returns the events that this is.
    fn update(&mut self, wall: WallClock) -> u8 {
        let second = self.second(wall);
        let before = core::mem::replace(&mut self.updated, second);
        if second == before || !self.updates() {
            return 0;
        }
        // The wall clock may have been set back, or forward by more than a day.
        let missed = if second > before { before.saturating_add(1) } else { second };
        let from = missed.max(second.saturating_sub(SECONDS_PER_DAY - 1));
        let rings = self.alarm().next(from).is_some_and(|at| at <= second);
        UPDATE | if rings { ALARM } else { 0 }
    }

    /// Forgets ticks that the guest has not taken: the line is not connected.
    pub(super) fn forget_ticks(&mut self) {
        self.ticks = Ticks::default();
    }

    /// Notes that the guest took the interrupt; returns whether the line is to be pulsed again.
    #[must_use]
    pub(super) fn take(&mut self) -> bool {
        self.ticks.take() && self.raise(PERIODIC)
    }

    pub(super) const fn waits(&self) -> bool {
        self.ticks.waits()
    }

    /// Returns when the next interrupt is due, after [`Clock::advance`].
    pub(super) fn deadline(&self, now: Moment) -> Time {
        let periodic = match self.period() {
            Some(period) if self.enabled(PERIODIC) => {
                CRYSTAL.after(self.since, period.saturating_mul(self.handled.saturating_add(1)))
            }
            _ => Time::NEVER,
        };
        let update = self.seconds_to_update(now.wall).map_or(Time::NEVER, |seconds| now.second_after(seconds));
        periodic.min(update)
    }

    fn seconds_to_update(&self, wall: WallClock) -> Option<u64> {
        if !self.updates() {
            return None;
        }
        if self.enabled(UPDATE) {
            return Some(1);
        }
        let second = self.second(wall);
        let alarm = self.enabled(ALARM).then(|| self.alarm().next(second.saturating_add(1))).flatten()?;
        u64::try_from(alarm.saturating_sub(second)).ok()
    }

    /// Builds the record.
    pub(super) fn save(&self, now: Moment) -> HvmHwRtc {
        let mut clock = *self;
        clock.refresh(now.wall);
        HvmHwRtc { cmos_data: clock.registers, cmos_index: self.index, pad0: 0, rtc_offset: self.offset }
    }

    /// Builds a clock from its record, which is not trusted. The periodic interrupt begins anew, and ticks that the guest
    /// missed before are forgotten.
    pub(super) fn load(record: &HvmHwRtc, now: Moment) -> Self {
        let mut clock = Self { registers: record.cmos_data, index: record.cmos_index & 0x7f, ..Self::new(now) };
        clock.set(STATUS_A, clock.get(STATUS_A) & !A_UPDATING);
        let b = clock.get(STATUS_B);
        clock.set(STATUS_B, if b & B_SET != 0 { b & !UPDATE } else { b });
        clock.set(STATUS_D, D_VALID);
        clock.flag_interrupt();
        clock.set_offset(record.rtc_offset, now.wall);
        clock.refresh(now.wall);
        clock
    }
}
