//! The MSI-X capability and its table as a guest sees them.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use super::ConfigAccess;
use crate::interrupt::Message;

const ENABLE: u32 = 1 << 31;
const FUNCTION_MASK: u32 = 1 << 30;
const ENTRY_BYTES: u32 = 16;
const ENTRY_MASKED: u32 = 1;

/// One entry of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry {
    address: u64,
    data: u32,
    control: u32,
}

/// One function's MSI-X registers and table. **Source:** PCI Local Bus specification 3.0, 6.8.2.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MsiX {
    register: u16,
    /// The device's own header without the bits that the guest sets.
    header: u32,
    /// Number of the base address register and offset in it: of the table, and of the pending bits.
    table: u32,
    pending: u32,
    enabled: bool,
    masked: bool,
    entries: Vec<Entry>,
}

impl MsiX {
    /// Creates the registers from the three doublewords of the device's capability at `register`. Disabled, all entries
    /// masked.
    ///
    /// **Errors:** memory is short for the table: 24 bytes for each of up to 2048 entries.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn new(register: u16, header: u32, table: u32, pending: u32) -> Result<Self, TryReserveError> {
        let count = ((header >> 16 & 0x7ff) as usize).saturating_add(1);
        let entry = Entry { address: 0, data: 0, control: ENTRY_MASKED };
        let header = header & !(ENABLE | FUNCTION_MASK);
        let mut entries = Vec::new();
        entries.try_reserve_exact(count)?;
        entries.resize(count, entry);
        Ok(Self { register, header, table, pending, enabled: false, masked: false, entries })
    }

    /// Returns the BAR that holds the table, the table's offset in it, and its size in bytes.
    #[must_use]
    pub fn table_place(&self) -> (usize, u64, u64) {
        let bytes = (self.entries.len() as u64).saturating_mul(ENTRY_BYTES.into());
        ((self.table & 7) as usize, u64::from(self.table & !7), bytes)
    }

    /// Returns the number of entries of the table.
    #[must_use]
    pub fn vectors(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether the guest enabled it.
    #[must_use]
    pub const fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Returns the interrupt of an entry. None while it is disabled or masked, past the last, or if the guest's values
    /// are not an interrupt message.
    #[must_use]
    pub fn message(&self, entry: usize) -> Option<Message> {
        self.target(entry).filter(|_| self.enabled && !self.masked && !self.is_entry_masked(entry))
    }

    /// Returns the interrupt of an entry, masked or not. None past the last, or if the guest's values are not an
    /// interrupt message.
    #[must_use]
    pub fn target(&self, entry: usize) -> Option<Message> {
        let entry = self.entries.get(entry)?;
        Message::from_msi(entry.address, entry.data)
    }

    /// Returns whether an entry is masked by its own bit; true past the last.
    #[must_use]
    pub fn is_entry_masked(&self, entry: usize) -> bool {
        self.entries.get(entry).is_none_or(|entry| entry.control & ENTRY_MASKED != 0)
    }

    /// Returns the offset of the control word, and the guest's value of it.
    #[must_use]
    pub const fn control(&self) -> (u16, u32) {
        let enable = if self.enabled { ENABLE } else { 0 };
        (self.register.wrapping_add(2), (enable | if self.masked { FUNCTION_MASK } else { 0 }) >> 16)
    }

    /// Reads a doubleword of the configuration space; None if it does not belong to the capability.
    #[must_use]
    pub const fn read(&self, register: u16) -> Option<u32> {
        match register.checked_sub(self.register) {
            Some(0) => {
                let enable = if self.enabled { ENABLE } else { 0 };
                Some(self.header | enable | if self.masked { FUNCTION_MASK } else { 0 })
            }
            Some(4) => Some(self.table),
            Some(8) => Some(self.pending),
            _ => None,
        }
    }

    /// Writes part of the capability; returns true if all of its interrupts may have changed.
    pub fn write(&mut self, access: ConfigAccess, value: u32) -> bool {
        if access.doubleword() != self.register {
            return false;
        }
        let value = access.merge(self.read(self.register).unwrap_or(0), value);
        let new = (value & ENABLE != 0, value & FUNCTION_MASK != 0);
        let changed = new != (self.enabled, self.masked);
        (self.enabled, self.masked) = new;
        changed
    }

    /// Reads 4 or 8 bytes of the table; all ones past its end and for other sizes.
    #[must_use]
    pub fn read_table(&self, offset: u32, bytes: u32) -> u64 {
        let Some((index, place)) = self.locate(offset, bytes) else { return u64::MAX };
        let Some(entry) = self.entries.get(index) else { return u64::MAX };
        let words = [entry.address as u32, (entry.address >> 32) as u32, entry.data, entry.control];
        let word = |place: usize| words.get(place).copied().map_or(0, u64::from);
        // Eight bytes begin at an even place.
        if bytes == 8 { word(place | 1) << 32 | word(place) } else { word(place) }
    }

    /// Writes 4 or 8 bytes of the table; dropped past its end and for other sizes. Returns the entry that changed.
    pub fn write_table(&mut self, offset: u32, bytes: u32, value: u64) -> Option<usize> {
        let (index, place) = self.locate(offset, bytes)?;
        let entry = self.entries.get_mut(index)?;
        let before = *entry;
        entry.set(place, value as u32);
        if bytes == 8 {
            entry.set(place | 1, (value >> 32) as u32);
        }
        (*entry != before).then_some(index)
    }

    /// Returns the entry at an offset, and the doubleword in it.
    fn locate(&self, offset: u32, bytes: u32) -> Option<(usize, usize)> {
        let fits = matches!(bytes, 4 | 8) && offset.is_multiple_of(bytes);
        fits.then_some(((offset / ENTRY_BYTES) as usize, (offset % ENTRY_BYTES / 4) as usize))
    }
}

