//! From the RSDP to the tables. **Source:** ACPI 6.5, 5.2.5 to 5.2.8.

use super::{CHECKED, HEADER, TableLocation};
use crate::fault::{BootFault, Table};
use crate::info::RsdpSource;
use crate::physical::PhysicalMemory;

const RSDP_SIGNATURE: [u8; 8] = *b"RSD PTR ";
/// The part of the RSDP that its first checksum covers, in bytes.
const RSDP_OLD: usize = 20;

/// Searches for the RSDP where a BIOS puts it: the first KiB of the extended BIOS data area, and 0xe0000 to 0xfffff, on
/// paragraphs.
#[must_use]
pub fn find_rsdp(memory: &impl PhysicalMemory) -> Option<RsdpSource> {
    let mut segment = [0; 2];
    let data_area = if memory.read(0x40e, &mut segment) { u64::from(u16::from_le_bytes(segment)) << 4 } else { 0 };
    let data_area = if data_area >= 0x400 { data_area..data_area.saturating_add(1024) } else { 0..0 };
    data_area
        .step_by(16)
        .chain((0xe_0000..0x10_0000).step_by(16))
        .find(|address| {
            let mut head = [0; RSDP_OLD];
            memory.read(*address, &mut head) && head.starts_with(&RSDP_SIGNATURE) && sum(&head) == 0
        })
        .map(RsdpSource::At)
}

/// Calls `take` for every table below the root that has a good checksum.
pub(super) fn for_each_table(
    memory: &impl PhysicalMemory,
    source: RsdpSource,
    mut take: impl FnMut(TableLocation) -> Result<(), BootFault>,
) -> Result<(), BootFault> {
    let (root, entry_size) = root_table(memory, source)?;
    let malformed = BootFault::BadStructure { table: Table::Acpi, address: root };
    let root = table_at(memory, root)?.ok_or(malformed)?;
    let mut offset = HEADER;
    while offset.saturating_add(entry_size) <= root.length {
        let address =
            if entry_size == 8 { root.u64_at(memory, offset)? } else { u64::from(root.u32_at(memory, offset)?) };
        if let Some(location) = table_at(memory, address)? {
            take(location)?;
        }
        offset = offset.saturating_add(entry_size);
    }
    Ok(())
}

/// Returns the root table's machine address and the length of its entries: 8 bytes (XSDT) or 4 (RSDT).
fn root_table(memory: &impl PhysicalMemory, source: RsdpSource) -> Result<(u64, u64), BootFault> {
    let (address, rsdp) = match source {
        RsdpSource::Copy(copy) => (0, copy),
        RsdpSource::At(address) => {
            // The old form may end just before memory that cannot be read.
            let old: [u8; RSDP_OLD] = memory.bytes(Table::Acpi, address)?;
            let mut whole = [0; 36];
            if !memory.read(address, &mut whole) {
                whole = [0; 36];
                whole.iter_mut().zip(old).for_each(|(to, from)| *to = from);
            }
            (address, whole)
        }
    };
    let malformed = BootFault::BadStructure { table: Table::Acpi, address };
    let (old, new) = rsdp.split_first_chunk::<RSDP_OLD>().ok_or(malformed)?;
    if !old.starts_with(&RSDP_SIGNATURE) || sum(old) != 0 {
        return Err(malformed);
    }
    let [.., revision, a, b, c, d] = *old;
    let rsdt = u64::from(u32::from_le_bytes([a, b, c, d]));
    let xsdt = new.get(4..12).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    if revision >= 2 && sum(&rsdp) == 0 && xsdt != 0 { Ok((xsdt, 8)) } else { Ok((rsdt, 4)) }
}

/// Returns the table at `address`; none for address 0, and when its checksum is wrong.
pub(super) fn table_at(memory: &impl PhysicalMemory, address: u64) -> Result<Option<TableLocation>, BootFault> {
    if address == 0 {
        return Ok(None);
    }
    let [a, b, c, d, e, f, g, h] = memory.bytes(Table::Acpi, address)?;
    let signature = [a, b, c, d];
    let length = u64::from(u32::from_le_bytes([e, f, g, h]));
    // The FACS has neither the common header nor a checksum.
    if &signature == b"FACS" || length < HEADER {
        return Ok(None);
    }
    let mut total = 0_u8;
    for offset in 0..length.min(CHECKED) {
        let [byte] = memory.bytes(Table::Acpi, address.saturating_add(offset))?;
        total = total.wrapping_add(byte);
    }
    let whole = length <= CHECKED;
    Ok((!whole || total == 0).then_some(TableLocation { signature, address, length }))
}

fn sum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |sum, byte| sum.wrapping_add(*byte))
}
