//! The firmware's ACPI tables, as far as a hypervisor reads them: which processors and interrupt controllers there
//! are, which timers, how the machine is reset. AML is dom0's business.
//!
//! **Source:** ACPI 6.5, 5.2; the HPET specification 1.0a, 3.2.4; the PCI firmware specification 3.2, 4.1.2.

mod fixed;
mod ivrs;
mod processors;
mod root;
mod soft_off;

use arrayvec::ArrayVec;

use crate::fault::{BootFault, Table};
use crate::info::RsdpSource;
use crate::physical::PhysicalMemory;

pub use fixed::{FixedHardware, RegisterSpace, ResetRegister};
pub use ivrs::{DeviceMemory, Iommu, Iommus};
pub use processors::{InterruptOverride, IoApic, LocalNmi, Processor, Processors};
pub use root::find_rsdp;

/// The most tables that are looked at.
const TABLES: usize = 64;
/// The most ranges of PCI buses with memory-mapped configuration that are kept.
const PCI_RANGES: usize = 16;
/// The length of the header that all tables share, in bytes.
const HEADER: u64 = 36;
/// The longest table whose checksum is looked at, in bytes.
const CHECKED: u64 = 1 << 20;

/// Where one table lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableLocation {
    /// Its four letters.
    pub signature: [u8; 4],
    /// Its machine address.
    pub address: u64,
    /// Its length in bytes, header included.
    pub length: u64,
}

impl TableLocation {
    /// Reads the number at `offset` of the table. **Errors:** `Unreadable`; `BadStructure` when it does not lie inside.
    fn u32_at(&self, memory: &impl PhysicalMemory, offset: u64) -> Result<u32, BootFault> {
        self.check(offset, 4)?;
        memory.u32_at(Table::Acpi, self.address, offset)
    }

    fn u64_at(&self, memory: &impl PhysicalMemory, offset: u64) -> Result<u64, BootFault> {
        self.check(offset, 8)?;
        memory.u64_at(Table::Acpi, self.address, offset)
    }

    fn bytes_at<const N: usize>(&self, memory: &impl PhysicalMemory, offset: u64) -> Result<[u8; N], BootFault> {
        self.check(offset, N as u64)?;
        memory.bytes(Table::Acpi, self.address.saturating_add(offset))
    }

    fn check(&self, offset: u64, size: u64) -> Result<(), BootFault> {
        match offset.checked_add(size) {
            Some(end) if end <= self.length => Ok(()),
            _ => Err(BootFault::BadStructure { table: Table::Acpi, address: self.address }),
        }
    }
}

/// Who made a table. **Source:** ACPI 6.5, 5.2.6.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableMaker {
    /// The maker.
    pub oem_id: [u8; 6],
    /// The maker's name for the machine.
    pub oem_table_id: [u8; 8],
    /// The maker's version of the table.
    pub oem_revision: u32,
}

/// A range of PCI buses whose configuration space is memory (ECAM, an entry of the MCFG).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PciRange {
    /// The machine address where bus 0 of the segment would begin.
    pub address: u64,
    /// The segment group.
    pub segment: u16,
    /// The first bus.
    pub first_bus: u8,
    /// The last bus.
    pub last_bus: u8,
}

/// What the tables say, of each what a hypervisor needs before dom0 runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AcpiTables {
    /// Every table that the root names, the DSDT included.
    pub tables: ArrayVec<TableLocation, TABLES>,
    /// Processors and interrupt controllers.
    pub processors: Processors,
    /// Who made the table of these.
    pub maker: TableMaker,
    /// Fixed hardware: the PM timer, the reset register.
    pub fixed: Option<FixedHardware>,
    /// The two sleep types that switch the machine off, for the two control registers.
    pub soft_off: Option<(u8, u8)>,
    /// The machine address of the HPET's registers.
    pub hpet: Option<u64>,
    /// AMD's IOMMUs.
    pub iommus: Iommus,
    /// Memory-mapped PCI configuration.
    pub pci_ranges: ArrayVec<PciRange, PCI_RANGES>,
}

impl AcpiTables {
    /// Reads the tables below the root at `source`.
    ///
    /// **Errors:** `Unreadable` and `BadStructure` name the table that cannot be used.
    pub fn read(memory: &impl PhysicalMemory, source: RsdpSource) -> Result<Self, BootFault> {
        let mut found = Self::default();
        root::for_each_table(memory, source, |location| found.take(memory, location))?;
        Ok(found)
    }

    /// Returns the first table with this signature.
    #[must_use]
    pub fn table(&self, signature: &[u8; 4]) -> Option<&TableLocation> {
        self.tables.iter().find(|location| &location.signature == signature)
    }

    fn take(&mut self, memory: &impl PhysicalMemory, location: TableLocation) -> Result<(), BootFault> {
        self.tables.try_push(location).map_err(|_| BootFault::TooManyEntries { table: Table::Acpi, limit: TABLES })?;
        match &location.signature {
            b"APIC" => {
                self.processors = Processors::read(memory, &location)?;
                self.maker = TableMaker {
                    oem_id: location.bytes_at(memory, 10)?,
                    oem_table_id: location.bytes_at(memory, 16)?,
                    oem_revision: location.u32_at(memory, 24)?,
                };
            }
            b"FACP" => {
                let fixed = FixedHardware::read(memory, &location)?;
                self.fixed = Some(fixed);
                if let Some(dsdt) = root::table_at(memory, fixed.dsdt)? {
                    self.soft_off = soft_off::find(memory, &dsdt)?;
                    let _ = self.tables.try_push(dsdt);
                }
            }
            // The generic address at 40 says memory (0) or ports (1); nobody built one with ports.
            b"HPET" => {
                let [space] = location.bytes_at(memory, 40)?;
                self.hpet = Some(location.u64_at(memory, 44)?).filter(|address| space == 0 && *address != 0);
            }
            b"IVRS" => self.iommus = Iommus::read(memory, &location)?,
            b"MCFG" => self.read_pci_ranges(memory, &location)?,
            _ => {}
        }
        Ok(())
    }

    fn read_pci_ranges(&mut self, memory: &impl PhysicalMemory, location: &TableLocation) -> Result<(), BootFault> {
        let mut offset = HEADER + 8;
        while offset.saturating_add(16) <= location.length {
            let [low, high, first_bus, last_bus] = location.bytes_at(memory, offset.saturating_add(8))?;
            let range = PciRange {
                address: location.u64_at(memory, offset)?,
                segment: u16::from_le_bytes([low, high]),
                first_bus,
                last_bus,
            };
            let full = BootFault::TooManyEntries { table: Table::Acpi, limit: PCI_RANGES };
            self.pci_ranges.try_push(range).map_err(|_| full)?;
            offset = offset.saturating_add(16);
        }
        Ok(())
    }
}
