//! Which pages of a frame buffer the guest wrote since the device model last asked.
//!
//! Its range alone is tracked, while the toolstack logs no dirty pages. While it does, all pages are tracked and their marks
//! are its to clear, so the device model only sees them: what the toolstack cleared before is missing.

use super::{Done, Request, require};
use crate::budget::Budget;
use crate::components::control::{DirtyLog, Vram, VramStep};
use crate::components::grant::World;
use crate::components::placing::flushed::is_flushed;
use crate::domains::domain::Domain;
use core::ops::Range;
use xen_abi::Errno;
use xenolith_hal::{Gfn, Machine, NestedSpace};

/// The most pages of a frame buffer: 1 GiB. **Source:** Xen's `track_dirty_vram`.
const MOST_PAGES: u32 = 1 << 18;
/// Frames whose bits lie in one answer of the page tables.
const BLOCK_FRAMES: u64 = 512;
/// The bytes of the bitmap that are written at a time, and the frames for which they stand.
const PIECE_BYTES: usize = 64;
const PIECE_FRAMES: u64 = PIECE_BYTES as u64 * 8;

/// Implements `XEN_DMOP_track_dirty_vram`. The first call for a range begins to track it and finds all of it written; each
/// further call finds what was written since the last; no pages at all end it.
///
/// **Errors:** `EINVAL` for padding, without a second buffer, for more than 1 GiB, without vCPUs, for a bitmap that is too
/// short and frames past the last number; `ESRCH` for a guest that is being destroyed; `EFAULT`, and what was to be written
/// then still counts as written.
pub(super) fn track_dirty_vram<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let wanted = request.op.track_dirty_vram();
    require(wanted.pad == 0)?;
    let bitmap = request.extra.ok_or(Errno::EINVAL)?;
    require(wanted.nr <= MOST_PAGES)?;
    if request.domain.is_dying() {
        return Err(Errno::ESRCH);
    }
    require(!request.domain.vcpus.is_empty())?;
    require(u64::from(wanted.nr.div_ceil(u8::BITS)) <= bitmap.size)?;
    request.model()?;
    let first = if wanted.nr == 0 { 0 } else { wanted.first_pfn.0 };
    let end = first.checked_add(wanted.nr.into()).ok_or(Errno::EINVAL)?;
    let now = request.domain.control.change(|state| aim(&mut state.vram, (first, end)));
    if now == Vram::NONE {
        return Ok(Done::Quietly);
    }
    match now.step {
        VramStep::Follow { from, until } => follow(request, now, from, until),
        VramStep::Answer { next } => answer(request, now, next),
        VramStep::Flush => Ok(wait_for_flush(request, now)),
    }
}

/// Goes on with the same range, or begins with this one: the pages of both follow.
fn aim(vram: &mut Vram, (first, end): (u64, u64)) -> Vram {
    if (vram.first, vram.end) != (first, end) {
        let (from, until) = match (vram.is_empty(), first == end) {
            (true, _) => (first, end),
            (false, true) => (vram.first, vram.end),
            (false, false) => (vram.first.min(first), vram.end.max(end)),
        };
        // What did not follow the range before yet must follow this one.
        let (from, until) = match vram.step {
            VramStep::Follow { from: before, until: last } if before < last => (from.min(before), until.max(last)),
            _ => (from, until),
        };
        *vram = Vram { first, end, step: VramStep::Follow { from, until } };
    }
    *vram
}

fn note<M: Machine>(request: &Request<'_, '_, M>, now: Vram, step: VramStep) {
    request.domain.control.change(|state| {
        if (state.vram.first, state.vram.end) == (now.first, now.end) {
            state.vram.step = step;
        }
    });
}

/// Returns whether the marks are the toolstack's.
fn is_logging<M: Machine>(domain: &Domain<M>) -> bool {
    domain.control.state().dirty_log != DirtyLog::Off
}

/// Makes pages follow the range, from a frame on; then all of it counts as written.
fn follow<M: Machine>(request: &Request<'_, '_, M>, now: Vram, from: u64, until: u64) -> Result<Done, Errno> {
    let (hv, domain) = (request.call.hv, &*request.domain);
    if !is_logging(domain) {
        domain.space.set_tracked(now.first..now.end);
        let budget = Budget::start(&hv.machine);
        let mut next = Some(Gfn(from));
        while let Some(at) = next.filter(|at| at.0 < until) {
            if at.0 != from && budget.is_over(&hv.machine) {
                note(request, now, VramStep::Follow { from: at.0, until });
                return Ok(Done::Again);
            }
            next = hv.memory(domain).edit(|editor| editor.retrack(at));
        }
        flush(request);
    }
    let ones = [0xff; PIECE_BYTES];
    for at in (now.first..now.end).step_by(PIECE_FRAMES as usize) {
        let frames = PIECE_FRAMES.min(now.end.saturating_sub(at));
        write_bits(request, now, at, ones.get(..frames.div_ceil(8) as usize).unwrap_or_default())?;
    }
    note(request, now, VramStep::Flush);
    Ok(wait_for_flush(request, now))
}

