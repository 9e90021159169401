//! Lines into the interrupt controllers, and interrupts out of them.

use xen_abi::hvm_save::VIOAPIC_NUM_PINS;

use super::Platform;
use super::hpet::TIMERS;
use super::pic::Acknowledged;
use super::wires::{CASCADE, CLOCK_LINE, ISA_LINES, IntxPin, Lines, POWER_LINE, Source, TIMER_LINE};
use crate::interrupt::{Destination, Message};

/// Returns a line's pin of the I/O APIC: the interval timer is at pin 2, and the 8259A pair at pin 0.
const fn pin_of(line: u8) -> usize {
    if line == TIMER_LINE { 2 } else { line as usize }
}

/// Returns the line at a pin; None for pin 0.
pub(super) const fn line_of(pin: usize) -> Option<u8> {
    match pin {
        0 => None,
        2 => Some(TIMER_LINE),
        pin => Some(pin as u8),
    }
}

/// Returns the lines of a set, from the lowest.
fn each(mut lines: Lines) -> impl Iterator<Item = u8> {
    core::iter::from_fn(move || {
        let line = lines.trailing_zeros();
        lines &= lines.wrapping_sub(1);
        (line < Lines::BITS).then_some(line as u8)
    })
}

impl Platform {
    /// Asserts or deasserts an interrupt pin of a PCI device.
    pub fn set_intx(&mut self, pin: IntxPin, active: bool) {
        let changed = self.wires.set_intx(pin, active);
        self.drive(changed);
    }

    /// Asserts or deasserts an ISA line, as the device model drives it; returns false for a line above 15. Lines 0, 2 and 8
    /// are the hypervisor's own: the device model's word does not count.
    #[must_use]
    pub fn set_isa_line(&mut self, line: u8, active: bool) -> bool {
        self.wires.set_isa(line, active).map(|changed| self.drive(changed)).is_some()
    }

    /// Asserts a pin of the I/O APIC, and below 16 the ISA line, for event channels; or none.
    pub fn set_event_line(&mut self, line: Option<u8>) {
        let changed = self.wires.set_source(Source::Events, line.filter(|line| *line != CASCADE));
        self.drive(changed);
    }

    /// Leads a link of the PCI interrupt router to an ISA line, or to none if that is 0. Returns false, with nothing done,
    /// for a link above 3 or a line above 15.
    #[must_use]
    pub fn set_link_route(&mut self, link: u8, line: u8) -> bool {
        self.wires.set_route(link, line).map(|changed| self.drive(changed)).is_some()
    }

    /// Brings lines to the controllers as the wires are now.
    fn drive(&mut self, changed: Lines) {
        for line in each(changed) {
            self.set_line(line, self.wires.is_asserted(line));
        }
    }

    fn set_line(&mut self, line: u8, active: bool) {
        if line < ISA_LINES {
            self.pics.set_line(line, active);
        }
        let pin = pin_of(line);
        if active && self.pirqs.has_pin(pin) {
            self.pirqs.raise_pin(pin);
        } else {
            self.set_pin(pin, active);
        }
    }

    pub(super) fn set_pin(&mut self, pin: usize, active: bool) {
        let message = self.io_apic.set_line(pin, active);
        self.outbox.put(pin, message);
    }

    /// Makes an edge on a line, which a level that asserts it hides.
    pub(super) fn pulse(&mut self, line: u8) {
        if !self.wires.is_asserted(line) {
            self.set_line(line, true);
            self.set_line(line, false);
        }
    }

    /// Sets all lines of the controllers as devices assert them, without edges.
    pub(super) fn restore_lines(&mut self) {
        let _ = self.wire_power() | self.wire_hpet();
        self.wires.tell_apart();
        self.pics.restore_lines(self.wires.asserted_isa_lines());
        // Pin 2 is the interval timer's.
        for line in (0..VIOAPIC_NUM_PINS as u8).filter(|line| *line != CASCADE) {
            let message = self.io_apic.restore_line(pin_of(line), self.wires.is_asserted(line));
            self.outbox.put(pin_of(line), message);
        }
    }

    /// Brings the system control interrupt to its line.
    pub(super) fn follow_power(&mut self) {
        let changed = self.wire_power();
        self.drive(changed);
    }

    fn wire_power(&mut self) -> Lines {
        self.wires.set_source(Source::Power, self.power.asserts().then_some(POWER_LINE))
    }

    /// Brings the HPET's levels to their lines.
    pub(super) fn follow_hpet(&mut self) {
        let changed = self.wire_hpet();
        self.drive(changed);
    }

    fn wire_hpet(&mut self) -> Lines {
        (0..TIMERS).fold(0, |changed, timer| {
            let line = self.hpet.asserts(timer).then(|| self.hpet.line(timer));
            changed | self.wires.set_source(Source::Hpet(timer), line)
        })
    }

    /// Returns whether any controller has a line unmasked, or it comes as an event.
    pub(super) fn is_let_through(&self, line: u8) -> bool {
        let by_pic = line < ISA_LINES && self.pics.lets_through(line);
        by_pic
            || self.pirqs.has_pin(pin_of(line))
            || self.io_apic.route(pin_of(line)).is_some_and(|route| !route.masked)
    }

