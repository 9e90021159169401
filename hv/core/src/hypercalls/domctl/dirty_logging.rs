//! Dirty logging: which pages of a running domain were written since the last query, for live migration.
//!
//! The nested page tables know it ([`NestedSpace::written`](xenolith_hal::NestedSpace::written)): writes of the guest by the
//! processor, those of the hypervisor and through grants because each is noted. Each operation that is preempted is made
//! again, and goes on where it stopped; how far it came stands in [`DirtyLog`].

use super::Request;
use crate::budget::Budget;
use crate::components::control::{DirtyLog, Vram};
use crate::components::grant::World;
use crate::components::placing::flushed::is_flushed;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::outcome::{Answer, Outcome};
use xen_abi::Errno;
use xen_abi::domctl::{DomctlShadowOp, DomctlShadowOpStats, XEN_DOMCTL_SHADOW_OP_CLEAN};
use xenolith_hal::{Gfn, Machine, NestedSpace, WRITTEN_WORDS};
use zerocopy::IntoBytes;

/// Frames whose bits lie in one answer of the page tables.
const BLOCK_FRAMES: u64 = 512;
/// The words of the bitmap that are written at a time, the frames for which one stands, and those for which all do.
const PIECE_WORDS: usize = 64;
const WORD_FRAMES: u64 = u64::BITS as u64;
const PIECE_FRAMES: u64 = PIECE_WORDS as u64 * WORD_FRAMES;
/// All pages follow; only cached translations are old.
const ALL_FOLLOW: u64 = u64::MAX;

/// Turns dirty logging on. The pages that are there count as not written.
///
/// **Errors:** `EINVAL` if it is on already, or if the domain has devices, whose writes nobody sees.
pub(super) fn begin<M: Machine>(request: &Request<'_, '_, M>) -> Answer {
    let (hv, domain) = (request.call.hv, request.other_domain()?);
    let from = match domain.control.state().dirty_log {
        DirtyLog::On { .. } => return Err(Errno::EINVAL),
        DirtyLog::Turning { on: true, from } => from,
        DirtyLog::Off | DirtyLog::Turning { on: false, .. } => {
            if domain.devices.get().is_some() {
                return Err(Errno::EINVAL);
            }
            domain.space.set_tracked(0..u64::MAX);
            0
        }
    };
    if !turn(hv, domain, true, from) {
        return request.again();
    }
    domain.control.change(|state| state.dirty_log = DirtyLog::On { next: 0, counted: 0 });
    Ok(Outcome::OK)
}

/// Turns dirty logging off, if it is on.
///
/// **Errors:** `EINVAL` for the caller.
pub(super) fn end<M: Machine>(request: &Request<'_, '_, M>) -> Answer {
    let (hv, domain) = (request.call.hv, request.other_domain()?);
    let from = match domain.control.state().dirty_log {
        DirtyLog::Off => return Ok(Outcome::OK),
        DirtyLog::Turning { on: false, from } => from,
        DirtyLog::On { .. } | DirtyLog::Turning { on: true, .. } => {
            domain.space.set_tracked(0..0);
            0
        }
    };
    if !turn(hv, domain, false, from) {
        return request.again();
    }
    // A frame buffer is no longer tracked either: its device model's next call begins anew.
    domain.control.change(|state| (state.dirty_log, state.vram) = (DirtyLog::Off, Vram::NONE));
    Ok(Outcome::OK)
}

/// Makes the pages from a frame on follow, and waits until no CPU has an old translation of them. Returns false if there is
/// more to do.
fn turn<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>, on: bool, from: u64) -> bool {
    let note = |from| domain.control.change(|state| state.dirty_log = DirtyLog::Turning { on, from });
    if from != ALL_FOLLOW {
        let budget = Budget::start(&hv.machine);
        let mut next = Some(Gfn(from));
        while let Some(at) = next {
            note(at.0);
            if at.0 != from && budget.is_over(&hv.machine) {
                return false;
            }
            next = hv.memory(domain).edit(|editor| editor.retrack(at));
        }
        note(ALL_FOLLOW);
        flush(hv, domain);
    }
    is_flushed(hv, domain)
}

/// Makes every CPU forget which pages it need not mark as written.
fn flush<M: Machine>(hv: &Hypervisor<M>, domain: &Domain<M>) {
    domain.space.flush();
    domain.physmap.note_stale(&hv.frames);
}

