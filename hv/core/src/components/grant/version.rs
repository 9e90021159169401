//! Changing the version of a grant table, and swapping entries.

use super::entry::Entry;
use super::party::{Party, World};
use super::status::Failure;
use super::table::{Part, Shape, Source, TableFrame, Version};
use crate::memory::frames::Pages;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;
use xen_abi::Errno;
use xen_abi::grant_entry::{GTF_PERMIT_ACCESS, GTF_READING, GTF_TYPE_MASK, GTF_WRITING};
use xen_abi::grant_table::GNTTAB_NR_RESERVED_ENTRIES;
use xenolith_hal::GrantRef;

/// The toolstack's entries (the reserved ones), in version 1: flags and domain below, frame above.
type Reserved = [u64; GNTTAB_NR_RESERVED_ENTRIES as usize];

const USE_BITS: u64 = (GTF_READING | GTF_WRITING) as u64;

/// Changes the version of the caller's table (`GNTTABOP_set_version`). All entries are cleared, except the toolstack's.
///
/// **Errors:** `EINVAL` for a version that does not exist; `ENOSYS` for one that the toolstack does not allow; `EBUSY`
/// if an entry is in use other than the toolstack's; `ENOMEM`. **Source:** `grant_table.h`.
pub fn set_version<W: World>(world: &W, caller: &W::Party, wanted: u32) -> Result<(), Errno> {
    let table = caller.grants();
    let version = match wanted {
        1 => Version::V1,
        2 if table.limits().version < 2 => return Err(Errno::ENOSYS),
        2 => Version::V2,
        _ => return Err(Errno::EINVAL),
    };
    let mut shape = table.shape.write();
    if shape.version() == version {
        return Ok(());
    }
    if shape.is_in_use() {
        return Err(Errno::EBUSY);
    }
    let from = Source { frames: world.frames(), pages: world.pages(), owner: caller.id() };
    if version == Version::V2 {
        shape.grow_status(&from).map_err(|_| Errno::ENOMEM)?;
    } else {
        drop_status(world, caller, &mut shape)?;
    }
    // Read only now: whatever the guest writes later is lost with the rest.
    let reserved = kept(&shape, world.pages());
    for frame in shape.part(Part::Entries) {
        if let Some(page) = world.pages().page(frame.frame.mfn()) {
            page.clear();
        }
    }
    shape.set_version(version);
    restore(&shape, world.pages(), &reserved);
    if version == Version::V1 {
        let frames: Vec<TableFrame> = core::mem::take(shape.part_mut(Part::Status));
        frames.into_iter().for_each(|frame| world.frames().release_shared(frame.frame));
    }
    Ok(())
}

/// Unmaps the frames of status words from the caller's p2m. Another domain that maps one keeps it until it unmaps it.
fn drop_status<W: World>(world: &W, caller: &W::Party, shape: &mut Shape) -> Result<(), Errno> {
    let memory = world.memory(caller);
    for frame in shape.part_mut(Part::Status) {
        if let Some(gfn) = frame.mapped_at(&memory) {
            memory.edit(|editor| editor.unmap(gfn)).map_err(|_| Errno::ENOMEM)?;
        }
        frame.place = None;
    }
    Ok(())
}

/// Returns the toolstack's entries in version 1. Of version 2 only entries that permit access to a page are kept.
fn kept(shape: &Shape, pages: &impl Pages) -> Reserved {
    let mut reserved = [0; GNTTAB_NR_RESERVED_ENTRIES as usize];
    for (number, slot) in (0..).zip(reserved.iter_mut()) {
        match shape.entry(GrantRef(number), pages) {
            Some(Entry::V1 { word }) => *slot = word.load(Ordering::SeqCst),
            Some(Entry::V2 { first, second, status, shift }) => {
                let header = first.load(Ordering::SeqCst) & 0xffff_ffff;
                let frame = second.load(Ordering::SeqCst) & 0xffff_ffff;
                let used = (status.load(Ordering::SeqCst) >> shift) & USE_BITS;
                if header as u16 & GTF_TYPE_MASK == GTF_PERMIT_ACCESS {
                    *slot = header | used | frame << 32;
                }
            }
            None => {}
        }
    }
    reserved
}

fn restore(shape: &Shape, pages: &impl Pages, reserved: &Reserved) {
    for (number, old) in (0..).zip(reserved) {
        match shape.entry(GrantRef(number), pages) {
            Some(Entry::V1 { word }) => word.store(*old, Ordering::SeqCst),
            Some(Entry::V2 { first, second, status, shift }) => {
                second.store(old >> 32, Ordering::SeqCst);
                status.fetch_or((old & USE_BITS) << shift, Ordering::SeqCst);
                first.store(old & 0xffff_ffff & !USE_BITS, Ordering::SeqCst);
            }
            None => {}
        }
    }
}

/// Swaps two unused entries of the caller (`GNTTABOP_swap_grant_ref`).
///
/// **Errors:** bad reference past the end of the table; try again if one is in use. **Source:** `grant_table.h`.
pub fn swap<W: World>(world: &W, caller: &W::Party, a: GrantRef, b: GrantRef) -> Result<(), Failure> {
    // For writing: nobody begins to use an entry meanwhile.
    let shape = caller.grants().shape.write();
    let entry_a = shape.entry(a, world.pages()).ok_or(Failure::BadReference)?;
    let entry_b = shape.entry(b, world.pages()).ok_or(Failure::BadReference)?;
    if a == b {
        return Ok(());
    }
    if shape.is_used(a) || shape.is_used(b) {
        return Err(Failure::TryAgain);
    }
    match (entry_a, entry_b) {
        (Entry::V1 { word: a }, Entry::V1 { word: b }) => exchange(a, b),
        (Entry::V2 { first: a, second: a2, .. }, Entry::V2 { first: b, second: b2, .. }) => {
            exchange(a, b);
            exchange(a2, b2);
        }
        _ => {}
    }
    Ok(())
}

fn exchange(a: &core::sync::atomic::AtomicU64, b: &core::sync::atomic::AtomicU64) {
    let old = a.load(Ordering::SeqCst);
    a.store(b.swap(old, Ordering::SeqCst), Ordering::SeqCst);
}
