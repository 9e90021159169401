//! Populating a p2m with new pages, and removing pages for good.

use crate::memory::frames::{AllocationError, OwnedFrame, Pages, PagingPool};
use crate::memory::physmap::{Editor, Memory};
use xen_abi::Errno;
use xenolith_hal::{Gfn, MapError, Mapping, Mfn, NestedSpace, PageKind, PageOrder, Rights, mark};

/// A run of guest frames. It need not be aligned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    pub gfn: Gfn,
    pub order: PageOrder,
}

/// Populates an extent with new, scrubbed pages. The domain's own memory that was mapped there stays the domain's but
/// is no longer mapped.
///
/// **Errors:** `ENOMEM` where machine memory is short, of which some may be free soon; `ENOSPC` where the domain's pool pays
/// for no more page tables, which waiting does not change; `EINVAL` where a grant, a foreign page or a device stands, and beyond what the domain can
/// address; `EPERM` past the domain's maximum. Nothing was changed.
pub fn populate_extent<P: Pages, S: NestedSpace>(
    memory: &Memory<'_, P, S>,
    extent: Extent,
    below: Mfn,
) -> Result<(), Errno> {
    place(memory, extent, memory.frames.allocate(memory.pages, memory.owner, extent.order, below))
}

/// Marks an extent to be populated on demand. What is marked already stays so.
///
/// **Errors:** `EBUSY` where something is mapped; `EPERM` for a domain that is going; `ENOMEM`; `EINVAL` beyond what the domain
/// can address. Frames before may be marked.
pub fn mark_extent<P: Pages, S: NestedSpace>(memory: &Memory<'_, P, S>, extent: Extent) -> Result<(), Errno> {
    let Extent { gfn, order } = extent;
    if memory.frames.account(memory.owner).is_none_or(|account| account.max() == 0) {
        return Err(Errno::EPERM);
    }
    gfn.checked_add(order.pages()).ok_or(Errno::EINVAL)?;
    if is_block(extent) {
        match memory.edit(|editor| editor.map(gfn, mark(gfn, order))) {
            Err(MapError::Occupied) => {}
            done => return done.map_err(errno_of),
        }
    }
    for (start, pages) in parts(order.pages()) {
        memory.edit(|editor| mark_part(editor, Gfn(gfn.0.saturating_add(start)), pages))?;
    }
    Ok(())
}

/// Marks at most 512 frames.
fn mark_part<P: Pages, S: NestedSpace>(editor: &mut Editor<'_, '_, P, S>, first: Gfn, count: u64) -> Result<(), Errno> {
    let frames = || (0..count).map(|page| Gfn(first.0.saturating_add(page)));
    if frames().any(|gfn| editor.lookup(gfn).is_some()) {
        return Err(Errno::EBUSY);
    }
    if count == PART && PageOrder::SIZE_2M.aligned(first.0) {
        return editor.map(first, mark(first, PageOrder::SIZE_2M)).map_err(errno_of);
    }
    for gfn in frames() {
        if !editor.memory().space.mark_at(gfn).0 {
            editor.map(gfn, mark(gfn, PageOrder::SIZE_4K)).map_err(errno_of)?;
        }
    }
    Ok(())
}

/// Returns true for an extent that can be one entry of the p2m.
fn is_block(extent: Extent) -> bool {
    extent.order.aligned(extent.gfn.0)
        && [PageOrder::SIZE_4K, PageOrder::SIZE_2M, PageOrder::SIZE_1G].contains(&extent.order)
}

fn place<P: Pages, S: NestedSpace>(
    memory: &Memory<'_, P, S>,
    extent: Extent,
    allocated: Result<OwnedFrame, AllocationError>,
) -> Result<(), Errno> {
    let owned = allocated.map_err(|error| match error {
        AllocationError::NoMemory => Errno::ENOMEM,
        AllocationError::OverMaximum | AllocationError::NoDomain => Errno::EPERM,
    })?;
    match map_run(memory, extent, owned.mfn()) {
        Ok(()) => {
            let _ = owned.into_mapping();
            Ok(())
        }
        Err(error) => {
            // No guest saw the pages unless some were mapped and taken out again: then they wait.
            memory.frames.retire(owned);
            let spent = |pool: &mut PagingPool| pool.used() >= pool.size();
            Err(if error == Errno::ENOMEM && memory.physmap.with_pool(spent) { Errno::ENOSPC } else { error })
        }
    }
}

/// How many pages are mapped or looked up under the p2m lock.
const PART: u64 = PageOrder::SIZE_2M.pages();

/// Splits a run of pages into parts: the offset of each, and how many pages it has.
fn parts(count: u64) -> impl Iterator<Item = (u64, u64)> {
    (0..count).step_by(PART as usize).map(move |start| (start, count.saturating_sub(start).min(PART)))
}

/// Maps pages at an extent: as one page if nothing is mapped there, else part by part.
#[expect(clippy::arithmetic_side_effects, reason = "pages of a run, whose end was checked first")]
fn map_run<P: Pages, S: NestedSpace>(memory: &Memory<'_, P, S>, extent: Extent, first: Mfn) -> Result<(), Errno> {
    let Extent { gfn, order } = extent;
    let count = order.pages();
    gfn.checked_add(count).ok_or(Errno::EINVAL)?;
    if is_block(extent) {
        let mapping = Mapping { mfn: first, order, rights: Rights::ALL, kind: PageKind::Ram };
        match memory.edit(|editor| editor.map(gfn, mapping)) {
            Err(MapError::Occupied) => {}
            done => return done.map_err(errno_of),
        }
    }
    let foreign = |at: Mapping| !matches!(at.kind, PageKind::Ram | PageKind::Shared);
    for (start, pages) in parts(count) {
        let mut frames = (start..start + pages).map(|page| Gfn(gfn.0 + page));
        if memory.edit(|editor| frames.any(|gfn| editor.lookup(gfn).is_some_and(foreign))) {
            return Err(Errno::EINVAL);
        }
    }
    for (start, pages) in parts(count) {
        let (gfn, mfn) = (Gfn(gfn.0 + start), Mfn(first.0 + start));
        if let Err(error) = memory.edit(|editor| map_part(editor, gfn, mfn, pages)) {
            take_out(memory, extent.gfn, first, start);
            return Err(error);
        }
    }
    Ok(())
}

