//! Multiboot2, what GRUB speaks on BIOS and on UEFI. **Source:** its specification 2.0, 3.6.

use crate::fault::{BootFault, Table};
use crate::info::{BootInfo, Framebuffer, Protocol, RsdpSource};
use crate::memory_map::MemoryKind;
use crate::physical::PhysicalMemory;

/// The longest information structure taken: modules are not in it, so a page or two is usual.
const TOTAL_LIMIT: u32 = 1 << 20;
const HEADER: u64 = 8;
const MAP_ENTRY: u32 = 24;

mod tag {
    pub const END: u32 = 0;
    pub const COMMAND_LINE: u32 = 1;
    pub const LOADER_NAME: u32 = 2;
    pub const MODULE: u32 = 3;
    pub const MEMORY_MAP: u32 = 6;
    pub const FRAMEBUFFER: u32 = 8;
    pub const EFI64_SYSTEM_TABLE: u32 = 12;
    pub const ACPI_OLD: u32 = 14;
    pub const ACPI_NEW: u32 = 15;
}

/// One tag: where it lies and how long it is, header included.
#[derive(Clone, Copy)]
struct Tag {
    kind: u32,
    address: u64,
    size: u64,
}

impl Tag {
    /// Returns the machine address and the length in bytes of the tag's data from `offset` on.
    fn tail(self, offset: u64) -> Result<(u64, u64), BootFault> {
        let length = self.size.checked_sub(offset).ok_or(self.malformed())?;
        Ok((self.address.saturating_add(offset), length))
    }

    const fn malformed(self) -> BootFault {
        BootFault::BadStructure { table: Table::Information, address: self.address }
    }

    /// Reads the number at `offset`, which must lie inside the tag.
    fn u32_at(self, memory: &impl PhysicalMemory, offset: u64) -> Result<u32, BootFault> {
        let fits = offset.checked_add(4).is_some_and(|end| end <= self.size);
        if fits { memory.u32_at(Table::Information, self.address, offset) } else { Err(self.malformed()) }
    }

    fn u64_at(self, memory: &impl PhysicalMemory, offset: u64) -> Result<u64, BootFault> {
        let low = self.u32_at(memory, offset)?;
        let high = self.u32_at(memory, offset.saturating_add(4))?;
        Ok(u64::from(low) | u64::from(high) << 32)
    }
}

/// Reads the information structure at `info`.
pub(crate) fn parse(memory: &impl PhysicalMemory, info: u64) -> Result<BootInfo, BootFault> {
    let total = memory.u32_at(Table::Information, info, 0)?;
    let malformed = BootFault::BadStructure { table: Table::Information, address: info };
    if !(16..=TOTAL_LIMIT).contains(&total) {
        return Err(malformed);
    }
    let end = info.checked_add(total.into()).ok_or(malformed)?;
    let mut found = BootInfo::new(Protocol::Multiboot2);
    let mut address = info.saturating_add(HEADER);
    while address.saturating_add(HEADER) <= end {
        let kind = memory.u32_at(Table::Information, address, 0)?;
        let size = u64::from(memory.u32_at(Table::Information, address, 4)?);
        let tag = Tag { kind, address, size };
        if size < HEADER || address.saturating_add(size) > end {
            return Err(tag.malformed());
        }
        if kind == tag::END {
            break;
        }
        take(memory, &mut found, tag)?;
        address = address.saturating_add(size.next_multiple_of(8));
    }
    found.memory.finish()?;
    Ok(found)
}

fn take(memory: &impl PhysicalMemory, found: &mut BootInfo, tag: Tag) -> Result<(), BootFault> {
    match tag.kind {
        tag::COMMAND_LINE => {
            let (text, limit) = tag.tail(8)?;
            found.command_line = found.copy_text(memory, Table::CommandLine, text, limit)?;
        }
        tag::LOADER_NAME => {
            let (text, limit) = tag.tail(8)?;
            found.loader_name = found.copy_text(memory, Table::LoaderName, text, limit)?;
        }
        tag::MODULE => {
            let (text, limit) = tag.tail(16)?;
            let text = found.copy_text(memory, Table::ModuleCommandLine, text, limit)?;
            found.add_module(tag.u32_at(memory, 8)?.into(), tag.u32_at(memory, 12)?.into(), text)?;
        }
        tag::MEMORY_MAP => memory_map(memory, found, tag)?,
        tag::FRAMEBUFFER => found.framebuffer = Some(framebuffer(memory, tag)?),
        tag::EFI64_SYSTEM_TABLE => found.efi_system_table = Some(tag.u64_at(memory, 8)?),
        tag::ACPI_OLD | tag::ACPI_NEW => rsdp(memory, found, tag)?,
        _ => {}
    }
    Ok(())
}

fn memory_map(memory: &impl PhysicalMemory, found: &mut BootInfo, tag: Tag) -> Result<(), BootFault> {
    let entry_size = tag.u32_at(memory, 8)?;
    if entry_size < MAP_ENTRY {
        return Err(tag.malformed());
    }
    let mut offset = 16_u64;
    while offset.saturating_add(entry_size.into()) <= tag.size {
        let kind = MemoryKind::from_e820(tag.u32_at(memory, offset.saturating_add(16))?);
        found.memory.add(tag.u64_at(memory, offset)?, tag.u64_at(memory, offset.saturating_add(8))?, kind)?;
        offset = offset.saturating_add(entry_size.into());
    }
    Ok(())
}

fn framebuffer(memory: &impl PhysicalMemory, tag: Tag) -> Result<Framebuffer, BootFault> {
    let [bits_per_pixel, kind, ..] = tag.u32_at(memory, 28)?.to_le_bytes();
    Ok(Framebuffer {
        address: tag.u64_at(memory, 8)?,
        pitch: tag.u32_at(memory, 16)?,
        width: tag.u32_at(memory, 20)?,
        height: tag.u32_at(memory, 24)?,
        bits_per_pixel,
        kind,
    })
}

/// Keeps the loader's copy of the RSDP; the new form wins over the old one.
fn rsdp(memory: &impl PhysicalMemory, found: &mut BootInfo, tag: Tag) -> Result<(), BootFault> {
    let (address, length) = tag.tail(8)?;
    if tag.kind == tag::ACPI_OLD {
        if found.rsdp.is_none() {
            let mut copy = [0; 36];
            let old: [u8; 20] = memory.bytes(Table::Acpi, address)?;
            copy.iter_mut().zip(old).for_each(|(to, from)| *to = from);
            found.rsdp = Some(RsdpSource::Copy(copy));
        }
        return Ok(());
    }
    if length < 36 {
        return Err(tag.malformed());
    }
    found.rsdp = Some(RsdpSource::Copy(memory.bytes(Table::Acpi, address)?));
    Ok(())
}
