//! The records of the devices of a domain as a whole: its chipset, or the interrupt lines of a domain that has none, to
//! which no device is connected.

use super::stream::{Record, Writer};
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::x86::chipset;
use xen_abi::Errno;
use xen_abi::hvm_save::{
    HVM_SAVE_CODE_HPET, HVM_SAVE_CODE_IOAPIC, HVM_SAVE_CODE_ISA_IRQ, HVM_SAVE_CODE_PCI_IRQ, HVM_SAVE_CODE_PCI_LINK,
    HVM_SAVE_CODE_PIC, HVM_SAVE_CODE_PIT, HVM_SAVE_CODE_PMTIMER, HVM_SAVE_CODE_RTC, HvmHwHpet, HvmHwIsaIrqs,
    HvmHwPciIrqs, HvmHwPciLink, HvmHwPit, HvmHwPmtimer, HvmHwRtc, HvmHwVioapic, HvmHwVpic, HvmSaveDescriptor,
};
use xenolith_devices::platform::{PlatformRecord, PlatformRecords};
use xenolith_hal::Machine;

/// The types of the interrupt lines, which every domain has.
pub const LINES: [u16; 3] = [HVM_SAVE_CODE_PCI_IRQ, HVM_SAVE_CODE_ISA_IRQ, HVM_SAVE_CODE_PCI_LINK];
/// The types of what only a domain with a chipset has.
pub const CHIPS: [u16; 6] = [
    HVM_SAVE_CODE_PIC,
    HVM_SAVE_CODE_IOAPIC,
    HVM_SAVE_CODE_PIT,
    HVM_SAVE_CODE_RTC,
    HVM_SAVE_CODE_HPET,
    HVM_SAVE_CODE_PMTIMER,
];

const DESCRIPTOR: usize = size_of::<HvmSaveDescriptor>();
/// The size of the records of the lines, in bytes.
pub const LINES_BYTES: usize =
    size_of::<HvmHwPciIrqs>() + size_of::<HvmHwIsaIrqs>() + size_of::<HvmHwPciLink>() + LINES.len() * DESCRIPTOR;
/// The size of the records of the chips, in bytes. There are two of the 8259A pair.
pub const CHIPS_BYTES: usize = 2 * size_of::<HvmHwVpic>()
    + size_of::<HvmHwVioapic>()
    + size_of::<HvmHwPit>()
    + size_of::<HvmHwRtc>()
    + size_of::<HvmHwHpet>()
    + size_of::<HvmHwPmtimer>()
    + (CHIPS.len() + 1) * DESCRIPTOR;

/// Returns the records of a domain's chipset, if it has one.
pub fn of_chipset<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) -> Option<PlatformRecords> {
    // What is due comes first, so that its messages are sent and not lost.
    let _ = chipset::with(hv, domain, |platform, now| platform.advance(now));
    let chips = domain.chipset.get()?;
    chipset::with(hv, domain, |platform, now| chips.records(platform, now))
}

/// Writes the records of one type.
///
/// **Errors:** `ENOMEM`.
pub fn save(chips: Option<&PlatformRecords>, typecode: u16, writer: &mut Writer) -> Result<(), Errno> {
    match chips {
        Some(chips) => save_chip(chips, typecode, writer),
        None => match typecode {
            HVM_SAVE_CODE_PCI_IRQ => writer.record(typecode, 0, &HvmHwPciIrqs::default()),
            HVM_SAVE_CODE_ISA_IRQ => writer.record(typecode, 0, &HvmHwIsaIrqs::default()),
            HVM_SAVE_CODE_PCI_LINK => writer.record(typecode, 0, &HvmHwPciLink::default()),
            _ => Ok(()),
        },
    }
}

fn save_chip(chips: &PlatformRecords, typecode: u16, writer: &mut Writer) -> Result<(), Errno> {
    match typecode {
        HVM_SAVE_CODE_PIC => {
            let [first, second] = &chips.pics;
            writer.record(typecode, 0, first)?;
            writer.record(typecode, 1, second)
        }
        HVM_SAVE_CODE_IOAPIC => writer.record(typecode, 0, &chips.io_apic),
        HVM_SAVE_CODE_PCI_IRQ => writer.record(typecode, 0, &chips.pci_lines),
        HVM_SAVE_CODE_ISA_IRQ => writer.record(typecode, 0, &chips.isa_lines),
        HVM_SAVE_CODE_PCI_LINK => writer.record(typecode, 0, &chips.links),
        HVM_SAVE_CODE_PIT => writer.record(typecode, 0, &chips.timer),
        HVM_SAVE_CODE_RTC => writer.record(typecode, 0, &chips.clock),
        HVM_SAVE_CODE_HPET => writer.record(typecode, 0, &chips.hpet),
        HVM_SAVE_CODE_PMTIMER => writer.record(typecode, 0, &chips.power),
        _ => Ok(()),
    }
}

/// Takes a record over. The lines of a domain without a chipset are checked and ignored.
///
/// **Errors:** `EINVAL` for a body of another length, and a record that makes no sense; `ENODEV` for a chip that the domain
/// does not have.
pub fn load<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, record: &Record<'_>) -> Result<(), Errno> {
    if domain.chipset.get().is_none() && CHIPS.contains(&record.typecode) {
        return Err(Errno::ENODEV);
    }
    let take = |chip: PlatformRecord<'_>| {
        let taken = chipset::with(hv, domain, |platform, now| platform.load(chip, now));
        taken.unwrap_or(Ok(())).map_err(|_| Errno::EINVAL)
    };
    match record.typecode {
        HVM_SAVE_CODE_PIC => take(PlatformRecord::Pic(record.instance, &record.read()?)),
        HVM_SAVE_CODE_IOAPIC => {
            chipset::rest_events(hv, domain);
            take(PlatformRecord::IoApic(&record.read()?))
        }
        HVM_SAVE_CODE_PCI_IRQ => {
            take(PlatformRecord::PciLines(&record.read()?))?;
            chipset::rest_events(hv, domain);
            Ok(())
        }
        HVM_SAVE_CODE_ISA_IRQ => take(PlatformRecord::IsaLines(&record.read()?)),
        HVM_SAVE_CODE_PCI_LINK => take(PlatformRecord::Links(&record.read()?)),
        HVM_SAVE_CODE_PIT => take(PlatformRecord::Timer(&record.read()?)),
        HVM_SAVE_CODE_RTC => take(PlatformRecord::Clock(&record.read_extended()?)),
        HVM_SAVE_CODE_HPET => take(PlatformRecord::Hpet(&record.read()?)),
        _ => take(PlatformRecord::Power(&record.read()?)),
    }
}
