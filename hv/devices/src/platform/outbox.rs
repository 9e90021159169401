//! Messages of the I/O APIC that are yet to be sent, at most one for each pin.

use xen_abi::hvm_save::VIOAPIC_NUM_PINS;

use crate::interrupt::Message;

/// The messages, by pin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Outbox {
    /// A bit for each pin that has one.
    waiting: u64,
    messages: [Option<Message>; VIOAPIC_NUM_PINS],
}

impl Default for Outbox {
    fn default() -> Self {
        Self { waiting: 0, messages: [None; VIOAPIC_NUM_PINS] }
    }
}

impl Outbox {
    /// Puts a message of a pin in; it replaces one that waits, which the local APIC would merge with it.
    pub(super) fn put(&mut self, pin: usize, message: Option<Message>) {
        if let Some(place) = self.messages.get_mut(pin)
            && message.is_some()
        {
            *place = message;
            self.waiting |= 1 << (pin & 63);
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Takes out the message of the lowest pin.
    pub(super) fn take(&mut self) -> Option<Message> {
        let pin = self.waiting.trailing_zeros() as usize;
        let message = self.messages.get_mut(pin)?.take();
        self.waiting &= !(1 << (pin & 63));
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interrupt::{Delivery, Destination, Trigger};

    #[test]
    fn the_lowest_pin_comes_first_and_each_once() {
        let message = |vector| {
            let delivery = Delivery::Fixed(vector);
            Some(Message { destination: Destination::All, delivery, trigger: Trigger::Edge })
        };
        let mut outbox = Outbox::default();
        assert_eq!((outbox.take(), outbox.is_empty()), (None, true));
        for (pin, vector) in [(47, 0x47), (2, 0x20), (2, 0x22), (48, 0x48)] {
            outbox.put(pin, message(vector));
        }
        outbox.put(3, None);
        assert!(!outbox.is_empty());
        assert_eq!([outbox.take(), outbox.take(), outbox.take()], [message(0x22), message(0x47), None]);
    }
}
