//! A virtual I/O APIC: pins in, interrupt messages out.
//!
//! **Source:** Intel 82093AA data sheet; the end-of-interrupt register is that of its version 0x20.

mod saved;

use alloc::vec::Vec;

use xen_abi::hvm_save::VIOAPIC_NUM_PINS;
use xenolith_hal::Gpa;

use crate::interrupt::{Delivery, Destination, Message, Trigger};

/// The page of the first one.
pub const PAGE: Gpa = Gpa(0xfec0_0000);
/// The most pins of one: the index register reaches no further.
pub const MAX_PINS: usize = 120;

const INDEX: u32 = 0;
const DATA: u32 = 0x10;
const END: u32 = 0x40;

const REGISTER_ID: u8 = 0;
const REGISTER_VERSION: u8 = 1;
const REGISTER_ARBITRATION: u8 = 2;
const REGISTER_FIRST_ENTRY: u8 = 0x10;

const VERSION: u32 = 0x11;
const VERSION_WITH_END: u32 = 0x20;

const LOGICAL: u32 = 1 << 11;
const ACTIVE_LOW: u32 = 1 << 13;
const REMOTE_REQUEST: u32 = 1 << 14;
const LEVEL: u32 = 1 << 15;
const MASKED: u32 = 1 << 16;
/// The writable bits of a redirection entry: vector, modes, polarity, trigger, mask. The rest is read-only or reserved.
const WRITABLE: u32 = 0xfff | ACTIVE_LOW | LEVEL | MASKED;

/// One pin: its redirection entry and the state of its line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pin {
    /// Low half of the redirection entry.
    low: u32,
    /// High half: the destination in its highest byte.
    high: u32,
    /// The line is asserted, whichever polarity that is.
    active: bool,
}

/// A redirection entry decoded: what the owner of the machine's own interrupt needs to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    pub masked: bool,
    pub trigger: Trigger,
    pub active_low: bool,
    pub vector: u8,
}

/// The effect of a write.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriteEffect {
    /// The pin whose redirection entry was written.
    pub changed: Option<usize>,
    /// The message of a level line that was asserted and is now unmasked.
    pub send: Option<Message>,
    /// A vector ended through the EOI register: to be handled by [`IoApic::end_of_interrupt`].
    pub ended: Option<u8>,
}

/// One I/O APIC. `P` holds the pins: a vector where the machine says how many, an array where the number is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IoApic<P = Vec<Pin>> {
    id: u8,
    index: u8,
    has_end_register: bool,
    pins: P,
}

/// The pins of an ordinary guest's only I/O APIC.
pub type GuestPins = [Pin; VIOAPIC_NUM_PINS];

impl Pin {
    const AT_RESET: Self = Self { low: MASKED, high: 0, active: false };

    const fn is_level(&self) -> bool {
        self.low & LEVEL != 0
    }

    const fn is_masked(&self) -> bool {
        self.low & MASKED != 0
    }

    #[inline]
    fn message(&self) -> Option<Message> {
        let destination = Destination::from_8_bits((self.high >> 24) as u8, self.low & LOGICAL != 0);
        let trigger = if self.is_level() { Trigger::Level } else { Trigger::Edge };
        Some(Message { destination, delivery: Delivery::from_bits(self.low)?, trigger })
    }

    /// Requests service for a level line that is asserted, unmasked and not yet in service (remote IRR clear).
    fn request_level(&mut self) -> Option<Message> {
        if !self.is_level() || self.is_masked() || !self.active || self.low & REMOTE_REQUEST != 0 {
            return None;
        }
        self.low |= REMOTE_REQUEST;
        self.message()
    }
}

impl IoApic<Vec<Pin>> {
    /// Creates an I/O APIC after reset, all pins masked. More than [`MAX_PINS`] pins count as that many.
    #[must_use]
    #[expect(clippy::disallowed_macros, reason = "only at boot, for dom0")]
    pub fn new(id: u8, pins: usize, has_end_register: bool) -> Self {
        Self { id, index: 0, has_end_register, pins: alloc::vec![Pin::AT_RESET; pins.clamp(1, MAX_PINS)] }
    }
}

