//! Accesses to ports.

use xenolith_hal::IoSize;

use super::clock::Clock;
use super::interval_timer::IntervalTimer;
use super::pic::Pics;
use super::{Moment, Platform};

/// What a write did that the guest's other clocks and its device model must know.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Written {
    /// Seconds by which the guest set its clock forward; 0 if it did not. Xen tells the device model of it (ioreq type
    /// TIMEOFFSET).
    pub clock_moved: i64,
}

/// The chip that responds at a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Chip {
    Pics,
    Timer,
    Clock,
    Power,
    /// A chip of single bytes, accessed by more: it reads all ones and drops writes.
    TooWide,
}

impl Platform {
    fn chip(&self, port: u16, size: IoSize) -> Option<Chip> {
        let is_byte = size == IoSize::Byte;
        match port {
            _ if Pics::has(port) => Some(if is_byte { Chip::Pics } else { Chip::TooWide }),
            _ if IntervalTimer::has(port) => Some(if is_byte { Chip::Timer } else { Chip::TooWide }),
            _ if Clock::has(port) => is_byte.then_some(Chip::Clock),
            _ => self.power.has(port, size).then_some(Chip::Power),
        }
    }

    /// Reads a port. None, with nothing done, if it is the device model's, which has the memory of the clock, the control
    /// register of ACPI and all that is not here.
    #[must_use]
    pub fn read(&mut self, port: u16, size: IoSize, now: Moment) -> Option<u32> {
        let value = match self.chip(port, size)? {
            Chip::TooWide => size.mask(),
            Chip::Pics => self.read_pics(port).into(),
            Chip::Timer => self.timer.read(port, now.time).into(),
            Chip::Clock => self.read_clock(port, now)?.into(),
            Chip::Power => {
                self.advance_power(now);
                self.power.read(port, size, now.time)
            }
        };
        Some(value)
    }

    fn read_pics(&mut self, port: u16) -> u8 {
        let (value, polled) = self.pics.read(port);
        if let Some(line) = polled {
            self.tick_taken(1 << (line & 15));
        }
        value
    }

    fn read_clock(&mut self, port: u16, now: Moment) -> Option<u8> {
        if !self.clock.is_selected() {
            return None;
        }
        self.advance_clock(now);
        Some(self.clock.read(port, now))
    }

    /// Writes a port. None if it is the device model's; the index of the clock was noted even so.
    pub fn write(&mut self, port: u16, size: IoSize, value: u32, now: Moment) -> Option<Written> {
        match self.chip(port, size)? {
            Chip::TooWide => {}
            Chip::Pics => self.pics.write(port, value as u8),
            Chip::Timer => {
                self.advance_timer(now);
                self.timer.write(port, value as u8, now.time);
            }
            Chip::Clock => return self.write_clock(port, value as u8, now),
            Chip::Power => {
                self.advance_power(now);
                self.power.write(port, size, value);
                self.follow_power();
            }
        }
        Some(Written::default())
    }

    fn write_clock(&mut self, port: u16, value: u8, now: Moment) -> Option<Written> {
        self.advance_clock(now);
        // The data port of a register that is not the clock's.
        if port & 1 != 0 && !self.clock.is_selected() {
            return None;
        }
        let written = self.clock.write(port, value, now);
        if written.pulse {
            self.pulse_clock();
        }
        self.clock.is_selected().then_some(Written { clock_moved: written.seconds })
    }
}
