//! The MSI capability as a guest sees it.

use xenolith_hal::{IoSize, MessageAddress};

use super::ConfigAccess;
use crate::interrupt::Message;

const ENABLE: u16 = 1;
const IS_64_BIT: u16 = 1 << 7;
const IS_MASKABLE: u16 = 1 << 8;
const MULTIPLE_SHIFT: u32 = 4;

/// One function's MSI registers. **Source:** PCI Local Bus specification 3.0, 6.8.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Msi {
    /// Offset of the capability in the configuration space.
    register: u16,
    /// The device's own header: identifier, next pointer, and the read-only bits of the control word.
    header: u32,
    enabled: bool,
    /// Base 2 logarithm of the number of vectors that the guest enabled.
    multiple: u8,
    address: u64,
    data: u16,
    mask: u32,
}

impl Msi {
    /// Creates the registers from the first doubleword of the device's capability at `register`. Disabled, as after
    /// reset.
    #[must_use]
    pub const fn new(register: u16, header: u32) -> Self {
        let fixed = header & !((ENABLE as u32 | 7 << MULTIPLE_SHIFT) << 16);
        Self { register, header: fixed, enabled: false, multiple: 0, address: 0, data: 0, mask: 0 }
    }

    const fn control(&self) -> u16 {
        (self.header >> 16) as u16
    }

    const fn is_64_bit(&self) -> bool {
        self.control() & IS_64_BIT != 0
    }

    const fn is_maskable(&self) -> bool {
        self.control() & IS_MASKABLE != 0
    }

    /// Returns the base 2 logarithm of the most vectors that the device has: 0 to 5.
    const fn capable(&self) -> u8 {
        let capable = (self.control() >> 1 & 7) as u8;
        if capable > 5 { 5 } else { capable }
    }

    /// Returns the length of the capability in bytes.
    const fn length(&self) -> u16 {
        match (self.is_64_bit(), self.is_maskable()) {
            (false, false) => 0xc,
            (true, false) => 0x10,
            (false, true) => 0x14,
            (true, true) => 0x18,
        }
    }

    /// Returns whether a register of the configuration space belongs to the capability.
    #[must_use]
    pub const fn contains(&self, register: u16) -> bool {
        matches!(register.checked_sub(self.register), Some(offset) if offset < self.length())
    }

    /// Returns whether the guest enabled it.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Returns the number of vectors that the guest enabled.
    #[must_use]
    pub const fn vectors(&self) -> u32 {
        1 << self.multiple
    }

    /// Returns the interrupt of a vector, counted from 0. None while it is disabled or masked, past the last, or if the
    /// guest's values are not an interrupt message.
    #[must_use]
    pub fn message(&self, vector: u32) -> Option<Message> {
        self.target(vector).filter(|_| self.mask & (1 << vector) == 0)
    }

    /// Returns the same as [`Msi::message`], for a masked vector as well.
    #[must_use]
    pub fn target(&self, vector: u32) -> Option<Message> {
        if !self.enabled || vector >= self.vectors() {
            return None;
        }
        // A device with several vectors changes the lowest bits of the data.
        let high = self.vectors().wrapping_neg();
        Message::from_msi(self.address, u32::from(self.data) & high | vector)
    }

    /// Writes to the device, in the required order, the registers by which it sends `message` on its one vector, masked
    /// as the guest wants; without a message, by which it sends none. `write` gets the offset in the configuration
    /// space.
    pub fn program(&self, message: Option<MessageAddress>, mut write: impl FnMut(u16, IoSize, u32)) {
        let at = |place: u16| self.register.wrapping_add(place << 2);
        let control = self.register.wrapping_add(2);
        let off = self.control() & !(ENABLE | 7 << MULTIPLE_SHIFT);
        let Some(message) = message else {
            write(control, IoSize::Word, off.into());
            return;
        };
        let (upper, data, mask) = self.places();
        write(at(1), IoSize::Dword, message.address as u32);
        if let Some(upper) = upper {
            write(at(upper), IoSize::Dword, (message.address >> 32) as u32);
        }
        write(at(data), IoSize::Word, message.data & 0xffff);
        if let Some(mask) = mask {
            write(at(mask), IoSize::Dword, self.mask);
        }
        write(control, IoSize::Word, (off | ENABLE).into());
    }

    /// Returns the offsets of the fields after the header, in doublewords: upper address, data, mask.
    const fn places(&self) -> (Option<u16>, u16, Option<u16>) {
        let (upper, data, mask) = if self.is_64_bit() { (Some(2), 3, 4) } else { (None, 2, 3) };
        (upper, data, if self.is_maskable() { Some(mask) } else { None })
    }

    /// Returns which doubleword of the capability a register of the configuration space is.
    const fn place(&self, register: u16) -> u16 {
        register.wrapping_sub(self.register) / 4
    }

    /// Reads a doubleword of the configuration space; None if it does not belong to the capability.
    #[must_use]
    pub fn read(&self, register: u16) -> Option<u32> {
        if !self.contains(register) {
            return None;
        }
        let (upper, data, mask) = self.places();
        Some(match self.place(register) {
            0 => {
                let control = u32::from(self.enabled) | u32::from(self.multiple) << MULTIPLE_SHIFT;
                self.header | control << 16
            }
            1 => self.address as u32,
            place if Some(place) == upper => (self.address >> 32) as u32,
            place if place == data => u32::from(self.data),
            place if Some(place) == mask => self.mask,
            _ => 0,
        })
    }

