//! The PVH start info of dom0's kernel, and its place in memory.

use super::kernel::Kernel;
use super::memory::Layout;
use super::{Dom0Error, Dom0Plan, write};
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use alloc::vec::Vec;
use xen_abi::memory_map::{E820_RAM, MemmapEntry};
use xen_abi::start_info::{
    HvmMemmapTableEntry, HvmModlistEntry, HvmStartInfo, START_INFO_VERSION_1, StartInfoFlags, XEN_HVM_START_MAGIC_VALUE,
};
use xenolith_hal::{Gpa, Machine, PAGE_SIZE};
use zerocopy::IntoBytes;

/// Only the kernel may be below this: firmware's data, and the place where other CPUs start, are there.
const FIRST_MEGABYTE: u64 = 1 << 20;
/// Everything that the start info points to must have a 32-bit address.
const LIMIT: u64 = 1 << 32;

/// The places of ramdisk and start info.
pub struct Placed {
    pub start_info: Gpa,
}

/// Builds the memory map in the format of `XENMEM_memory_map`.
pub fn memory_map(layout: &Layout) -> Vec<MemmapEntry> {
    layout
        .regions
        .iter()
        .map(|region| MemmapEntry::new(region.start, region.end.saturating_sub(region.start), region.kind))
        .collect()
}

/// Copies ramdisk, start info and what it points to into the first range of RAM that has room and no kernel in it.
///
/// **Errors:** `DoesNotFit`.
pub fn place<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    layout: &Layout,
    kernel: &Kernel<'_>,
    plan: &Dom0Plan<'_>,
    rsdp: Gpa,
) -> Result<Placed, Dom0Error> {
    let map: Vec<HvmMemmapTableEntry> = layout
        .regions
        .iter()
        .map(|region| HvmMemmapTableEntry {
            addr: region.start,
            size: region.end.saturating_sub(region.start),
            kind: region.kind,
            reserved: 0,
        })
        .collect();
    let ramdisk = plan.ramdisk.unwrap_or(&[]);
    let sizes = [
        ramdisk.len(),
        size_of::<HvmStartInfo>(),
        size_of::<HvmModlistEntry>(),
        map.as_bytes().len(),
        plan.command_line.len().saturating_add(1),
    ];
    let sum = |sum: usize, size: &usize| sum.checked_add(size.checked_next_multiple_of(8)?);
    let total = sizes.iter().try_fold(PAGE_SIZE, sum).ok_or(Dom0Error::DoesNotFit)?;
    let mut at = room(layout, kernel, total as u64).ok_or(Dom0Error::DoesNotFit)?.0;
    let mut put = |bytes: &[u8]| -> Result<u64, Dom0Error> {
        let here = at;
        write(hv, domain, Gpa(here), bytes)?;
        at = at.saturating_add(bytes.len() as u64).next_multiple_of(8);
        Ok(here)
    };
    let ramdisk_at = put(ramdisk)?;
    let mut line = Vec::from(plan.command_line.as_bytes());
    line.push(0);
    let command_line = put(&line)?;
    let map_at = put(map.as_bytes())?;
    let module = HvmModlistEntry { paddr: ramdisk_at, size: ramdisk.len() as u64, cmdline_paddr: 0, reserved: 0 };
    let module_at = put(module.as_bytes())?;
    let has_module = plan.ramdisk.is_some();
    let info = HvmStartInfo {
        magic: XEN_HVM_START_MAGIC_VALUE,
        version: START_INFO_VERSION_1,
        flags: StartInfoFlags::PRIVILEGED | StartInfoFlags::INITDOMAIN,
        nr_modules: u32::from(has_module),
        modlist_paddr: if has_module { module_at } else { 0 },
        cmdline_paddr: command_line,
        rsdp_paddr: rsdp.0,
        memmap_paddr: map_at,
        memmap_entries: map.len() as u32,
        reserved: 0,
    };
    let start_info = Gpa(put(info.as_bytes())?);
    Ok(Placed { start_info })
}

/// Returns the first page of a range of RAM of this many bytes that the kernel does not overlap.
fn room(layout: &Layout, kernel: &Kernel<'_>, bytes: u64) -> Option<Gpa> {
    let page = |at: u64| at.next_multiple_of(PAGE_SIZE as u64);
    for region in layout.regions.iter().filter(|region| region.kind == E820_RAM) {
        let (start, end) = (page(region.start.max(FIRST_MEGABYTE)), region.end.min(LIMIT));
        let before = (start, end.min(kernel.start.0));
        let after = (page(start.max(kernel.end.0)), end);
        for (start, end) in [before, after] {
            if end.checked_sub(start).is_some_and(|room| room >= bytes) {
                return Some(Gpa(start));
            }
        }
    }
    None
}
