//! The virtual I/O APICs of a domain that has the machine's devices: one for each of the machine's, at the same address
//! and with the same lines. The machine's pin is programmed as the guest programs the virtual one.
//!
//! The machine masks a level line when it interrupts. It stays masked until the guest has sent the EOI; if its device
//! still asserts it, it interrupts again.

use super::{Owner, Source};
use alloc::vec::Vec;
use xenolith_devices::interrupt::{Message, Trigger};
use xenolith_devices::ioapic::{IoApic, Route};
use xenolith_hal::{Gpa, HostInterrupt, IoApicPlace, LineMode, LogLevel, Machine};
use xenolith_sync::{SpinLock, rank};

/// The registers are in one page.
const PAGE_MASK: u64 = !0xfff;

/// The state of a pin in the machine.
#[derive(Clone, Copy, Default)]
struct Pin {
    bound: Option<(HostInterrupt, LineMode)>,
    /// A level interrupt was delivered, and the guest has not sent the EOI.
    in_service: bool,
    /// No interrupt could be bound, and that was logged.
    refused: bool,
}

struct Chip {
    page: Gpa,
    first_line: u32,
    model: IoApic,
    pins: Vec<Pin>,
}

/// All virtual I/O APICs of the domain.
pub struct Lines {
    chips: SpinLock<Vec<Chip>, rank::Device>,
}

impl Chip {
    /// Programs the machine's pin as the guest's is.
    fn apply<M: Machine>(&mut self, owner: &Owner<'_, M>, number: usize) {
        let Some(route) = self.model.route(number) else { return };
        let Some(pin) = self.pins.get_mut(number) else { return };
        let line = self.first_line.saturating_add(number as u32);
        let mode = LineMode { level: route.trigger == Trigger::Level, active_low: route.active_low };
        if !mode.level {
            // An edge is not waited for.
            pin.in_service = false;
            let _ = self.model.set_line(number, false);
        }
        if route.masked {
            if pin.bound.is_some() {
                owner.machine.mask_line(line, true);
            }
            return;
        }
        if let Some((interrupt, old)) = pin.bound
            && old != mode
        {
            owner.machine.unbind(interrupt);
            owner.interrupts.clear(interrupt);
            pin.bound = None;
        }
        if pin.bound.is_none() {
            pin.bound =
                owner.machine.bind_line(line, mode, owner.machine.this_cpu()).map(|interrupt| (interrupt, mode));
            match pin.bound {
                Some((interrupt, _)) => owner.interrupts.set(interrupt, owner.id(), Source::Line(line)),
                None if !pin.refused => {
                    pin.refused = true;
                    let line = format_args!("d{}: line {line} cannot be bound: it is not the domain's", owner.id());
                    owner.machine.log(LogLevel::Info, true, line);
                }
                None => {}
            }
        }
        if pin.bound.is_some() && !pin.in_service {
            owner.machine.mask_line(line, false);
        }
    }

    /// Notes that the virtual I/O APIC sent a message for an asserted line: the line counts as deasserted from here on,
    /// until the machine reports it again.
    fn sent(&mut self, number: usize) {
        if let Some(pin) = self.pins.get_mut(number) {
            pin.in_service = true;
        }
        let _ = self.model.set_line(number, false);
    }
}

impl Lines {
    /// Creates the same I/O APICs as the machine's.
    #[must_use]
    #[expect(clippy::disallowed_macros, reason = "only at boot, for dom0")]
    #[expect(clippy::disallowed_methods, reason = "only at boot, for dom0")]
    pub fn new(places: &[IoApicPlace]) -> Self {
        let chip = |place: &IoApicPlace| {
            let model = IoApic::new(place.id, place.pins as usize, false);
            let pins = alloc::vec![Pin::default(); model.pin_count()];
            Chip { page: Gpa(place.address.0 & PAGE_MASK), first_line: place.first_line, model, pins }
        };
        Self { chips: SpinLock::new(places.iter().map(chip).collect()) }
    }

    /// Returns whether an address is in the page of an I/O APIC.
    pub fn answers(&self, at: Gpa) -> bool {
        self.chips.lock().iter().any(|chip| chip.page.0 == at.0 & PAGE_MASK)
    }

    /// Reads 4 bytes; None where there is no I/O APIC.
    pub fn read(&self, at: Gpa) -> Option<u32> {
        let chips = self.chips.lock();
        let chip = chips.iter().find(|chip| chip.page.0 == at.0 & PAGE_MASK)?;
        Some(chip.model.read(at.page_offset() as u32))
    }

    /// Writes 4 bytes, and gives what is to be sent, if anything; none where there is no I/O APIC.
    pub fn write<M: Machine>(&self, owner: &Owner<'_, M>, at: Gpa, value: u32) -> Option<Option<Message>> {
        let mut chips = self.chips.lock();
        let chip = chips.iter_mut().find(|chip| chip.page.0 == at.0 & PAGE_MASK)?;
        let effect = chip.model.write(at.page_offset() as u32, value);
        if let Some(number) = effect.changed {
            if effect.send.is_some() {
                chip.sent(number);
            }
            chip.apply(owner, number);
        }
        Some(effect.send)
    }

    /// Returns the machine's line came: what is to be sent for it.
    pub fn arrived(&self, line: u32) -> Option<Message> {
        let mut chips = self.chips.lock();
        let message = chips.iter_mut().find_map(|chip| {
            let number = line.checked_sub(chip.first_line)? as usize;
            let route = chip.model.route(number)?;
            let message = chip.model.set_line(number, true);
            if route.trigger == Trigger::Edge {
                let _ = chip.model.set_line(number, false);
            } else if message.is_some() {
                chip.sent(number);
            }
            Some(message)
        });
        message.flatten()
    }

    /// Calls `each` for every bound line; returns false while another CPU holds the lock.
    pub fn report(&self, mut each: impl FnMut(u32, Route, bool)) -> bool {
        let Some(chips) = self.chips.try_lock() else { return false };
        for chip in chips.iter() {
            for (number, pin) in chip.pins.iter().enumerate().filter(|(_, pin)| pin.bound.is_some()) {
                if let Some(route) = chip.model.route(number) {
                    each(chip.first_line.saturating_add(number as u32), route, pin.in_service);
                }
            }
        }
        true
    }

    /// Returns the guest ended a level interrupt of this vector: what is to be sent again.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn end_of_interrupt<M: Machine>(&self, owner: &Owner<'_, M>, vector: u8) -> Vec<Message> {
        let mut chips = self.chips.lock();
        let mut messages: Vec<Message> = Vec::new();
        for chip in chips.iter_mut() {
            let Chip { model, pins, .. } = chip;
            let mut ended = [0_u64; 2];
            model.end_of_interrupt(vector, |number, again| {
                if let Some(pin) = pins.get_mut(number) {
                    pin.in_service = again.is_some();
                }
                if let Some(message) = again
                    && messages.try_reserve(1).is_ok()
                {
                    messages.push(message);
                }
                if let Some(word) = ended.get_mut(number / 64) {
                    *word |= 1 << (number % 64);
                }
            });
            let is_ended = |number: &usize| ended.get(number / 64).is_some_and(|word| word & (1 << (number % 64)) != 0);
            for number in (0..chip.pins.len()).filter(is_ended) {
                chip.apply(owner, number);
            }
        }
        messages
    }
}