    /// Writes part of the capability; returns true if the destination or the mask of an interrupt may have changed.
    pub fn write(&mut self, access: ConfigAccess, value: u32) -> bool {
        let Some(old) = self.read(access.doubleword()) else { return false };
        let value = access.merge(old, value);
        let before = *self;
        let (upper, data, mask) = self.places();
        match self.place(access.doubleword()) {
            0 => {
                let control = (value >> 16) as u16;
                self.enabled = control & ENABLE != 0;
                self.multiple = ((control >> MULTIPLE_SHIFT & 7) as u8).min(self.capable());
            }
            1 => self.address = self.address & !u64::from(u32::MAX) | u64::from(value & !3),
            place if Some(place) == upper => {
                self.address = self.address & u64::from(u32::MAX) | u64::from(value) << 32;
            }
            place if place == data => self.data = value as u16,
            place if Some(place) == mask => self.mask = value,
            _ => {}
        }
        *self != before
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::interrupt::{Delivery, Destination, Trigger};
    use crate::pci::PciAddress;

    fn access(register: u16, bytes: u32) -> ConfigAccess {
        ConfigAccess::new(PciAddress::from_bdf(0, 0xfa), register, bytes).unwrap()
    }

    /// Creates a capability of 64 bits, four vectors, maskable, at 0x80.
    fn msi() -> Msi {
        Msi::new(0x80, 0x0184_a805)
    }

    #[test]
    fn linux_sets_up_a_vector() {
        let mut msi = msi();
        assert!(msi.write(access(0x84, 4), 0xfee0_2000));
        assert!(!msi.write(access(0x88, 4), 0));
        assert!(msi.write(access(0x8c, 2), 0x25));
        assert_eq!(msi.message(0), None);
        assert!(msi.write(access(0x82, 2), 0x0185));
        let message =
            Message { destination: Destination::Physical(2), delivery: Delivery::Fixed(0x25), trigger: Trigger::Edge };
        assert_eq!(msi.message(0), Some(message));
        assert_eq!(msi.message(1), None);
        assert_eq!(msi.read(0x80), Some(0x0185_a805));
    }

    #[test]
    fn several_vectors_differ_in_the_lowest_bits() {
        let mut msi = msi();
        msi.write(access(0x84, 4), 0xfee0_0000);
        msi.write(access(0x8c, 2), 0x41);
        msi.write(access(0x82, 2), 0x0171);
        assert_eq!(msi.vectors(), 4, "no more than the device has");
        let vector = |index| msi.message(index).map(|message| message.delivery);
        assert_eq!((vector(0), vector(3), vector(4)), (Some(Delivery::Fixed(0x40)), Some(Delivery::Fixed(0x43)), None));
    }

    #[test]
    fn a_masked_vector_is_not_sent() {
        let mut msi = msi();
        msi.write(access(0x84, 4), 0xfee0_0000);
        msi.write(access(0x8c, 2), 0x41);
        msi.write(access(0x82, 2), 1);
        assert!(msi.message(0).is_some());
        assert!(msi.write(access(0x90, 4), 1));
        assert_eq!(msi.message(0), None);
    }

    #[test]
    fn the_small_form_has_its_data_sooner_and_ends_sooner() {
        let mut msi = Msi::new(0x50, 0x0000_0005);
        msi.write(access(0x58, 2), 0x33);
        assert_eq!((msi.read(0x58), msi.read(0x5c)), (Some(0x33), None));
        assert!(!msi.contains(0x4f) && msi.contains(0x5b) && !msi.contains(0x5c));
        assert!(!msi.write(access(0x5c, 4), 1));
    }

    #[test]
    fn the_device_is_given_its_own_message_before_it_is_turned_on() {
        let mut written = Vec::new();
        let message = MessageAddress { address: 0x1_fee0_0000, data: 0x31 };
        msi().program(Some(message), |register, _, value| written.push((register, value)));
        assert_eq!(written, [(0x84, 0xfee0_0000), (0x88, 1), (0x8c, 0x31), (0x90, 0), (0x82, 0x0185)]);
        written.clear();
        Msi::new(0x50, 5).program(Some(message), |register, _, value| written.push((register, value)));
        assert_eq!(written, [(0x54, 0xfee0_0000), (0x58, 0x31), (0x52, 1)]);
        written.clear();
        msi().program(None, |register, _, value| written.push((register, value)));
        assert_eq!(written, [(0x82, 0x0184)]);
    }

    #[test]
    fn a_masked_vector_keeps_its_target() {
        let mut msi = msi();
        msi.write(access(0x84, 4), 0xfee0_0000);
        msi.write(access(0x8c, 2), 0x41);
        msi.write(access(0x90, 4), 1);
        assert_eq!(msi.target(0), None, "not turned on");
        msi.write(access(0x82, 2), 1);
        assert!(msi.target(0).is_some() && msi.message(0).is_none());
    }

    #[test]
    fn read_only_bits_stay() {
        let mut msi = msi();
        msi.write(access(0x80, 4), 0);
        assert_eq!(msi.read(0x80), Some(0x0184_a805));
        msi.write(access(0x84, 4), u32::MAX);
        assert_eq!(msi.read(0x84), Some(0xffff_fffc));
    }
}
