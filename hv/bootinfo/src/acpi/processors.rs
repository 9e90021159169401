//! The MADT: processors and interrupt controllers. **Source:** ACPI 6.5, 5.2.12.

use arrayvec::ArrayVec;

use super::{HEADER, TableLocation};
use crate::fault::{BootFault, Table};
use crate::physical::PhysicalMemory;

/// The most processors that are kept; further ones are counted.
const PROCESSORS: usize = 256;
const IO_APICS: usize = 32;
const OVERRIDES: usize = 48;
const NMIS: usize = 64;

const ENABLED: u32 = 1;

/// One usable processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Processor {
    /// The identifier of its local APIC.
    pub apic_id: u32,
    /// ACPI's number for it.
    pub acpi_id: u32,
}

/// One I/O APIC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoApic {
    /// Its identifier.
    pub id: u8,
    /// The machine address of its registers.
    pub address: u64,
    /// The global interrupt of its first pin.
    pub first_interrupt: u32,
}

/// An ISA interrupt that does not arrive where it would by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterruptOverride {
    /// The ISA interrupt.
    pub source: u8,
    /// The global interrupt.
    pub global: u32,
    /// Polarity in bits 0 and 1, trigger mode in bits 2 and 3, as the table has them.
    pub flags: u16,
}

/// A pin of a local APIC that takes NMIs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalNmi {
    /// ACPI's number of the processor; none for all of them.
    pub acpi_id: Option<u32>,
    /// The pin, 0 or 1.
    pub pin: u8,
    /// As in [`InterruptOverride`].
    pub flags: u16,
}

/// What the MADT says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Processors {
    /// The machine address of each CPU's local APIC.
    pub local_apic: u64,
    /// There are two 8259s as well, which must be masked.
    pub has_legacy_pics: bool,
    /// The processors that can be used, in the table's order.
    pub usable: ArrayVec<Processor, PROCESSORS>,
    /// How many more could be used than there is room for.
    pub left_out: u32,
    /// I/O APICs.
    pub io_apics: ArrayVec<IoApic, IO_APICS>,
    /// ISA interrupts that moved.
    pub overrides: ArrayVec<InterruptOverride, OVERRIDES>,
    /// NMI pins.
    pub nmis: ArrayVec<LocalNmi, NMIS>,
}

impl Processors {
    pub(super) fn read(memory: &impl PhysicalMemory, table: &TableLocation) -> Result<Self, BootFault> {
        let mut found = Self {
            local_apic: table.u32_at(memory, HEADER)?.into(),
            has_legacy_pics: table.u32_at(memory, HEADER + 4)? & 1 != 0,
            ..Self::default()
        };
        let mut offset = HEADER + 8;
        while offset.saturating_add(2) <= table.length {
            let [kind, length] = table.bytes_at(memory, offset)?;
            let entry = Entry { memory, table, offset, length: length.into() };
            if length < 2 || offset.saturating_add(entry.length) > table.length {
                return Err(BootFault::BadStructure { table: Table::Acpi, address: table.address });
            }
            found.take(kind, &entry)?;
            offset = offset.saturating_add(entry.length);
        }
        Ok(found)
    }

    fn take<M: PhysicalMemory>(&mut self, kind: u8, entry: &Entry<'_, M>) -> Result<(), BootFault> {
        let full = |limit| BootFault::TooManyEntries { table: Table::Acpi, limit };
        match kind {
            0 => {
                let [acpi_id, apic_id] = entry.bytes(2)?;
                self.add_processor(apic_id.into(), acpi_id.into(), u32::from_le_bytes(entry.bytes(4)?));
            }
            1 => {
                let [id] = entry.bytes(2)?;
                let address = u32::from_le_bytes(entry.bytes(4)?).into();
                let first_interrupt = u32::from_le_bytes(entry.bytes(8)?);
                let io_apic = IoApic { id, address, first_interrupt };
                self.io_apics.try_push(io_apic).map_err(|_| full(IO_APICS))?;
            }
            2 => {
                let [source] = entry.bytes(3)?;
                let global = u32::from_le_bytes(entry.bytes(4)?);
                let moved = InterruptOverride { source, global, flags: u16::from_le_bytes(entry.bytes(8)?) };
                self.overrides.try_push(moved).map_err(|_| full(OVERRIDES))?;
            }
            4 => {
                let [acpi_id, low, high, pin] = entry.bytes(2)?;
                let acpi_id = (acpi_id != 0xff).then_some(acpi_id.into());
                let _ = self.nmis.try_push(LocalNmi { acpi_id, pin, flags: u16::from_le_bytes([low, high]) });
            }
            5 => self.local_apic = u64::from_le_bytes(entry.bytes(4)?),
            9 => {
                let apic_id = u32::from_le_bytes(entry.bytes(4)?);
                let acpi_id = u32::from_le_bytes(entry.bytes(12)?);
                self.add_processor(apic_id, acpi_id, u32::from_le_bytes(entry.bytes(8)?));
            }
            10 => {
                let acpi_id = u32::from_le_bytes(entry.bytes(4)?);
                let [pin] = entry.bytes(8)?;
                let acpi_id = (acpi_id != u32::MAX).then_some(acpi_id);
                let _ = self.nmis.try_push(LocalNmi { acpi_id, pin, flags: u16::from_le_bytes(entry.bytes(2)?) });
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds a processor that is enabled. Firmware may name one processor in both forms: the first counts.
    fn add_processor(&mut self, apic_id: u32, acpi_id: u32, flags: u32) {
        if flags & ENABLED == 0 || self.usable.iter().any(|processor| processor.apic_id == apic_id) {
            return;
        }
        if self.usable.try_push(Processor { apic_id, acpi_id }).is_err() {
            self.left_out = self.left_out.saturating_add(1);
        }
    }
}

/// One entry of the table.
struct Entry<'a, M> {
    memory: &'a M,
    table: &'a TableLocation,
    offset: u64,
    length: u64,
}

impl<M: PhysicalMemory> Entry<'_, M> {
    /// Reads the bytes at `offset` of the entry, which must lie inside it.
    fn bytes<const N: usize>(&self, offset: u64) -> Result<[u8; N], BootFault> {
        if offset.saturating_add(N as u64) > self.length {
            return Err(BootFault::BadStructure { table: Table::Acpi, address: self.table.address });
        }
        self.table.bytes_at(self.memory, self.offset.saturating_add(offset))
    }
}
