//! The chipset of an HVM guest: interrupt controllers, timers, clock and power management of a PC, as far as Xen has them
//! in the hypervisor. All other devices are the device model's.
//!
//! | chip | where | file |
//! |---|---|---|
//! | two 8259A and their edge/level register | ports 0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1 | `pic` |
//! | interval timer 8254, speaker port | ports 0x40 to 0x43, 0x61 | `interval_timer` |
//! | clock MC146818, registers 0 to 13 | ports 0x70, 0x71 | `clock` |
//! | ACPI events and power-management timer | ports 0x1f40 or 0xb000, and 8 above | `power` |
//! | HPET | [`HPET_PAGE`] | `hpet` |
//! | I/O APIC of 48 pins | [`ioapic::PAGE`](crate::ioapic::PAGE) | [`crate::ioapic`] |
//! | interrupt pins of PCI devices, ISA lines, router | the device model's calls | `wires` |
//!
//! The debug console at port 0xe9 is [`ports::DebugConsole`](crate::ports::DebugConsole), which every guest has.
//!
//! [`Platform`] is plain state. Its caller passes each access and the time in, and asks afterwards for what is to be done:
//!
//! * [`Platform::take_message`] until there is none: what the I/O APIC sends to local APICs;
//! * [`Platform::requests_interrupt`]: the 8259A pair asks the CPU. Its interrupt passes at the vCPU whose local APIC
//!   says [`accepts_external`](crate::lapic::Lapic::accepts_external), or that [`Platform::external_destination`] means;
//!   when it is delivered, [`Platform::acknowledge`] gives the vector;
//! * [`Platform::next_deadline`]: when to call [`Platform::advance`] if no access comes before. It may have passed: a
//!   line that is unmasked may have a tick to make up for.
//!
//! So that missed ticks can come late, the caller also says when a vCPU took an interrupt of the I/O APIC whose vector is
//! among [`Platform::awaited_vectors`]: [`Platform::interrupt_taken`]. It keeps that set at hand, as it keeps the
//! deadline, so that other interrupts need not ask.
//!
//! ```
//! use xenolith_devices::platform::{IntxPin, Moment, Platform};
//! use xenolith_hal::{IoSize::Byte, Time};
//!
//! let at = |ns| Moment { time: Time(ns), ..Moment::default() };
//! let mut platform = Platform::new(at(0));
//! // Firmware gives the 8259A pair its vectors, and lets the interval timer tick at its slowest.
//! for (port, value) in [(0x20, 0x11), (0x21, 8), (0x21, 4), (0x21, 1), (0x21, 0xfe), (0x43, 0x36), (0x40, 0), (0x40, 0)] {
//!     assert!(platform.write(port, Byte, value, at(0)).is_some());
//! }
//! assert_eq!(platform.read(0x60, Byte, at(0)), None, "the keyboard is the device model's");
//! // 18.2 times a second.
//! let deadline = platform.next_deadline(at(0));
//! assert_eq!(deadline, Time(54_925_402));
//! platform.advance(Moment { time: deadline, ..at(0) });
//! assert!(platform.requests_interrupt());
//! assert_eq!(platform.acknowledge().vector, 8);
//! assert!(!platform.requests_interrupt() && platform.next_deadline(at(deadline.0)) > deadline);
//!
//! // A kernel lets pin 28 of the I/O APIC send vector 0x41 for a level; the device model asserts INTA of device 3.
//! for (register, entry) in [(0x10 + 2 * 28, 0xa041), (0x11 + 2 * 28, 0)] {
//!     platform.write_io_apic(0, register);
//!     platform.write_io_apic(0x10, entry);
//! }
//! platform.set_intx(IntxPin::new(3, 0).unwrap(), true);
//! assert!(platform.take_message().is_some() && platform.take_message().is_none());
//! platform.end_of_interrupt(0x41);
//! assert!(platform.take_message().is_some(), "it is asserted still");
//! ```
//!
//! | call of the toolstack or the device model | function |
//! |---|---|
//! | `set_pci_intx_level`, `set_isa_irq_level`, `set_pci_link_route` | [`Platform::set_intx`], [`Platform::set_isa_line`], [`Platform::set_link_route`] |
//! | HVM_PARAM_TIMER_MODE, HVM_PARAM_ACPI_IOPORTS_LOCATION | [`MissedTicks::from_param`], [`Platform::set_acpi_location`] |
//! | `sendtrigger`: power or sleep button | [`Platform::note_power_event`] |
//! | `settimeoffset`; the guest's own setting is in [`Written`] | [`Platform::set_clock_offset`] |
//! | the guest wakes from S3 | [`Platform::reset`] |
//! | `PHYSDEVOP_map_pirq`, `unmap_pirq`, `get_free_pirq`, `irq_status_query`, `eoi` | [`Platform::map_pirq`], [`Platform::unmap_pirq`], [`Platform::give_pirq`], [`Platform::is_pirq_of_pin`], [`Platform::end_pirq`] |
//!
//! A saved domain's records are [`Platform::save`] and [`Platform::load`].

mod clock;
mod hpet;
mod interval_timer;
mod lines;
mod moment;
mod outbox;
mod pic;
mod pirqs;
mod port_access;
mod power;
mod saved;
#[cfg(test)]
mod tests;
mod ticks;
mod wires;

pub use hpet::{HPET_BYTES, HPET_PAGE};
pub use moment::Moment;
pub use pic::Acknowledged;
pub use pirqs::PIRQS;
pub use port_access::Written;
pub use power::PowerEvent;
pub use saved::{InvalidRecord, PlatformRecord, PlatformRecords};
pub use ticks::MissedTicks;
pub use wires::IntxPin;

