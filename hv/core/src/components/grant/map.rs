//! Mapping another domain's grant, and unmapping it.

use super::maptrack::{Mapped, Taken};
use super::party::{Party, World};
use super::pin::{Pinned, Use, pin, unpin};
use super::status::Failure;
use crate::memory::frames::PageRef;
use crate::memory::frames::epoch::Epoch;
use xen_abi::grant_table::GrantMapFlags;
use xenolith_hal::{DomId, Gfn, Gpa, GrantHandle, GrantRef, Mfn, PageKind, Rights};

/// Arguments of a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapRequest {
    /// Guest physical address; the offset in the page is ignored.
    pub at: Gpa,
    pub flags: GrantMapFlags,
    pub reference: GrantRef,
    /// The granting domain.
    pub granter: DomId,
}

/// Maps a grant into the caller's p2m (`GNTTABOP_map_grant_ref`).
///
/// **Errors:** bad reference if neither kind of mapping is requested; general error for flags of other kinds of guest,
/// and for a frame where a grant, a foreign page or a device is mapped, or that is out of range; bad domain; no space;
/// and as [`pin`]. **Source:** `grant_table.h`.
pub fn map<W: World>(world: &W, caller: &W::Party, request: MapRequest) -> Result<(GrantHandle, Mfn), Failure> {
    let flags = request.flags;
    if !flags.intersects(GrantMapFlags::DEVICE_MAP | GrantMapFlags::HOST_MAP) {
        return Err(Failure::BadReference);
    }
    if flags.intersects(GrantMapFlags::DEVICE_MAP | GrantMapFlags::APPLICATION_MAP | GrantMapFlags::CONTAINS_PTE) {
        return Err(Failure::General);
    }
    let granter = world.party(request.granter).ok_or(Failure::BadDomain)?;
    let account = world.frames().account(caller.id()).ok_or(Failure::NoSpace)?;
    let charge = |bytes| account.charge_heap(bytes);
    let handle = caller.grants().mappings.lock().reserve(charge).ok_or(Failure::NoSpace)?;
    let write = !flags.contains(GrantMapFlags::READONLY);
    let mapped = pin(world, &granter, request.reference, Use { by: caller.id(), write, map: true })
        .and_then(|pinned| place(world, caller, &granter, request, pinned));
    let mut mappings = caller.grants().mappings.lock();
    match mapped {
        Ok(mapped) => {
            mappings.set(handle, mapped);
            Ok((handle, mapped.mfn))
        }
        Err(failure) => {
            mappings.free(handle);
            Err(failure)
        }
    }
}

/// Maps a pinned page in the caller's p2m.
fn place<W: World>(
    world: &W,
    caller: &W::Party,
    granter: &W::Party,
    request: MapRequest,
    pinned: Pinned,
) -> Result<Mapped, Failure> {
    let (gfn, mfn) = (request.at.gfn(), pinned.page.mfn());
    let write = !request.flags.contains(GrantMapFlags::READONLY);
    let rights = if write { Rights::DATA } else { Rights::READ };
    let fits = request.flags.difference(GrantMapFlags::READONLY) == GrantMapFlags::HOST_MAP;
    let placed = fits && world.memory(caller).edit(|editor| editor.place(gfn, mfn, rights, PageKind::Grant)).is_ok();
    if !placed {
        unpin(world, granter, request.reference, write);
        world.frames().put(pinned.page);
        return Err(Failure::General);
    }
    // The translation holds the reference now.
    let mfn = pinned.page.into_mapping();
    Ok(Mapped { domain: request.granter, reference: request.reference, write, mfn, gfn })
}

/// Progress of an unmapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmapping {
    /// Nothing was mapped for CPUs.
    Nothing,
    /// The page is unmapped; `fresh` says whether by this call. [`finish_unmap`] ends the mapping when no CPU can reach
    /// the page any more: [`World::in_reach`].
    Leaves { until: Epoch, fresh: bool },
}

/// Unmaps a grant from the caller's p2m. An address of 0 leaves it mapped.
///
/// **Errors:** bad handle; general error if the mapping is not at the address. **Source:** `grant_table.h`.
pub fn begin_unmap<W: World>(world: &W, caller: &W::Party, handle: GrantHandle, at: Gpa) -> Result<Unmapping, Failure> {
    let taken = caller.grants().mappings.lock().take(handle).ok_or(Failure::BadHandle)?;
    let mapped = match taken {
        Taken::Leaving(mapped, until) => {
            caller.grants().mappings.lock().set_leaving(handle, mapped, until);
            return Ok(Unmapping::Leaves { until, fresh: false });
        }
        Taken::Mapped(mapped) => mapped,
    };
    let removed = match at {
        Gpa(0) => Ok(false),
        at => remove(world, caller, &mapped, at.gfn()).map(|()| true),
    };
    let mut mappings = caller.grants().mappings.lock();
    if removed == Ok(true) {
        let until = world.frames().moment();
        mappings.set_leaving(handle, mapped, until);
        return Ok(Unmapping::Leaves { until, fresh: true });
    }
    mappings.set(handle, mapped);
    removed.map(|_| Unmapping::Nothing)
}

/// Unmaps the page, if it is the right one with the right rights.
fn remove<W: World>(world: &W, caller: &W::Party, mapped: &Mapped, gfn: Gfn) -> Result<(), Failure> {
    world.memory(caller).edit(|editor| {
        let there = editor.lookup(gfn).filter(|there| there.kind == PageKind::Grant && there.mfn == mapped.mfn);
        // A mapping for reading may not be given up in place of one for writing, or the granter would be told that
        // nobody writes any more.
        there.filter(|there| there.rights.contains(Rights::WRITE) == mapped.write).ok_or(Failure::General)?;
        editor.unmap(gfn).map_err(|_| Failure::General)?;
        Ok(())
    })
}

/// Ends a mapping that is unmapped and that no CPU can reach any more: releases the grant and frees the handle. Does
/// nothing for any other handle.
pub fn finish_unmap<W: World>(world: &W, caller: &W::Party, handle: GrantHandle) {
    let taken = caller.grants().mappings.lock().take(handle);
    match taken {
        None => {}
        Some(Taken::Mapped(mapped)) => caller.grants().mappings.lock().set(handle, mapped),
        Some(Taken::Leaving(mapped, _)) => release(world, caller, handle, mapped),
    }
}

fn release<W: World>(world: &W, caller: &W::Party, handle: GrantHandle, mapped: Mapped) {
    if let Some(granter) = world.party(mapped.domain) {
        unpin(world, &granter, mapped.reference, mapped.write);
    }
    world.frames().put_later(PageRef::of_mapping(mapped.mfn));
    caller.grants().mappings.lock().free(handle);
}

/// Ends the mappings of a dying domain whose vCPUs run no more, at most `budget` handles from `from` on. Returns where
/// to go on, or None when all are gone.
pub fn release_mappings<W: World>(world: &W, dead: &W::Party, from: GrantHandle, budget: u32) -> Option<GrantHandle> {
    let end = dead.grants().mappings.lock().end();
    let stop = from.0.saturating_add(budget).min(end);
    for handle in (from.0..stop).map(GrantHandle) {
        let taken = dead.grants().mappings.lock().take(handle);
        let Some(Taken::Mapped(mapped) | Taken::Leaving(mapped, _)) = taken else { continue };
        if matches!(taken, Some(Taken::Mapped(_))) {
            let _ = remove(world, dead, &mapped, mapped.gfn);
        }
        release(world, dead, handle, mapped);
    }
    (stop < end).then_some(GrantHandle(stop))
}
