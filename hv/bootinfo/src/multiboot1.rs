//! Multiboot 0.6.96, what QEMU's `-kernel` speaks. **Source:** its specification, 3.3.

use crate::fault::{BootFault, Table};
use crate::info::{BootInfo, Framebuffer, Protocol};
use crate::memory_map::MemoryKind;
use crate::physical::PhysicalMemory;

const HAS_COMMAND_LINE: u32 = 1 << 2;
const HAS_MODULES: u32 = 1 << 3;
const HAS_MEMORY_MAP: u32 = 1 << 6;
const HAS_LOADER_NAME: u32 = 1 << 9;
const HAS_FRAMEBUFFER: u32 = 1 << 12;

/// The longest text taken, in bytes.
const TEXT_LIMIT: u64 = 4096;
/// The smallest entry of the memory map, without its leading size field.
const MAP_ENTRY: u64 = 20;
const MODULE_ENTRY: u64 = 16;

/// Reads the information structure at `info`.
pub(crate) fn parse(memory: &impl PhysicalMemory, info: u64) -> Result<BootInfo, BootFault> {
    let field = |offset| memory.u32_at(Table::Information, info, offset);
    let flags = field(0)?;
    let mut found = BootInfo::new(Protocol::Multiboot1);
    if flags & HAS_LOADER_NAME != 0 {
        found.loader_name = found.copy_text(memory, Table::LoaderName, field(64)?.into(), 256)?;
    }
    if flags & HAS_COMMAND_LINE != 0 {
        found.command_line = found.copy_text(memory, Table::CommandLine, field(16)?.into(), TEXT_LIMIT)?;
    }
    if flags & HAS_MODULES != 0 {
        modules(memory, &mut found, field(20)?, field(24)?.into())?;
    }
    if flags & HAS_MEMORY_MAP != 0 {
        memory_map(memory, &mut found, field(44)?.into(), field(48)?.into())?;
    }
    if flags & HAS_FRAMEBUFFER != 0 {
        found.framebuffer = Some(framebuffer(memory, info)?);
    }
    found.memory.finish()?;
    Ok(found)
}

fn modules(memory: &impl PhysicalMemory, found: &mut BootInfo, count: u32, list: u64) -> Result<(), BootFault> {
    for index in 0..u64::from(count) {
        let entry = list.saturating_add(index.saturating_mul(MODULE_ENTRY));
        let field = |offset| memory.u32_at(Table::Modules, entry, offset);
        let text = match field(8)? {
            0 => found.copy_text(memory, Table::ModuleCommandLine, 0, 0)?,
            text => found.copy_text(memory, Table::ModuleCommandLine, text.into(), TEXT_LIMIT)?,
        };
        found.add_module(field(0)?.into(), field(4)?.into(), text)?;
    }
    Ok(())
}

fn memory_map(memory: &impl PhysicalMemory, found: &mut BootInfo, length: u64, list: u64) -> Result<(), BootFault> {
    let end = list.saturating_add(length);
    let mut entry = list;
    while entry < end {
        // The size field does not count itself.
        let size = u64::from(memory.u32_at(Table::MemoryMap, entry, 0)?);
        if size < MAP_ENTRY {
            return Err(BootFault::BadStructure { table: Table::MemoryMap, address: entry });
        }
        let start = memory.u64_at(Table::MemoryMap, entry, 4)?;
        let length = memory.u64_at(Table::MemoryMap, entry, 12)?;
        let kind = MemoryKind::from_e820(memory.u32_at(Table::MemoryMap, entry, 20)?);
        found.memory.add(start, length, kind)?;
        entry = entry.saturating_add(size).saturating_add(4);
    }
    Ok(())
}

fn framebuffer(memory: &impl PhysicalMemory, info: u64) -> Result<Framebuffer, BootFault> {
    let [bits_per_pixel, kind] = memory.bytes(Table::Information, info.saturating_add(108))?;
    Ok(Framebuffer {
        address: memory.u64_at(Table::Information, info, 88)?,
        pitch: memory.u32_at(Table::Information, info, 96)?,
        width: memory.u32_at(Table::Information, info, 100)?,
        height: memory.u32_at(Table::Information, info, 104)?,
        bits_per_pixel,
        kind,
    })
}
