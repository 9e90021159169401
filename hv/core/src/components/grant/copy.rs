//! Grant copy: copying between pages of two domains.

use super::party::{Party, World};
use super::pin::{Use, pin, unpin};
use super::status::Failure;
use crate::components::reference::Reference;
use crate::memory::frames::{PageRef, Pages};
use xenolith_hal::{DomId, Gfn, GrantRef, NestedSpace, PAGE_SIZE, PageWords};

/// A page that is copied from or to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named {
    /// By a grant.
    Grant(GrantRef),
    /// By its frame in the caller's own memory.
    Frame(Gfn),
}

/// One end of a copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    pub named: Named,
    pub domain: DomId,
    /// Where in the page, in bytes.
    pub offset: u16,
}

/// How many bytes are copied in one go.
const CHUNK: usize = 512;
const WORD: usize = 8;

/// A domain that a copy is from or to.
type Whose<'a, W> = Reference<'a, <W as World>::Party, <W as World>::Held>;

/// One end, held for the copy.
struct Held<'a, W: World> {
    whose: Whose<'a, W>,
    page: PageRef,
    offset: u16,
    length: u16,
    grant: Option<GrantRef>,
    write: bool,
}

/// Copies `length` bytes (`GNTTABOP_copy`).
///
/// **Errors:** denied for a frame of a domain not named as `DOMID_SELF`; bad domain; as [`pin`]; bad page for a frame
/// that is not the caller's memory; bad copy past the end of a page; general error past the end of what was granted.
/// **Source:** `grant_table.h`.
pub fn copy<W: World>(world: &W, caller: &W::Party, from: End, to: End, length: u16) -> Result<(), Failure> {
    let source = whose(world, caller, from)?;
    let target = whose(world, caller, to)?;
    let source = hold(world, caller, source, from, false)?;
    let target = match hold(world, caller, target, to, true) {
        Ok(target) => target,
        Err(failure) => {
            let_go(world, source);
            return Err(failure);
        }
    };
    let outcome = transfer(world, &source, from.offset, &target, to.offset, length);
    if let Named::Frame(gfn) = to.named {
        target.whose.space().note_written(gfn);
    }
    let_go(world, source);
    let_go(world, target);
    outcome
}

#[inline]
fn whose<'a, W: World>(world: &W, caller: &'a W::Party, end: End) -> Result<Whose<'a, W>, Failure> {
    if end.domain == DomId::SELF {
        return Ok(Reference::Borrowed(caller));
    }
    let other = world.party(end.domain).ok_or(Failure::BadDomain)?;
    if matches!(end.named, Named::Frame(_)) { Err(Failure::Denied) } else { Ok(Reference::Shared(other)) }
}

fn hold<'a, W: World>(
    world: &W,
    caller: &W::Party,
    whose: Whose<'a, W>,
    end: End,
    write: bool,
) -> Result<Held<'a, W>, Failure> {
    match end.named {
        Named::Grant(reference) => {
            let pinned = pin(world, &whose, reference, Use { by: caller.id(), write, map: false })?;
            let (page, offset, length) = (pinned.page, pinned.offset, pinned.length);
            Ok(Held { whose, page, offset, length, grant: Some(reference), write })
        }
        Named::Frame(gfn) => {
            let page = world.memory(&whose).own_page(gfn, write).ok_or(Failure::BadPage)?;
            Ok(Held { whose, page, offset: 0, length: PAGE_SIZE as u16, grant: None, write })
        }
    }
}

#[inline]
fn let_go<W: World>(world: &W, held: Held<'_, W>) {
    // In this order: who finds the grant in use takes the page that it names.
    if let Some(reference) = held.grant {
        unpin(world, &held.whose, reference, held.write);
    }
    world.frames().put(held.page);
}

#[expect(clippy::arithmetic_side_effects, reason = "16 bits and 16 bits in 32")]
fn transfer<W: World>(
    world: &W,
    source: &Held<'_, W>,
    from: u16,
    target: &Held<'_, W>,
    to: u16,
    length: u16,
) -> Result<(), Failure> {
    let fits_page = |at: u16| usize::from(at) + usize::from(length) <= PAGE_SIZE;
    if !fits_page(from) || !fits_page(to) {
        return Err(Failure::BadCopy);
    }
    let granted = |held: &Held<'_, W>, at: u16| {
        let end = u32::from(held.offset) + u32::from(held.length);
        at >= held.offset && u32::from(at) + u32::from(length) <= end
    };
    if !granted(source, from) || !granted(target, to) {
        return Err(Failure::General);
    }
    let source = world.pages().page(source.page.mfn()).ok_or(Failure::BadPage)?;
    let target = world.pages().page(target.page.mfn()).ok_or(Failure::BadPage)?;
    copy_bytes(source, usize::from(from), target, usize::from(to), usize::from(length)).ok_or(Failure::General)
}

/// Copies from the front. Overlapping ranges of one page are copied by words, as the processor's string move does.
#[expect(clippy::arithmetic_side_effects, reason = "offsets in a page, and no step is longer than what is left")]
fn copy_bytes(source: &PageWords, from: usize, target: &PageWords, to: usize, length: usize) -> Option<()> {
    if !core::ptr::eq(source, target) && target.copy_words(to, source, from, length) {
        return Some(());
    }
    let mut buffer = [0; CHUNK];
    let chunk = if core::ptr::eq(source, target) { WORD } else { CHUNK };
    let mut done = 0;
    while done < length {
        let left = length - done;
        let step = if left >= chunk {
            chunk
        } else if chunk == WORD {
            1
        } else {
            left
        };
        let part = buffer.get_mut(..step)?;
        (source.read_bytes(from + done, part) && target.write_bytes(to + done, part)).then_some(())?;
        done += step;
    }
    Some(())
}
