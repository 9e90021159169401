//! Pinning and unpinning another domain's grant.

use super::active::{Active, Origin};
use super::entry::{Entry, Granted, Wish};
use super::party::{Party, World};
use super::status::Failure;
use crate::memory::frames::PageRef;
use xenolith_hal::{DomId, GrantRef, NestedSpace};

/// A grant in use, with a reference to its page.
#[must_use = "the grant stays in use until it is unpinned"]
#[derive(Debug)]
pub struct Pinned {
    pub page: PageRef,
    /// The part of the page that may be used, in bytes.
    pub offset: u16,
    pub length: u16,
}

/// The requested use of a grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Use {
    /// Who uses it.
    pub by: DomId,
    pub write: bool,
    /// To map it; otherwise to copy.
    pub map: bool,
}

/// The next step of a pin.
enum Step {
    Done(Pinned),
    /// The grant is transitive: it passes on another one.
    Via(Origin),
}

/// Pins a grant of `granter` for a use.
///
/// **Errors:** as real Xen: bad reference past the end of the table; bad page for a frame that is not the granter's;
/// general error for a grant that does not allow it, is in use by another domain or too often, or keeps changing.
pub fn pin<W: World>(world: &W, granter: &W::Party, reference: GrantRef, wish: Use) -> Result<Pinned, Failure> {
    match begin(world, granter, reference, wish)? {
        Step::Done(pinned) => Ok(pinned),
        Step::Via(origin) => pin_via(world, granter, reference, wish, origin),
    }
}

fn begin<W: World>(world: &W, granter: &W::Party, reference: GrantRef, wish: Use) -> Result<Step, Failure> {
    let shape = granter.grants().shape.read();
    let entry = shape.entry(reference, world.pages()).ok_or(Failure::BadReference)?;
    let mut active = shape.active_or_new(reference)?.lock();
    if active.conflicts(wish.by) || (wish.map && active.is_used() && active.part) {
        return Err(Failure::General);
    }
    let page = if active.covers(wish.write) {
        world.frames().reference(active.mfn, active.owner).ok_or(Failure::General)?
    } else {
        match mark(world, granter, &entry, &mut active, wish)? {
            Ok(page) => page,
            Err(origin) => return Ok(Step::Via(origin)),
        }
    };
    shape.begin_use(reference, &mut active, wish.write);
    Ok(Step::Done(Pinned { page, offset: active.offset, length: active.length }))
}

/// Sets the entry's flags and finds its page, or the grant behind it.
fn mark<W: World>(
    world: &W,
    granter: &W::Party,
    entry: &Entry<'_>,
    active: &mut Active,
    wish: Use,
) -> Result<Result<PageRef, Origin>, Failure> {
    let asked = Wish { domain: wish.by, write: wish.write, map: wish.map, pinned: active.is_used() };
    let granted = entry.pin(asked).map_err(|_| Failure::General)?;
    let found = match granted {
        _ if active.is_used() => again(world, active, wish),
        Granted::Frame { gfn, offset, length, part } => {
            let page = world.memory(granter).own_page(gfn, wish.write).ok_or(Failure::BadPage);
            page.map(|page| {
                let (mfn, owner) = (page.mfn(), granter.id());
                *active = Active { domain: wish.by, mfn, owner, offset, length, part, ..Active::UNUSED };
                Ok(page)
            })
        }
        Granted::Transitive { domain, .. } if domain == granter.id() => Err(Failure::General),
        Granted::Transitive { domain, reference } => Ok(Err(Origin { domain, reference, write: wish.write })),
    };
    if !matches!(found, Ok(Ok(_))) {
        entry.unpin(active.idle_marks(wish.write));
    }
    found
}

/// Adds a use for writing to a grant that is in use for reading: what it granted then still counts.
fn again<W: World>(world: &W, active: &Active, wish: Use) -> Result<Result<PageRef, Origin>, Failure> {
    // A grant that was passed on for reading may not be written through; the pin behind it is one for reading.
    if active.origin.is_some() && wish.write {
        return Err(Failure::General);
    }
    world.frames().reference(active.mfn, active.owner).map(Ok).ok_or(Failure::General)
}

/// Pins a transitive grant. The grant behind it is pinned first, with no lock held; then the entry's flags are set, and
/// it must still pass on the same grant.
fn pin_via<W: World>(
    world: &W,
    granter: &W::Party,
    reference: GrantRef,
    wish: Use,
    origin: Origin,
) -> Result<Pinned, Failure> {
    let source = world.party(origin.domain).ok_or(Failure::General)?;
    let behind = Use { by: granter.id(), ..wish };
    let Step::Done(pinned) = begin(world, &source, origin.reference, behind)? else {
        return Err(Failure::General);
    };
    let result = attach(world, granter, reference, wish, origin, &pinned);
    if result.is_err() {
        unpin_one(world, &source, origin.reference, wish.write);
        world.frames().put(pinned.page);
        return Err(Failure::General);
    }
    Ok(pinned)
}

fn attach<W: World>(
    world: &W,
    granter: &W::Party,
    reference: GrantRef,
    wish: Use,
    origin: Origin,
    pinned: &Pinned,
) -> Result<(), Failure> {
    let shape = granter.grants().shape.read();
    let entry = shape.entry(reference, world.pages()).ok_or(Failure::General)?;
    let mut active = shape.active_or_new(reference)?.lock();
    if active.is_used() {
        return Err(Failure::TryAgain);
    }
    let asked = Wish { domain: wish.by, write: wish.write, map: false, pinned: false };
    let granted = entry.pin(asked).map_err(|_| Failure::General)?;
    if granted != (Granted::Transitive { domain: origin.domain, reference: origin.reference }) {
        entry.unpin(active.idle_marks(wish.write));
        return Err(Failure::TryAgain);
    }
    let mfn = pinned.page.mfn();
    let owner = world.frames().state(mfn).map_or(DomId::INVALID, |state| state.owner);
    let (offset, length) = (pinned.offset, pinned.length);
    let origin = Some(origin);
    *active = Active { domain: wish.by, mfn, owner, offset, length, part: true, origin, ..Active::UNUSED };
    shape.begin_use(reference, &mut active, wish.write);
    Ok(())
}

/// Unpins a grant, and the one behind it. The caller drops the reference to the page, afterwards: while the grant is in
/// use, others take another reference to the page that it names, which must not have become another page by then.
#[inline]
pub fn unpin<W: World>(world: &W, granter: &W::Party, reference: GrantRef, write: bool) {
    if let Some(origin) = unpin_one(world, granter, reference, write)
        && let Some(source) = world.party(origin.domain)
    {
        unpin_one(world, &source, origin.reference, origin.write);
    }
}

/// Unpins one grant; returns the grant behind it, if this was the last use. What was written through it counts as written
/// by then.
fn unpin_one<W: World>(world: &W, granter: &W::Party, reference: GrantRef, write: bool) -> Option<Origin> {
    let shape = granter.grants().shape.read();
    let entry = shape.entry(reference, world.pages())?;
    if write {
        granter.space().note_written(entry.frame());
    }
    let mut active = shape.active(reference)?.lock();
    let marks = shape.end_use(reference, &mut active, write);
    entry.unpin(marks);
    active.origin.filter(|_| !active.is_used())
}