/// Writes which frames were written, from one on, and makes them count as not written.
fn answer<M: Machine>(request: &Request<'_, '_, M>, now: Vram, first: u64) -> Result<Done, Errno> {
    let (hv, domain) = (request.call.hv, &*request.domain);
    let clean = !is_logging(domain);
    note(request, now, VramStep::Answer { next: now.first });
    let budget = Budget::start(&hv.machine);
    for at in (first..now.end).step_by(PIECE_FRAMES as usize) {
        if at != first && budget.is_over(&hv.machine) {
            note(request, now, VramStep::Answer { next: at });
            return Ok(Done::Again);
        }
        let piece = at..now.end.min(at.saturating_add(PIECE_FRAMES));
        let bits = piece_bits(request, &piece, clean);
        let length = piece.end.saturating_sub(at).div_ceil(8) as usize;
        if let Err(errno) = write_bits(request, now, at, bits.get(..length).unwrap_or_default()) {
            note_again(domain, &piece, &bits);
            return Err(errno);
        }
    }
    if !clean {
        return Ok(Done::Quietly);
    }
    flush(request);
    note(request, now, VramStep::Flush);
    Ok(wait_for_flush(request, now))
}

/// Returns a bit for each frame of a piece that was written. With `clean` they count as not written from then on.
fn piece_bits<M: Machine>(request: &Request<'_, '_, M>, piece: &Range<u64>, clean: bool) -> [u8; PIECE_BYTES] {
    let (hv, domain) = (request.call.hv, &*request.domain);
    let mut bits = [0; PIECE_BYTES];
    let begin = piece.start & !(BLOCK_FRAMES.wrapping_sub(1));
    for block in (begin..piece.end).step_by(BLOCK_FRAMES as usize) {
        let words = hv.memory(domain).edit(|editor| editor.written(Gfn(block), clean));
        for (base, word) in (block..).step_by(u64::BITS as usize).zip(words) {
            each_bit(word, |bit| {
                let frame = base.saturating_add(bit);
                let place = frame.checked_sub(piece.start).filter(|_| frame < piece.end);
                match place.and_then(|place| Some((bits.get_mut((place >> 3) as usize)?, place & 7))) {
                    Some((byte, bit)) => *byte |= 1 << bit,
                    // A frame beside the piece keeps its mark.
                    None if clean => domain.space.note_written(Gfn(frame)),
                    None => {}
                }
            });
        }
    }
    bits
}

fn each_bit(word: u64, mut work: impl FnMut(u64)) {
    let mut left = word;
    while left != 0 {
        work(left.trailing_zeros().into());
        left &= left.wrapping_sub(1);
    }
}

/// Makes frames whose bits are set count as written.
fn note_again<M: Machine>(domain: &Domain<M>, piece: &Range<u64>, bits: &[u8]) {
    for (base, byte) in (piece.start..).step_by(8).zip(bits) {
        each_bit((*byte).into(), |bit| domain.space.note_written(Gfn(base.saturating_add(bit))));
    }
}

/// Writes bytes of the bitmap, from a frame's on.
fn write_bits<M: Machine>(request: &Request<'_, '_, M>, now: Vram, at: u64, bytes: &[u8]) -> Result<(), Errno> {
    let bitmap = request.extra.ok_or(Errno::EINVAL)?;
    let offset = at.saturating_sub(now.first) / 8;
    let place = bitmap.address.address.checked_add(offset).ok_or(Errno::EFAULT)?;
    request.call.memory().write_bytes(place, bytes)
}

/// Makes every CPU forget which pages it need not mark as written.
fn flush<M: Machine>(request: &Request<'_, '_, M>) {
    request.domain.space.flush();
    request.domain.physmap.note_stale(&request.call.hv.frames);
}

/// Waits until no CPU writes by an old translation: what it writes so is not seen, and must be done before the device model
/// reads the pages.
fn wait_for_flush<M: Machine>(request: &Request<'_, '_, M>, now: Vram) -> Done {
    if !is_flushed(request.call.hv, &request.domain) {
        return Done::Again;
    }
    note(request, now, VramStep::Answer { next: now.first });
    Done::Quietly
}
