//! The I/O APIC of an ordinary guest as a record of a saved domain. **Source:** `arch-x86/hvm/save.h`, `hvm_hw_vioapic`.

use xen_abi::hvm_save::HvmHwVioapic;

use super::{GuestPins, IoApic, LEVEL, PAGE, Pin, REMOTE_REQUEST, WRITABLE};

/// The writable bits of a redirection entry's high half: the destination.
const WRITABLE_HIGH: u32 = 0xff00_0000;

impl Pin {
    const fn entry(self) -> u64 {
        (self.high as u64) << 32 | self.low as u64
    }

    /// Decodes an entry, which is not trusted. The line is deasserted.
    const fn from_entry(entry: u64) -> Self {
        let low = entry as u32;
        // As on the chip, only a level is waited for.
        let request = if low & LEVEL != 0 { low & REMOTE_REQUEST } else { 0 };
        Self { low: low & WRITABLE | request, high: (entry >> 32) as u32 & WRITABLE_HIGH, active: false }
    }
}

impl IoApic<GuestPins> {
    /// Builds the record. The lines are not part of it: what drives them is in records of its own.
    #[must_use]
    pub fn save(&self) -> HvmHwVioapic {
        HvmHwVioapic {
            base_address: PAGE.0,
            ioregsel: self.index.into(),
            id: self.id.into(),
            redirtbl: self.pins.map(Pin::entry),
        }
    }

    /// Builds an I/O APIC from its record, which is not trusted: reserved bits are dropped, and it lies at [`PAGE`]
    /// whatever address the record gives. All lines are deasserted.
    #[must_use]
    pub fn load(record: &HvmHwVioapic) -> Self {
        Self {
            id: (record.id & 0xf) as u8,
            index: record.ioregsel as u8,
            has_end_register: false,
            pins: record.redirtbl.map(Pin::from_entry),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_was_saved_goes_on_where_it_was() {
        let mut io_apic = IoApic::<GuestPins>::default();
        for (index, value) in [(0x2e, 0xc031), (0x2f, 0x0300_0000), (0x10, 0x700)] {
            let _ = io_apic.write(0, index);
            let _ = io_apic.write(0x10, value);
        }
        assert!(io_apic.set_line(15, true).is_some());
        let record = io_apic.save();
        assert_eq!((record.base_address, record.ioregsel, record.redirtbl[0]), (0xfec0_0000, 0x10, 0x700));
        assert_eq!(record.redirtbl[15], 0x0300_0000_0000_c031);
        assert_eq!(record.redirtbl[47], 0x1_0000);
        let mut loaded = IoApic::load(&record);
        assert_ne!(loaded, io_apic, "the line is deasserted");
        assert_eq!(loaded.set_line(15, true), None, "the guest has not ended the first yet");
        assert_eq!(loaded, io_apic);
    }

    proptest! {
        #[test]
        fn a_record_of_anything_gives_what_a_guest_could_have_set(entry: u64, ioregsel: u32, id: u32) {
            let record = HvmHwVioapic { base_address: 1, ioregsel, id, redirtbl: [entry; 48] };
            let loaded = IoApic::load(&record);
            let saved = loaded.save();
            prop_assert_eq!(IoApic::load(&saved).save(), saved);
            prop_assert_eq!(saved.redirtbl[0] & !0xff00_0000_0001_efff, 0);
            prop_assert!(saved.id < 16 && saved.ioregsel < 256);
        }
    }
}
