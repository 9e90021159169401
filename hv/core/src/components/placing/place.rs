//! Mapping one page at a guest frame: `XENMEM_add_to_physmap` and `XENMEM_remove_from_physmap`.

use crate::components::access::{Action, Object, may};
use crate::components::grant::{MemoryOf, Part, Party, Source, World};
use crate::memory::frames::{PageRef, Pages};
use crate::memory::physmap::{Editor, Memory, PlaceError};
use crate::memory::populate::remove_page;
use xen_abi::physmap::{
    XENMAPIDX_GRANT_TABLE_STATUS, XENMAPSPACE_GMFN, XENMAPSPACE_GMFN_FOREIGN, XENMAPSPACE_GRANT_TABLE,
    XENMAPSPACE_SHARED_INFO,
};
use xen_abi::{DomId, Errno};
use xenolith_hal::{Gfn, MapError, Mapping, Mfn, NestedSpace, PageKind, PageOrder, Rights};

impl From<PlaceError> for Errno {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::NoMemory => Self::ENOMEM,
            PlaceError::Busy => Self::EINVAL,
            PlaceError::OutOfRange => Self::ENOENT,
        }
    }
}

/// The page to map: an `XENMAPSPACE_*`, its index in that space, and its domain where one is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item {
    pub space: u32,
    pub index: u64,
    /// Only for pages of another domain.
    pub foreign: DomId,
}

/// Maps one page at frame `gfn` of `target` on behalf of `caller`. Memory of the domain's own that was mapped there is
/// released; a page that was mapped elsewhere is unmapped there.
///
/// **Errors:** `EINVAL` for an item that does not exist, for the frame of all ones, and over a device or a grant;
/// `ENOENT` beyond what the domain can address; `ENXIO` over a foreign page; `ESRCH` for a domain that does not exist;
/// `EPERM` for the target itself as a foreign domain, and for a caller that is not the control domain; `ENOMEM`.
/// **Source:** `memory.h`.
pub fn place<W: World>(world: &W, caller: &W::Party, target: &W::Party, item: Item, gfn: Gfn) -> Result<(), Errno> {
    if gfn == Gfn::INVALID {
        return Err(Errno::EINVAL);
    }
    let memory = world.memory(target);
    match item.space {
        XENMAPSPACE_SHARED_INFO if item.index == 0 => {
            let mfn = target.shared_info();
            let before = target.physmap().shared_info_place();
            let before = before.filter(|before| memory.lookup(*before).is_some_and(|at| at.mfn == mfn));
            move_here(&memory, mfn, before, gfn, PageKind::Shared)?;
            target.physmap().note_shared_info(gfn);
            Ok(())
        }
        XENMAPSPACE_GRANT_TABLE => place_grant_frame(world, target, item.index, gfn),
        XENMAPSPACE_GMFN => {
            let moved = place_own(&memory, Gfn(item.index), gfn)?;
            if moved.kind == PageKind::Shared {
                note_shared(target, moved.mfn, gfn);
            }
            Ok(())
        }
        XENMAPSPACE_GMFN_FOREIGN => place_foreign(world, caller, target, item, gfn),
        _ => Err(Errno::EINVAL),
    }
}

/// Maps a page of the hypervisor's, or the domain's own, and unmaps it where it was.
fn move_here<P: Pages, S: NestedSpace>(
    memory: &Memory<'_, P, S>,
    mfn: Mfn,
    before: Option<Gfn>,
    gfn: Gfn,
    kind: PageKind,
) -> Result<(), Errno> {
    if before == Some(gfn) {
        return Ok(());
    }
    memory.edit(|editor| {
        vacate(editor, gfn)?;
        // Another vCPU may have moved it since it was looked for, and something else stands there.
        let still_there = |before: &Gfn| editor.lookup(*before).is_some_and(|at| at.mfn == mfn && at.kind == kind);
        if let Some(before) = before.filter(still_there) {
            editor.unmap(before).map_err(PlaceError::from)?;
        }
        Ok(editor.place(gfn, mfn, Rights::ALL, kind).map(|_| ())?)
    })
}

/// Makes room at a frame: releases the domain's own memory there.
fn vacate<P: Pages, S: NestedSpace>(editor: &mut Editor<'_, '_, P, S>, gfn: Gfn) -> Result<(), Errno> {
    match remove_page(editor, gfn) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EPERM) => Err(Errno::EINVAL),
        Err(errno) => Err(errno),
    }
}

fn place_grant_frame<W: World>(world: &W, target: &W::Party, index: u64, gfn: Gfn) -> Result<(), Errno> {
    let grants = target.grants();
    // The interface counts frames in 32 bits.
    let index = index as u32;
    let in_status_words = XENMAPIDX_GRANT_TABLE_STATUS as u32;
    let status = index & in_status_words != 0 && grants.with_shape(|shape| shape.version().number()) == 2;
    let (part, index) = if status { (Part::Status, index & !in_status_words) } else { (Part::Entries, index) };
    let memory = world.memory(target);
    let source = Source { frames: world.frames(), pages: world.pages(), owner: target.id() };
    let mfn = grants.frame(part, index, &source).ok_or(Errno::EINVAL)?;
    let before = grants.place_of(part, index, &memory);
    move_here(&memory, mfn, before, gfn, PageKind::Shared)?;
    grants.note_place(part, index, gfn);
    Ok(())
}

