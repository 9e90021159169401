//! Xen's PVH entry. **Source:** `arch-x86/hvm/start_info.h`.

use crate::fault::{BootFault, Table};
use crate::info::{BootInfo, Protocol, RsdpSource};
use crate::magic;
use crate::memory_map::MemoryKind;
use crate::physical::PhysicalMemory;

const TEXT_LIMIT: u64 = 4096;
const MODULE_ENTRY: u64 = 32;
const MAP_ENTRY: u64 = 24;

/// Reads the start information at `info`.
pub(crate) fn parse(memory: &impl PhysicalMemory, info: u64) -> Result<BootInfo, BootFault> {
    let field = |offset| memory.u32_at(Table::Information, info, offset);
    let address_at = |offset| memory.u64_at(Table::Information, info, offset);
    if field(0)? != magic::PVH {
        return Err(BootFault::BadStructure { table: Table::Information, address: info });
    }
    let mut found = BootInfo::new(Protocol::Pvh);
    if let text @ 1.. = address_at(24)? {
        found.command_line = found.copy_text(memory, Table::CommandLine, text, TEXT_LIMIT)?;
    }
    modules(memory, &mut found, field(12)?, address_at(16)?)?;
    if let rsdp @ 1.. = address_at(32)? {
        found.rsdp = Some(RsdpSource::At(rsdp));
    }
    // Version 0 ends here, without a memory map.
    if field(4)? >= 1 {
        memory_map(memory, &mut found, field(48)?, address_at(40)?)?;
    }
    found.memory.finish()?;
    Ok(found)
}

fn modules(memory: &impl PhysicalMemory, found: &mut BootInfo, count: u32, list: u64) -> Result<(), BootFault> {
    for index in 0..u64::from(count) {
        let entry = list.saturating_add(index.saturating_mul(MODULE_ENTRY));
        let field = |offset| memory.u64_at(Table::Modules, entry, offset);
        let text = match field(16)? {
            0 => found.copy_text(memory, Table::ModuleCommandLine, 0, 0)?,
            text => found.copy_text(memory, Table::ModuleCommandLine, text, TEXT_LIMIT)?,
        };
        let start = field(0)?;
        // A length that wraps gives an end below the start, which is a fault of its own.
        found.add_module(start, start.wrapping_add(field(8)?), text)?;
    }
    Ok(())
}

fn memory_map(memory: &impl PhysicalMemory, found: &mut BootInfo, count: u32, list: u64) -> Result<(), BootFault> {
    for index in 0..u64::from(count) {
        let entry = list.saturating_add(index.saturating_mul(MAP_ENTRY));
        let start = memory.u64_at(Table::MemoryMap, entry, 0)?;
        let length = memory.u64_at(Table::MemoryMap, entry, 8)?;
        let kind = MemoryKind::from_e820(memory.u32_at(Table::MemoryMap, entry, 16)?);
        found.memory.add(start, length, kind)?;
    }
    Ok(())
}