impl Default for IoApic<GuestPins> {
    /// Creates the I/O APIC of an ordinary guest after reset. It has no end-of-interrupt register, as Xen's has none.
    fn default() -> Self {
        Self { id: 0, index: 0, has_end_register: false, pins: [Pin::AT_RESET; VIOAPIC_NUM_PINS] }
    }
}

impl<P: AsRef<[Pin]> + AsMut<[Pin]>> IoApic<P> {
    fn pin(&self, number: usize) -> Option<&Pin> {
        self.pins.as_ref().get(number)
    }

    fn pin_mut(&mut self, number: usize) -> Option<&mut Pin> {
        self.pins.as_mut().get_mut(number)
    }

    /// Returns the number of pins.
    #[must_use]
    pub fn pin_count(&self) -> usize {
        self.pins.as_ref().len()
    }

    /// Returns the decoded redirection entry of a pin.
    #[must_use]
    pub fn route(&self, pin: usize) -> Option<Route> {
        self.pin(pin).map(|pin| Route {
            masked: pin.is_masked(),
            trigger: if pin.is_level() { Trigger::Level } else { Trigger::Edge },
            active_low: pin.low & ACTIVE_LOW != 0,
            vector: (pin.low & 0xff) as u8,
        })
    }

    /// Reads 4 bytes at an offset of its page; 0 where no register is.
    #[must_use]
    pub fn read(&self, offset: u32) -> u32 {
        match offset {
            INDEX => u32::from(self.index),
            DATA => self.read_register(),
            _ => 0,
        }
    }

    fn read_register(&self) -> u32 {
        let last_pin = self.pin_count().saturating_sub(1) as u32;
        let version = if self.has_end_register { VERSION_WITH_END } else { VERSION };
        match self.index {
            REGISTER_ID | REGISTER_ARBITRATION => u32::from(self.id & 0xf) << 24,
            REGISTER_VERSION => last_pin << 16 | version,
            _ => match self.selected() {
                Some((pin, false)) => self.pin(pin).map_or(0, |pin| pin.low),
                Some((pin, true)) => self.pin(pin).map_or(0, |pin| pin.high),
                None => 0,
            },
        }
    }

    /// Returns the pin that the index register names, and whether it names the high half.
    fn selected(&self) -> Option<(usize, bool)> {
        let entry = self.index.checked_sub(REGISTER_FIRST_ENTRY)?;
        Some((usize::from(entry / 2), entry % 2 == 1))
    }

    /// Writes 4 bytes at an offset of its page; dropped where no register is.
    pub fn write(&mut self, offset: u32, value: u32) -> WriteEffect {
        match offset {
            INDEX => self.index = value as u8,
            DATA => return self.write_register(value),
            END if self.has_end_register => {
                return WriteEffect { ended: Some(value as u8), ..WriteEffect::default() };
            }
            _ => {}
        }
        WriteEffect::default()
    }

    fn write_register(&mut self, value: u32) -> WriteEffect {
        if self.index == REGISTER_ID {
            self.id = ((value >> 24) & 0xf) as u8;
            return WriteEffect::default();
        }
        let Some((number, is_high)) = self.selected() else { return WriteEffect::default() };
        let Some(pin) = self.pin_mut(number) else { return WriteEffect::default() };
        if is_high {
            pin.high = value & 0xff00_0000;
        } else {
            // An edge is not waited for, so nothing is being handled once the pin is one.
            let request = if value & LEVEL != 0 { pin.low & REMOTE_REQUEST } else { 0 };
            pin.low = value & WRITABLE | request;
        }
        WriteEffect { changed: Some(number), send: pin.request_level(), ended: None }
    }

    /// Asserts or deasserts a line. An edge while masked is lost, as in the chip.
    #[must_use]
    pub fn set_line(&mut self, pin: usize, active: bool) -> Option<Message> {
        let pin = self.pin_mut(pin)?;
        let rises = active && !pin.active;
        pin.active = active;
        if pin.is_level() {
            return pin.request_level();
        }
        if rises && !pin.is_masked() { pin.message() } else { None }
    }

