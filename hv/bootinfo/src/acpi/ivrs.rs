//! The IVRS: AMD's IOMMUs. **Source:** AMD I/O Virtualization Technology specification 3.07, 5.2.

use arrayvec::ArrayVec;

use super::{HEADER, TableLocation};
use crate::fault::{BootFault, Table};
use crate::physical::PhysicalMemory;

/// The most IOMMUs, and the most ranges of memory, that are kept.
const IOMMUS: usize = 16;
const RESERVED: usize = 32;

/// The first block comes after the header, a word of information and a reserved one.
const FIRST_BLOCK: u64 = HEADER + 12;
/// Kinds of blocks: three forms in which an IOMMU is described, three in which memory is.
const FIRST_IOMMU: [u8; 3] = [0x10, 0x11, 0x40];
const MEMORY: [u8; 3] = [0x20, 0x21, 0x22];
const UNITY: u8 = 1;
const READ: u8 = 1 << 1;
const WRITE: u8 = 1 << 2;

/// One IOMMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Iommu {
    /// The machine address of its registers.
    pub registers: u64,
    /// The PCI function that it is, segment and bus, device and function.
    pub segment: u16,
    pub bdf: u16,
    /// How its links are to be set up, as the table has them.
    pub flags: u8,
}

/// Memory that devices use on the firmware's behalf, each address at its own place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceMemory {
    /// Machine address of the first byte.
    pub start: u64,
    /// In bytes.
    pub length: u64,
    pub read: bool,
    pub write: bool,
}

/// What the IVRS says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Iommus {
    pub iommus: ArrayVec<Iommu, IOMMUS>,
    pub memory: ArrayVec<DeviceMemory, RESERVED>,
}

impl Iommus {
    pub(super) fn read(memory: &impl PhysicalMemory, table: &TableLocation) -> Result<Self, BootFault> {
        let mut found = Self::default();
        let mut offset = FIRST_BLOCK;
        while offset.saturating_add(4) <= table.length {
            let [kind, flags, low, high] = table.bytes_at(memory, offset)?;
            let length = u64::from(u16::from_le_bytes([low, high]));
            if length < 4 || offset.saturating_add(length) > table.length {
                return Err(BootFault::BadStructure { table: Table::Acpi, address: table.address });
            }
            let full = |limit| BootFault::TooManyEntries { table: Table::Acpi, limit };
            if FIRST_IOMMU.contains(&kind) {
                let [low, high] = table.bytes_at(memory, offset.saturating_add(4))?;
                let bdf = u16::from_le_bytes([low, high]);
                let registers = table.u64_at(memory, offset.saturating_add(8))?;
                let segment = u16::from_le_bytes(table.bytes_at(memory, offset.saturating_add(16))?);
                let iommu = Iommu { registers, segment, bdf, flags };
                // A table has the same IOMMU in more than one form; the first counts.
                if !found.iommus.iter().any(|known| (known.segment, known.bdf) == (segment, bdf)) {
                    found.iommus.try_push(iommu).map_err(|_| full(IOMMUS))?;
                }
            } else if MEMORY.contains(&kind) && flags & UNITY != 0 {
                let start = table.u64_at(memory, offset.saturating_add(16))?;
                let length = table.u64_at(memory, offset.saturating_add(24))?;
                let (read, write) = (flags & READ != 0, flags & WRITE != 0);
                found.memory.try_push(DeviceMemory { start, length, read, write }).map_err(|_| full(RESERVED))?;
            }
            offset = offset.saturating_add(length);
        }
        Ok(found)
    }
}