    /// Reads 4 bytes at an offset of the I/O APIC's page; 0 where no register is.
    #[must_use]
    pub fn read_io_apic(&self, offset: u32) -> u32 {
        self.io_apic.read(offset)
    }

    /// Writes 4 bytes at an offset of the I/O APIC's page; dropped where no register is.
    pub fn write_io_apic(&mut self, offset: u32, value: u32) {
        let effect = self.io_apic.write(offset, value);
        if let Some(pin) = effect.changed {
            self.outbox.put(pin, effect.send);
        }
    }

    /// Handles the EOI of a level interrupt by a local APIC.
    pub fn end_of_interrupt(&mut self, vector: u8) {
        let Self { io_apic, outbox, .. } = self;
        io_apic.end_of_interrupt(vector, |pin, message| outbox.put(pin, message));
    }

    /// Returns whether [`Platform::take_message`] has one.
    #[must_use]
    pub const fn has_message(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Takes a message of the I/O APIC to local APICs.
    #[must_use]
    pub fn take_message(&mut self) -> Option<Message> {
        self.outbox.take()
    }

    /// Returns whether the 8259A pair asks the CPU for an interrupt.
    #[must_use]
    pub fn requests_interrupt(&self) -> bool {
        self.pics.output()
    }

    /// Returns the local APICs to which the I/O APIC passes the 8259A pair's interrupts; None if it does not.
    #[must_use]
    pub fn external_destination(&self) -> Option<Destination> {
        self.io_apic.external_destination()
    }

    /// Acknowledges the 8259A pair's interrupt, which is delivered to the CPU.
    pub fn acknowledge(&mut self) -> Acknowledged {
        let acknowledged = self.pics.acknowledge();
        self.line_acknowledged(acknowledged);
        acknowledged
    }

    /// Returns the 8259A pair's interrupt to offer to a CPU, if it asks for one. Nothing changes until
    /// [`Platform::external_taken`].
    #[must_use]
    pub fn offered_external(&self) -> Option<Acknowledged> {
        self.pics.offered()
    }

    /// Acknowledges an interrupt that was offered and that a CPU took: it came before whatever happened at the pair since.
    pub fn external_taken(&mut self, offered: Acknowledged) {
        self.pics.take(offered);
        self.line_acknowledged(offered);
    }

    fn line_acknowledged(&mut self, acknowledged: Acknowledged) {
        if let Some(line) = acknowledged.line {
            self.tick_taken(1 << (line & 15));
        }
    }

    /// Returns the lines by which a timer gave a tick that the guest has not taken.
    pub(super) fn waiting_lines(&self) -> Lines {
        let older = [(TIMER_LINE, self.timer.waits()), (CLOCK_LINE, self.clock.waits())];
        let hpet = (0..TIMERS).map(|timer| (self.hpet.line(timer), self.hpet.waits(timer)));
        older.into_iter().chain(hpet).filter(|(_, waits)| *waits).fold(0, |lines, (line, _)| lines | 1 << (line & 63))
    }

    /// Returns whether a timer waits for its tick to be taken from a pin of the I/O APIC that is not masked. A tick in a
    /// masked pin, such as the last of a timer that a kernel has left, may wait for ever.
    #[must_use]
    pub fn awaits_interrupt(&self) -> bool {
        let is_masked = |line| self.io_apic.route(pin_of(line)).is_none_or(|route| route.masked);
        each(self.waiting_lines()).any(|line| !is_masked(line))
    }

    /// Returns the vectors of the I/O APIC's pins by which a timer waits for its tick to be taken: 64 in each word.
    /// [`Platform::interrupt_taken`] matters for these; others need not be told.
    #[must_use]
    pub fn awaited_vectors(&self) -> [u64; 4] {
        let mut vectors = [0; 4];
        for line in each(self.waiting_lines()) {
            let vector = self.io_apic.route(pin_of(line)).map_or(0, |route| route.vector);
            if let Some(word) = vectors.get_mut(usize::from(vector >> 6)) {
                *word |= 1 << (vector & 63);
            }
        }
        vectors
    }

    /// Notes that a vCPU took an interrupt of its local APIC, so that a timer's next tick can follow.
    pub fn interrupt_taken(&mut self, vector: u8) {
        let has_vector = |line: &u8| self.io_apic.route(pin_of(*line)).is_some_and(|route| route.vector == vector);
        let lines = each(self.waiting_lines()).filter(has_vector).fold(0, |lines, line| lines | 1 << (line & 63));
        if lines != 0 {
            self.tick_taken(lines);
        }
    }

    /// Notes that the guest took what came by some lines; pulses the ones of timers that owe it more.
    pub(super) fn tick_taken(&mut self, lines: Lines) {
        let was_taken = |line: u8| lines >> (line & 63) & 1 != 0;
        if !self.hpet.is_legacy() {
            if was_taken(TIMER_LINE) && self.timer.take() {
                self.pulse(TIMER_LINE);
            }
            if was_taken(CLOCK_LINE) && self.clock.take() {
                self.pulse(CLOCK_LINE);
            }
        }
        for timer in 0..TIMERS {
            let line = self.hpet.line(timer);
            if was_taken(line) && self.hpet.take(timer) {
                self.pulse(line);
            }
        }
    }
}