/// Notes the new frame of a page of the hypervisor's, for when it is mapped again.
fn note_shared(target: &impl Party, mfn: Mfn, gfn: Gfn) {
    if mfn == target.shared_info() {
        target.physmap().note_shared_info(gfn);
    } else {
        target.grants().note_moved(mfn, gfn);
    }
}

/// Moves a page of the domain's own, or of the hypervisor's that it sees; returns its mapping.
fn place_own<P: Pages, S: NestedSpace>(memory: &Memory<'_, P, S>, from: Gfn, to: Gfn) -> Result<Mapping, Errno> {
    let _ = memory.find(from);
    memory.edit(|editor| {
        let own = |at: &Mapping| matches!(at.kind, PageKind::Ram | PageKind::Shared);
        let moved = editor.lookup(from).filter(own).ok_or(Errno::EINVAL)?;
        if from == to {
            return Ok(moved);
        }
        vacate(editor, to)?;
        editor.unmap(from).map_err(PlaceError::from)?;
        editor.place(to, moved.mfn, moved.rights, moved.kind)?;
        Ok(moved)
    })
}

/// Maps a page of another domain. Who may not map any is told so, whomever they ask about.
fn place_foreign<W: World>(world: &W, caller: &W::Party, target: &W::Party, item: Item, gfn: Gfn) -> Result<(), Errno> {
    may(caller.subject(), Action::MapForeignPage, Object::Machine)?;
    if item.foreign == DomId::XEN {
        // The hypervisor's own pages: none of them is to be had.
        return Err(Errno::EINVAL);
    }
    let owner = world.party(item.foreign).ok_or(Errno::ESRCH)?;
    may(caller.subject(), Action::MapForeignPage, Object::Domain(item.foreign))?;
    if item.foreign == target.id() {
        return Err(Errno::EPERM);
    }
    let page = world.memory(&owner).own_page(Gfn(item.index), true).ok_or(Errno::EINVAL)?;
    map_foreign(world, target, page, gfn, Displaced::Released)
}

/// What becomes of the domain's own memory where a foreign page is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Displaced {
    /// It is released.
    Released,
    /// It stays the domain's but is no longer mapped.
    Kept,
}

/// Maps a page of another domain; the p2m entry takes the reference over.
///
/// **Errors:** as [`place`] at this frame; the reference is dropped then.
pub fn map_foreign<W: World>(
    world: &W,
    target: &W::Party,
    page: PageRef,
    gfn: Gfn,
    displaced: Displaced,
) -> Result<(), Errno> {
    let memory: MemoryOf<'_, W> = world.memory(target);
    let mapped = memory.edit(|editor| {
        if displaced == Displaced::Released {
            vacate(editor, gfn)?;
        }
        Ok(editor.place(gfn, page.mfn(), Rights::DATA, PageKind::Foreign).map(|_| ())?)
    });
    if mapped.is_err() {
        world.frames().put(page);
    } else {
        let _ = page.into_mapping();
    }
    mapped
}

/// Unmaps the page at a frame of `target`. Memory of the domain's own stays its own.
///
/// **Errors:** `ENOENT` where nothing is mapped, and for a grant and a device; `ENOMEM`. **Source:** `memory.h`.
pub fn unplace<W: World>(world: &W, target: &W::Party, gfn: Gfn) -> Result<(), Errno> {
    let removed = world.memory(target).edit(|editor| {
        let there = editor.lookup(gfn).filter(|at| !matches!(at.kind, PageKind::Grant | PageKind::Mmio));
        there.ok_or(Errno::ENOENT)?;
        editor.unmap(gfn).map_err(|error| match error {
            MapError::NoMemory => Errno::ENOMEM,
            _ => Errno::EINVAL,
        })
    })?;
    if let Some(Mapping { mfn, kind: PageKind::Foreign, .. }) = removed {
        world.frames().put_later(PageRef::of_mapping(mfn));
    }
    Ok(())
}

/// Unmaps everything from the p2m of a dying domain whose vCPUs run no more, and releases its memory. At most `budget`
/// steps, of at most 512 frames each; returns the frame to go on at, or None when all is done. Mappings of grants must
/// be gone before. Pages of 1 GiB are unmapped and stay the domain's:
/// [`release_strays`](crate::memory::frames::Frames::release_strays) finds them.
pub fn release_memory<W: World>(world: &W, dead: &W::Party, from: Gfn, budget: u32) -> Option<Gfn> {
    let memory = world.memory(dead);
    let mut gfn = from;
    for _ in 0..budget {
        let (first, there) = memory.edit(|editor| editor.take_next(gfn))?;
        give_up(world, dead, there);
        gfn = first.checked_add(there.order.pages())?;
    }
    Some(gfn)
}

/// Disposes of what was unmapped from a dying domain.
#[inline]
pub(crate) fn give_up<W: World>(world: &W, dead: &W::Party, there: Mapping) {
    match there.kind {
        PageKind::Ram if there.order <= PageOrder::SIZE_2M => {
            world.frames().release_block(there.mfn, there.order, dead.id());
        }
        PageKind::Foreign => world.frames().put_later(PageRef::of_mapping(there.mfn)),
        PageKind::Ram | PageKind::Grant | PageKind::Shared | PageKind::Mmio | PageKind::OnDemand => {}
    }
}