impl Entry {
    fn set(&mut self, place: usize, value: u32) {
        match place {
            0 => self.address = self.address & !u64::from(u32::MAX) | u64::from(value & !3),
            1 => self.address = self.address & u64::from(u32::MAX) | u64::from(value) << 32,
            2 => self.data = value,
            _ => self.control = value & ENTRY_MASKED,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::interrupt::Delivery;
    use crate::pci::PciAddress;

    fn control(bytes: u32) -> ConfigAccess {
        ConfigAccess::new(PciAddress::from_bdf(0, 0x20), if bytes == 2 { 0xa2 } else { 0xa0 }, bytes).unwrap()
    }

    /// Creates a table of five entries in BAR 3, capability at 0xa0.
    fn msix() -> MsiX {
        MsiX::new(0xa0, 0x0004_0011, 0x3, 0x2003).unwrap()
    }

    fn enabled() -> MsiX {
        let mut msix = msix();
        assert!(msix.write(control(2), 0x8000));
        msix
    }

    #[test]
    fn linux_sets_up_an_entry() {
        let mut msix = enabled();
        assert_eq!(msix.table_place(), (3, 0, 80));
        for (offset, value) in [(0x10, 0xfee0_2000u64), (0x14, 0), (0x18, 0x26)] {
            let _ = msix.write_table(offset, 4, value);
        }
        assert_eq!(msix.message(1), None);
        assert_eq!(msix.write_table(0x1c, 4, 0), Some(1));
        assert_eq!(msix.message(1).map(|message| message.delivery), Some(Delivery::Fixed(0x26)));
        assert_eq!(msix.message(0), None);
        assert_eq!(msix.read_table(0x10, 8), 0xfee0_2000);
        assert_eq!(msix.read_table(0x18, 8), 0x26);
    }

    #[test]
    fn the_function_mask_and_the_enable_bit_hold_back_all() {
        let mut msix = enabled();
        let _ = msix.write_table(0, 8, 0xfee0_0000);
        assert_eq!(msix.write_table(8, 8, 0x30), Some(0));
        assert!(msix.message(0).is_some());
        assert!(msix.write(control(2), 0xc000));
        assert_eq!((msix.message(0), msix.read(0xa0)), (None, Some(0xc004_0011)));
        assert!(msix.target(0).is_some() && !msix.is_entry_masked(0) && msix.is_entry_masked(1));
        assert_eq!(msix.control(), (0xa2, 0xc000));
        assert!(msix.write(control(4), 0));
        assert_eq!((msix.is_enabled(), msix.read(0xa0)), (false, Some(0x0004_0011)));
        assert!(!msix.write(control(4), 0));
    }

    #[test]
    fn only_its_three_registers_belong_to_it() {
        let msix = msix();
        assert_eq!(
            (msix.read(0xa4), msix.read(0xa8), msix.read(0xac), msix.read(0x9c)),
            (Some(3), Some(0x2003), None, None)
        );
    }

    #[test]
    fn odd_accesses_to_the_table_reach_nothing() {
        let mut msix = enabled();
        let before = msix.clone();
        for (offset, bytes) in [(80, 4), (2, 4), (4, 8), (0, 2), (!7, 8)] {
            assert_eq!(msix.write_table(offset, bytes, 0), None);
            assert_eq!(msix.read_table(offset, bytes), u64::MAX);
        }
        assert_eq!(msix, before);
    }

    proptest! {
        #[test]
        fn what_is_written_to_the_table_reads_back(entry in 0u32..5, address: u64, data: u32) {
            let mut msix = msix();
            let _ = msix.write_table(entry * 16, 8, address);
            let _ = msix.write_table(entry * 16 + 8, 4, u64::from(data));
            prop_assert_eq!(msix.read_table(entry * 16, 8), address & !3);
            prop_assert_eq!(msix.read_table(entry * 16 + 8, 8), 1 << 32 | u64::from(data));
        }
    }
}
