//! Sending and receiving interrupts.

use super::register::{
    COMMAND_ASSERT, COMMAND_LEVEL, COMMAND_LOGICAL, COMMAND_PENDING, COMMAND_SHORTHAND, LVT_MASKED, Lvt,
};
use super::{ERROR_SENT_ILLEGAL, Effect, Identity, Lapic, Receipt};
use crate::interrupt::{Delivery, Destination, FIRST_VECTOR, Message, Trigger};

impl Lapic {
    /// Returns the fields by which senders decide whether a message addresses this local APIC.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        Identity {
            x2apic: self.is_x2apic(),
            id: self.apic_id(),
            xapic_id: (self.id >> 24) as u8,
            logical: (self.logical_destination >> 24) as u8,
            format: (self.destination_format >> 28) as u8,
        }
    }

    /// Returns whether a message addresses this local APIC. `from_here` says that it also sent it.
    #[must_use]
    #[inline]
    pub fn is_meant(&self, destination: Destination, from_here: bool) -> bool {
        self.identity().is_meant(destination, from_here)
    }

    /// Returns the logical identifier in x2APIC mode.
    pub(super) const fn x2apic_logical_id(&self) -> u32 {
        self.identity().x2apic_logical_id()
    }

    /// Returns whether interrupts of an 8259 reach the CPU through pin LINT0: as its entry says, and always while this local
    /// APIC is disabled by its base MSR. **Source:** AMD manual volume 2, 16.4; Intel manual volume 3, 11.4.3 and 11.5.1.
    #[must_use]
    pub fn accepts_external(&self) -> bool {
        let entry = self.lvt(Lvt::Lint0);
        let passes = entry & LVT_MASKED == 0 && Delivery::from_bits(entry) == Some(Delivery::External);
        passes || !self.is_hardware_enabled()
    }

    /// Receives a message that addresses this local APIC.
    pub fn receive(&mut self, delivery: Delivery, trigger: Trigger) -> Receipt {
        match delivery {
            Delivery::Fixed(vector) | Delivery::LowestPriority(vector) => match (self.is_enabled(), vector) {
                (false, _) => Receipt::Nothing,
                (true, _) if self.raise(vector, trigger) => Receipt::Pending,
                (true, ..FIRST_VECTOR) => Receipt::Nothing,
                (true, _) => Receipt::Merged,
            },
            Delivery::Nmi => Receipt::Nmi,
            Delivery::Init => Receipt::Init,
            Delivery::Startup(page) => Receipt::Startup(page),
            // There is no interrupt controller of the 8259 kind that could name the vector.
            Delivery::External => Receipt::Nothing,
        }
    }

    /// Writes the low half of the interrupt command register (ICR), which sends. A message to itself alone is delivered
    /// at once.
    pub(super) fn command(&mut self, low: u32) -> Effect {
        let low = low & !COMMAND_PENDING;
        self.command_low = low;
        let Some(delivery) = Delivery::from_bits(low) else { return Effect::None };
        let destination = match (low & COMMAND_SHORTHAND) >> 18 {
            0 if self.is_x2apic() => Destination::from_32_bits(self.command_high, low & COMMAND_LOGICAL != 0),
            0 => Destination::from_8_bits((self.command_high >> 24) as u8, low & COMMAND_LOGICAL != 0),
            1 => Destination::Oneself,
            2 => Destination::All,
            _ => Destination::Others,
        };
        match delivery {
            Delivery::Fixed(..FIRST_VECTOR) | Delivery::LowestPriority(..FIRST_VECTOR) => {
                self.note_error(ERROR_SENT_ILLEGAL);
                return Effect::None;
            }
            Delivery::Fixed(_) if destination == Destination::Oneself => {
                self.receive(delivery, Trigger::Edge);
                return Effect::None;
            }
            // The end of an INIT only re-arms the arbitration of old local APICs.
            Delivery::Init if low & (COMMAND_LEVEL | COMMAND_ASSERT) == COMMAND_LEVEL => return Effect::None,
            // An IPI cannot be of the 8259 kind.
            Delivery::External => return Effect::None,
            _ => {}
        }
        Effect::Send(Message { destination, delivery, trigger: Trigger::Edge })
    }

    /// Ends the interrupt that is in service at the highest priority (EOI).
    pub(super) fn end_of_interrupt(&mut self) -> Effect {
        let Some(vector) = self.in_service.highest() else { return Effect::None };
        self.in_service.set(vector, false);
        if self.trigger_mode.contains(vector) { Effect::EndOfInterrupt(vector) } else { Effect::None }
    }
}