    /// Sets a line without an edge, for a domain that is restored.
    #[must_use]
    pub fn restore_line(&mut self, pin: usize, active: bool) -> Option<Message> {
        let pin = self.pin_mut(pin)?;
        pin.active = active;
        pin.request_level()
    }

    /// Returns the local APICs to which pin 0 passes on the interrupts of an 8259; None if it does not.
    #[must_use]
    pub fn external_destination(&self) -> Option<Destination> {
        let message = self.pin(0).filter(|pin| !pin.is_masked())?.message()?;
        (message.delivery == Delivery::External).then_some(message.destination)
    }

    /// Handles the EOI of a level interrupt by a local APIC. `ended` is called for each pin that had requested this
    /// vector, with the message to send if its line is still asserted.
    pub fn end_of_interrupt(&mut self, vector: u8, mut ended: impl FnMut(usize, Option<Message>)) {
        for (number, pin) in self.pins.as_mut().iter_mut().enumerate() {
            if pin.is_level() && pin.low & REMOTE_REQUEST != 0 && (pin.low & 0xff) as u8 == vector {
                pin.low &= !REMOTE_REQUEST;
                ended(number, pin.request_level());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn register(io_apic: &mut IoApic, index: u8) -> u32 {
        let _ = io_apic.write(INDEX, index.into());
        io_apic.read(DATA)
    }

    fn set(io_apic: &mut IoApic, index: u8, value: u32) -> WriteEffect {
        let _ = io_apic.write(INDEX, index.into());
        io_apic.write(DATA, value)
    }

    fn ended(io_apic: &mut IoApic, vector: u8) -> Vec<(usize, Option<Message>)> {
        let mut out = Vec::new();
        io_apic.end_of_interrupt(vector, |pin, message| out.push((pin, message)));
        out
    }

    #[inline]
    fn message(trigger: Trigger) -> Message {
        Message { destination: Destination::Physical(2), delivery: Delivery::Fixed(0x31), trigger }
    }

    const PIN_9_LOW: u8 = 0x10 + 18;
    const PIN_9_HIGH: u8 = PIN_9_LOW + 1;

    #[test]
    fn it_says_how_many_pins_it_has_and_all_are_masked() {
        let mut io_apic = IoApic::new(0, 24, false);
        assert_eq!(register(&mut io_apic, 1), 0x0017_0011);
        assert_eq!(register(&mut IoApic::new(0, 48, true), 1), 0x002f_0020);
        for pin in 0..24 {
            assert_eq!(register(&mut io_apic, 0x10 + pin * 2), 0x1_0000);
        }
        assert_eq!(register(&mut io_apic, 0x10 + 48), 0);
        assert_eq!(io_apic.route(24), None);
    }

    #[test]
    fn its_identifier_can_be_set() {
        let mut io_apic = IoApic::new(0, 24, false);
        let _ = set(&mut io_apic, 0, 0xff00_0000);
        assert_eq!((register(&mut io_apic, 0), register(&mut io_apic, 2)), (0x0f00_0000, 0x0f00_0000));
    }

    #[test]
    fn an_edge_sends_once_and_is_lost_while_masked() {
        let mut io_apic = IoApic::new(0, 24, false);
        assert_eq!(io_apic.set_line(9, true), None);
        let _ = io_apic.set_line(9, false);
        let _ = set(&mut io_apic, PIN_9_HIGH, 0x0200_0000);
        assert_eq!(set(&mut io_apic, PIN_9_LOW, 0x31), WriteEffect { changed: Some(9), ..WriteEffect::default() });
        assert_eq!(io_apic.set_line(9, true), Some(message(Trigger::Edge)));
        assert_eq!(io_apic.set_line(9, true), None);
        assert_eq!(io_apic.set_line(9, false), None);
        assert_eq!(io_apic.set_line(9, true), Some(message(Trigger::Edge)));
    }

    #[test]
    fn a_level_is_sent_again_after_its_end_while_it_is_active() {
        let mut io_apic = IoApic::new(0, 24, false);
        let _ = set(&mut io_apic, PIN_9_HIGH, 0x0200_0000);
        let _ = set(&mut io_apic, PIN_9_LOW, 0xa031);
        assert_eq!(io_apic.set_line(9, true), Some(message(Trigger::Level)));
        assert_eq!(register(&mut io_apic, PIN_9_LOW), 0xe031);
        assert_eq!(io_apic.set_line(9, true), None);
        assert!(ended(&mut io_apic, 0x32).is_empty());
        assert_eq!(ended(&mut io_apic, 0x31), [(9, Some(message(Trigger::Level)))]);
        let _ = io_apic.set_line(9, false);
        assert_eq!(ended(&mut io_apic, 0x31), [(9, None)]);
        assert!(ended(&mut io_apic, 0x31).is_empty());
    }

    #[test]
    fn an_active_level_is_sent_when_it_is_unmasked() {
        let mut io_apic = IoApic::new(0, 24, false);
        let _ = set(&mut io_apic, PIN_9_HIGH, 0x0200_0000);
        let _ = set(&mut io_apic, PIN_9_LOW, 0x1_8031);
        assert_eq!(io_apic.set_line(9, true), None);
        assert_eq!(set(&mut io_apic, PIN_9_LOW, 0x8031).send, Some(message(Trigger::Level)));
        let route = Route { masked: false, trigger: Trigger::Level, active_low: false, vector: 0x31 };
        assert_eq!(io_apic.route(9), Some(route));
        // Turning it into an edge forgets that it was being handled.
        let _ = set(&mut io_apic, PIN_9_LOW, 0x31);
        assert_eq!(register(&mut io_apic, PIN_9_LOW), 0x31);
    }

    #[test]
    fn pin_0_passes_on_the_8259s_interrupts_when_it_is_unmasked_for_them() {
        let mut io_apic = IoApic::new(0, 24, false);
        let _ = set(&mut io_apic, 0x11, 0x0200_0000);
        for (low, destination) in [(0x1_0700, None), (0x31, None), (0x700, Some(Destination::Physical(2)))] {
            let _ = set(&mut io_apic, 0x10, low);
            assert_eq!(io_apic.external_destination(), destination, "{low:#x}");
        }
    }

    #[test]
    fn a_restored_line_is_no_edge_but_a_level() {
        let mut io_apic = IoApic::new(0, 24, false);
        let _ = set(&mut io_apic, PIN_9_HIGH, 0x0200_0000);
        let _ = set(&mut io_apic, PIN_9_LOW, 0x31);
        assert_eq!(io_apic.restore_line(9, true), None);
        assert_eq!(io_apic.set_line(9, true), None);
        let _ = set(&mut io_apic, PIN_9_LOW, 0x1_8031);
        assert_eq!(io_apic.restore_line(9, true), None);
        let _ = io_apic.restore_line(9, false);
        let _ = set(&mut io_apic, PIN_9_LOW, 0x8031);
        assert_eq!(io_apic.restore_line(9, true), Some(message(Trigger::Level)));
    }

    #[test]
    fn the_end_register_is_there_if_the_version_says_so() {
        let ended = |value| WriteEffect { ended: Some(value), ..WriteEffect::default() };
        assert_eq!(IoApic::new(0, 24, true).write(END, 0x31), ended(0x31));
        assert_eq!(IoApic::new(0, 24, false).write(END, 0x31), WriteEffect::default());
    }

    proptest! {
        #[test]
        fn an_active_unmasked_level_is_always_being_handled(
            steps in proptest::collection::vec((0u8..4, any::<u32>(), any::<u8>(), any::<bool>()), 0..200),
        ) {
            let mut io_apic = IoApic::new(0, 4, true);
            for (pin, value, vector, active) in steps {
                let _ = set(&mut io_apic, vector, value);
                let _ = set(&mut io_apic, 0x10 + pin * 2, value & 0xffff);
                let _ = io_apic.set_line(pin.into(), active);
                io_apic.end_of_interrupt(vector, |_, _| {});
                for pin in &io_apic.pins {
                    let asks = pin.is_level() && !pin.is_masked() && pin.active;
                    prop_assert!(!asks || pin.low & REMOTE_REQUEST != 0);
                }
            }
        }
    }
}
