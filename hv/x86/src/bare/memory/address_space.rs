//! The one address space of the hypervisor, once it is in use.

use alloc::alloc::{Layout, alloc_zeroed};

use xenolith_bootinfo::MachineRange;
use xenolith_sync::{CpuIndex, SpinLock, rank};

use super::stacks;
use crate::plain::layout::{self, PAGE};
use crate::plain::paging::{EntryFlags, PageTables, PagingError};

static TABLES: SpinLock<Option<PageTables>, rank::HostPageTables> = SpinLock::new(None);

/// Takes over the page tables that are in use.
pub fn adopt(tables: PageTables) {
    *TABLES.lock() = Some(tables);
}

/// Allocates a zeroed page from the heap, never freed; returns its machine address.
fn take_frame() -> Option<u64> {
    let layout = Layout::from_size_align(PAGE as usize, PAGE as usize).ok()?;
    // SAFETY: the layout is not empty.
    let page = unsafe { alloc_zeroed(layout) };
    if page.is_null() { None } else { layout::machine_address(page as u64) }
}

fn with_tables<T>(work: impl FnOnce(&mut PageTables) -> Result<T, PagingError>) -> Result<T, PagingError> {
    TABLES.lock().as_mut().map_or(Err(PagingError::NoFrame), work)
}

/// Maps `range` at `address`.
///
/// **Errors:** as [`PageTables::map`].
pub fn map(address: u64, range: MachineRange, flags: EntryFlags) -> Result<(), PagingError> {
    with_tables(|tables| tables.map(address, range, flags, &mut take_frame))
}

/// Unmaps the page of 4 KiB at `address`. CPUs may still have the translation in their TLBs: see
/// [`crate::bare::interrupts::shootdown`].
pub fn unmap_page(address: u64) {
    let _ = with_tables(|tables| {
        tables.unmap_page(address);
        Ok(())
    });
}

/// Maps the stacks of a CPU.
///
/// **Errors:** as [`PageTables::map`].
pub fn map_stacks(cpu: CpuIndex) -> Result<(), PagingError> {
    with_tables(|tables| stacks::map(cpu, tables, &mut take_frame))
}

/// Returns the machine address of the top table.
#[must_use]
pub fn root() -> u64 {
    TABLES.lock().as_ref().map_or(0, PageTables::root)
}