/// Unmaps what was mapped a moment ago, as far as it is still mapped there; needs no further table.
#[expect(clippy::arithmetic_side_effects, reason = "pages of a run that was mapped")]
fn take_out<P: Pages, S: NestedSpace>(memory: &Memory<'_, P, S>, gfn: Gfn, first: Mfn, count: u64) {
    for (start, pages) in parts(count) {
        memory.edit(|editor| {
            for page in start..start + pages {
                let (gfn, mfn) = (Gfn(gfn.0 + page), Mfn(first.0 + page));
                if editor.lookup(gfn).is_some_and(|at| at.mfn == mfn) {
                    let _ = editor.unmap(gfn);
                }
            }
        });
    }
}

/// Maps at most 512 pages in the largest pages that fit; all of them or none.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "pages of a run whose end was checked, and no piece is longer than what is left"
)]
fn map_part<P: Pages, S: NestedSpace>(
    editor: &mut Editor<'_, '_, P, S>,
    first_gfn: Gfn,
    first_mfn: Mfn,
    count: u64,
) -> Result<(), Errno> {
    let mut done = 0;
    while done < count {
        let (gfn, mfn) = (Gfn(first_gfn.0 + done), Mfn(first_mfn.0 + done));
        let order = piece(gfn, mfn, count - done);
        if let Err(error) = map_piece(editor, gfn, mfn, order) {
            for page in 0..done {
                // What was mapped a moment ago comes out without a table more.
                let _ = editor.unmap(Gfn(first_gfn.0 + page));
            }
            return Err(error);
        }
        done += order.pages();
    }
    Ok(())
}

/// Returns the largest page order that fits both frames and the rest of a part.
fn piece(gfn: Gfn, mfn: Mfn, left: u64) -> PageOrder {
    let large = PageOrder::SIZE_2M;
    let fits = large.pages() <= left && large.aligned(gfn.0) && large.aligned(mfn.0);
    if fits { large } else { PageOrder::SIZE_4K }
}

#[expect(clippy::arithmetic_side_effects, reason = "pages of a run whose end was checked")]
fn map_piece<P: Pages, S: NestedSpace>(
    editor: &mut Editor<'_, '_, P, S>,
    gfn: Gfn,
    mfn: Mfn,
    order: PageOrder,
) -> Result<(), Errno> {
    for page in 0..order.pages() {
        if editor.lookup(Gfn(gfn.0 + page)).is_some() {
            editor.unmap(Gfn(gfn.0 + page)).map_err(errno_of)?;
        }
    }
    editor.map(gfn, Mapping { mfn, order, rights: Rights::ALL, kind: PageKind::Ram }).map_err(errno_of)
}

const fn errno_of(error: MapError) -> Errno {
    match error {
        MapError::NoMemory => Errno::ENOMEM,
        MapError::Occupied | MapError::Unaligned | MapError::OutOfRange => Errno::EINVAL,
    }
}

/// Unmaps the pages of an extent and releases them. A page of the hypervisor's that is shared with the domain is only
/// unmapped. Of what was to be populated on demand, nothing is left; and as long as there is more of that than the domain
/// has memory for, pages that it releases are kept for it.
///
/// **Errors:** as [`remove_page`], at the first frame that is not the domain's own; the pages before it are gone.
pub fn remove_extent<P: Pages, S: NestedSpace>(memory: &Memory<'_, P, S>, extent: Extent) -> Result<(), Errno> {
    let had_marks = memory.physmap.marks() > 0;
    for page in 0..extent.order.pages() {
        let gfn = extent.gfn.checked_add(page).ok_or(Errno::ENOENT)?;
        memory.edit(|editor| {
            if had_marks && memory.space.mark_at(gfn).0 {
                return editor.unmap(gfn).map(|_| ()).map_err(errno_of);
            }
            let keep = had_marks && editor.lookup(gfn).is_some_and(|there| memory.is_for_marks(there));
            remove_page(editor, gfn)?;
            if keep {
                memory.frames.add_to_cache(memory.owner, 1);
            }
            Ok(())
        })?;
    }
    if had_marks {
        memory.trim_cache();
    }
    Ok(())
}

/// Unmaps one page of the domain's own memory and releases it.
///
/// **Errors:** `ENOENT` where nothing is mapped; `EPERM` for a device; `ENXIO` for a page of another domain; `ENOMEM`.
pub fn remove_page<P: Pages, S: NestedSpace>(editor: &mut Editor<'_, '_, P, S>, gfn: Gfn) -> Result<(), Errno> {
    match editor.lookup(gfn).ok_or(Errno::ENOENT)?.kind {
        PageKind::Mmio => return Err(Errno::EPERM),
        PageKind::Foreign | PageKind::Grant => return Err(Errno::ENXIO),
        PageKind::Ram | PageKind::Shared | PageKind::OnDemand => {}
    }
    let removed = editor.unmap(gfn).map_err(errno_of)?;
    if let Some(Mapping { mfn, kind: PageKind::Ram, .. }) = removed {
        editor.memory().frames.release(mfn, editor.memory().owner);
    }
    Ok(())
}