/// Reports which frames were written, of as many as are asked for; with `XEN_DOMCTL_SHADOW_OP_CLEAN` they count as not
/// written from then on. A null bitmap is not written.
///
/// **Errors:** `EINVAL` if dirty logging is off; `EFAULT`, and what was to be written then still counts as written.
pub(super) fn report<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let op = request.op.shadow_op();
    let (hv, domain) = (request.call.hv, request.other_domain()?);
    let DirtyLog::On { next, counted } = domain.control.state().dirty_log else { return Err(Errno::EINVAL) };
    // Whatever comes of it, the next call begins anew: unless it is this one, made again.
    let note = |next, counted| domain.control.change(|state| state.dirty_log = DirtyLog::On { next, counted });
    note(0, 0);
    let clean = op.op == XEN_DOMCTL_SHADOW_OP_CLEAN;
    let mut counted = counted;
    if next != ALL_FOLLOW {
        if let Some(stopped) = write_bits(request, &op, next, &mut counted)? {
            note(stopped, counted);
            return request.again();
        }
        if clean {
            flush(hv, domain);
        }
    }
    if clean && !is_flushed(hv, domain) {
        note(ALL_FOLLOW, counted);
        return request.again();
    }
    let fault_count = domain.physmap.write_faults(clean);
    let stats = DomctlShadowOpStats { fault_count, dirty_count: counted };
    request.op.set_shadow_op(DomctlShadowOp { stats, ..op });
    request.copy_back()
}

/// Writes the bits of the frames from `first` on, and counts the set ones; returns how far it came if it was preempted.
fn write_bits<M: Machine>(
    request: &Request<'_, '_, M>,
    op: &DomctlShadowOp,
    first: u64,
    counted: &mut u32,
) -> Result<Option<u64>, Errno> {
    let (hv, domain) = (request.call.hv, request.other_domain()?);
    let there = domain.physmap.highest().0.saturating_add(1).min(op.pages);
    let end = if op.dirty_bitmap.is_null() { there } else { op.pages };
    let budget = Budget::start(&hv.machine);
    let mut at = first;
    while at < end {
        let frames = PIECE_FRAMES.min(end.saturating_sub(at));
        let words = piece(hv, domain, op, at, frames.min(there.saturating_sub(at)));
        let passed = words.as_bytes().get(..frames.div_ceil(8) as usize).unwrap_or_default();
        if let Err(errno) = pass(request, op, at, passed) {
            if op.op == XEN_DOMCTL_SHADOW_OP_CLEAN {
                let firsts = (at..).step_by(WORD_FRAMES as usize);
                firsts.zip(&words).for_each(|(first, bits)| note_again(domain, first, u64::from_le(*bits)));
            }
            return Err(errno);
        }
        *counted = words.iter().fold(*counted, |sum, word| sum.saturating_add(word.count_ones()));
        at = at.saturating_add(frames);
        if at < end && budget.is_over(&hv.machine) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

fn pass<M: Machine>(request: &Request<'_, '_, M>, op: &DomctlShadowOp, at: u64, bytes: &[u8]) -> Result<(), Errno> {
    if op.dirty_bitmap.is_null() {
        return Ok(());
    }
    let place = op.dirty_bitmap.address.checked_add(at / 8).ok_or(Errno::EFAULT)?;
    request.call.memory().write_bytes(place, bytes)
}

/// Returns the bits of the frames from `at` on, of `frames` of them at most, as they stand in memory; the rest is clear.
fn piece<M: Machine>(
    hv: &Hypervisor<M>,
    domain: &Domain<M>,
    op: &DomctlShadowOp,
    at: u64,
    frames: u64,
) -> [u64; PIECE_WORDS] {
    let clean = op.op == XEN_DOMCTL_SHADOW_OP_CLEAN;
    let mut words = [0; PIECE_WORDS];
    let end = at.saturating_add(frames);
    for (places, first) in words.chunks_mut(WRITTEN_WORDS).zip((at..end).step_by(BLOCK_FRAMES as usize)) {
        let told = hv.memory(domain).edit(|editor| editor.written(Gfn(first), clean));
        let told = told.into_iter().zip((first..).step_by(WORD_FRAMES as usize));
        for (place, (bits, first)) in places.iter_mut().zip(told).filter(|(_, (bits, _))| *bits != 0) {
            let asked = first_bits(end.saturating_sub(first));
            *place = (bits & asked).to_le();
            if clean {
                // Frames past the last that is asked for keep their marks.
                note_again(domain, first, bits & !asked);
            }
        }
    }
    words
}

/// Returns a word whose first `count` bits are set.
const fn first_bits(count: u64) -> u64 {
    if count < WORD_FRAMES { !(u64::MAX << count) } else { u64::MAX }
}

/// Makes frames whose bits are set count as written.
fn note_again<M: Machine>(domain: &Domain<M>, first: u64, bits: u64) {
    let mut left = bits;
    while left != 0 {
        domain.space.note_written(Gfn(first.saturating_add(left.trailing_zeros().into())));
        left &= left.wrapping_sub(1);
    }
}