use clock::Clock;
use hpet::{Hpet, TIMERS};
use interval_timer::IntervalTimer;
use outbox::Outbox;
use pic::Pics;
use pirqs::Pirqs;
use power::Power;
use wires::{CLOCK_LINE, TIMER_LINE, Wires};
use xenolith_hal::Time;

use crate::ioapic::{GuestPins, IoApic};

/// The state of the chipset.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Platform {
    pics: Pics,
    io_apic: IoApic<GuestPins>,
    wires: Wires,
    timer: IntervalTimer,
    clock: Clock,
    hpet: Hpet,
    power: Power,
    missed: MissedTicks,
    outbox: Outbox,
    pirqs: Pirqs,
}

impl Platform {
    /// Creates the chipset as it is at power-on. The clock shows UTC.
    #[must_use]
    pub fn new(now: Moment) -> Self {
        Self {
            pics: Pics::default(),
            io_apic: IoApic::default(),
            wires: Wires::default(),
            timer: IntervalTimer::default(),
            clock: Clock::new(now),
            hpet: Hpet::default(),
            power: Power::new(now.time),
            missed: MissedTicks::default(),
            outbox: Outbox::default(),
            pirqs: Pirqs::default(),
        }
    }

    /// Resets the chips, as when the guest wakes from ACPI S3. The lines of devices, what the clock is ahead of UTC, what
    /// the toolstack chose, and what comes as events stay.
    pub fn reset(&mut self, now: Moment) {
        let offset = self.clock.offset();
        let location = self.power.location();
        let (wires, missed, pirqs) = (self.wires, self.missed, self.pirqs);
        *self = Self { wires, missed, pirqs, ..Self::new(now) };
        self.clock.set_offset(offset, now.wall);
        // A location that was set exists.
        let _ = self.power.set_location(location);
        self.restore_lines();
    }

    /// Sets what becomes of missed ticks (HVM_PARAM_TIMER_MODE).
    pub fn set_missed_ticks(&mut self, missed: MissedTicks) {
        self.missed = missed;
    }

    /// Moves the ACPI registers (HVM_PARAM_ACPI_IOPORTS_LOCATION): 0 for port 0x1f40, 1 for 0xb000. Returns false, with
    /// nothing done, for another location.
    #[must_use]
    pub fn set_acpi_location(&mut self, location: u64) -> bool {
        self.power.set_location(location)
    }

    /// Returns the seconds that the clock is ahead of UTC.
    #[must_use]
    pub fn clock_offset(&self) -> i64 {
        self.clock.offset()
    }

    /// Sets the seconds that the clock is ahead of UTC, as the toolstack does.
    pub fn set_clock_offset(&mut self, seconds: i64, now: Moment) {
        self.clock.set_offset(seconds, now.wall);
    }

    /// Presses a button, or releases the global lock.
    pub fn note_power_event(&mut self, event: PowerEvent) {
        self.power.note(event);
        self.follow_power();
    }

    /// Handles everything that is due.
    pub fn advance(&mut self, now: Moment) {
        self.advance_timer(now);
        self.advance_clock(now);
        self.advance_hpet(now);
        self.advance_power(now);
    }

    fn advance_timer(&mut self, now: Moment) {
        if self.hpet.is_legacy() {
            self.timer.skip(now.time);
        } else if self.timer.advance(now.time, self.missed) {
            self.pulse(TIMER_LINE);
        }
    }

    fn advance_clock(&mut self, now: Moment) {
        if self.clock.advance(now, self.missed) {
            self.pulse_clock();
        }
    }

    /// Pulses the clock's line, unless the HPET has it.
    fn pulse_clock(&mut self) {
        if self.hpet.is_legacy() {
            self.clock.forget_ticks();
        } else {
            self.pulse(CLOCK_LINE);
        }
    }

    fn advance_hpet(&mut self, now: Moment) {
        let pulses = self.hpet.advance(now.time, self.missed);
        for timer in (0..TIMERS).filter(|timer| pulses >> timer & 1 != 0) {
            self.pulse(self.hpet.line(timer));
        }
        self.follow_hpet();
    }

    fn advance_power(&mut self, now: Moment) {
        self.power.advance(now.time);
        self.follow_power();
    }

    /// Returns when to call [`Platform::advance`]; [`Time::NEVER`] if nothing will happen by itself. After `advance` at the
    /// same moment it lies ahead. A timer whose line is masked everywhere needs no deadline.
    #[must_use]
    pub fn next_deadline(&self, now: Moment) -> Time {
        let older = if self.hpet.is_legacy() {
            Time::NEVER
        } else {
            let timer = if self.is_let_through(TIMER_LINE) { self.timer.deadline() } else { Time::NEVER };
            let clock = if self.is_let_through(CLOCK_LINE) { self.clock.deadline(now) } else { Time::NEVER };
            timer.min(clock)
        };
        let hpet = (0..TIMERS).filter(|timer| self.is_let_through(self.hpet.line(*timer)));
        hpet.map(|timer| self.hpet.deadline(timer)).fold(older.min(self.power.deadline()), Time::min)
    }

    /// Reads `bytes` of the HPET's registers at an offset of its page; an access that is not aligned reads all ones.
    pub fn read_hpet(&mut self, offset: u32, bytes: u32, now: Moment) -> u64 {
        self.advance_hpet(now);
        self.hpet.read(offset, bytes, now.time)
    }

    /// Writes `bytes` of the HPET's registers at an offset of its page; an access that is not aligned is dropped.
    pub fn write_hpet(&mut self, offset: u32, bytes: u32, value: u64, now: Moment) {
        // What it may take the lines from, and what it was until now, is handled first.
        self.advance(now);
        self.hpet.write(offset, bytes, value, now.time);
        self.advance_hpet(now);
    }
}
