//! Dirty logging: which pages of a running domain were written since the last query, for live migration.
//!
//! Writes are not tracked: every page counts as dirty at every query, so that a copy is complete. Their number is
//! reported as 0: a toolstack that waits for few dirty pages between its rounds then stops waiting, for another round
//! would leave as many. It copies everything once while the domain runs, and once when it is paused.

use super::Request;
use crate::budget::Budget;
use crate::domains::domain::Domain;
use crate::outcome::Answer;
use xen_abi::Errno;
use xen_abi::domctl::{DomctlShadowOp, DomctlShadowOpStats};
use xenolith_hal::Machine;

/// The bytes of the bitmap that are written at a time, and the frames for which they stand.
const PIECE_BYTES: usize = 512;
const PIECE_FRAMES: u64 = PIECE_BYTES as u64 * 8;

/// Turns dirty logging on.
///
/// **Errors:** `EINVAL` if it is on already.
pub(super) fn begin<M: Machine>(domain: &Domain<M>) -> Result<(), Errno> {
    domain.control.change(|state| {
        if state.dirty_reported.is_some() {
            return Err(Errno::EINVAL);
        }
        state.dirty_reported = Some(0);
        Ok(())
    })
}

/// Turns dirty logging off.
pub(super) fn end<M: Machine>(domain: &Domain<M>) {
    domain.control.change(|state| state.dirty_reported = None);
}

/// Sets a bit for each frame up to the domain's highest, of as many frames as are asked for. A null bitmap is not
/// written. A preempted call is made again, and continues where it stopped.
///
/// **Errors:** `EINVAL` if dirty logging is off; `EFAULT`.
pub(super) fn report<M: Machine>(request: &mut Request<'_, '_, M>) -> Answer {
    let op = request.op.shadow_op();
    let domain = request.other_domain()?;
    let reported = domain.control.state().dirty_reported.ok_or(Errno::EINVAL)?;
    let there = domain.physmap.highest().0.saturating_add(1).min(op.pages);
    // Whatever comes of it, the next call begins anew: unless it is this one, made again.
    domain.control.change(|state| state.dirty_reported = Some(0));
    if !op.dirty_bitmap.is_null()
        && let Some(done) = write_bits(request, &op, reported.min(op.pages), there)?
    {
        request.domain()?.control.change(|state| state.dirty_reported = Some(done));
        return request.again();
    }
    request.op.set_shadow_op(DomctlShadowOp { stats: DomctlShadowOpStats::default(), ..op });
    request.copy_back()
}

/// Writes the bits of the frames from `first` on, those below `there` set; returns how far it came if it was preempted.
fn write_bits<M: Machine>(
    request: &Request<'_, '_, M>,
    op: &DomctlShadowOp,
    first: u64,
    there: u64,
) -> Result<Option<u64>, Errno> {
    let machine = &request.call.hv.machine;
    let budget = Budget::start(machine);
    let mut at = first;
    while at < op.pages {
        let frames = PIECE_FRAMES.min(op.pages.saturating_sub(at));
        let piece = piece(there.saturating_sub(at));
        let bytes = piece.get(..frames.div_ceil(8) as usize).unwrap_or_default();
        let place = op.dirty_bitmap.address.checked_add(at / 8).ok_or(Errno::EFAULT)?;
        request.call.memory().write_bytes(place, bytes)?;
        at = at.saturating_add(frames);
        if at < op.pages && budget.is_over(machine) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Returns a piece of a bitmap whose first `set` bits are set.
fn piece(set: u64) -> [u8; PIECE_BYTES] {
    let mut bytes = [0; PIECE_BYTES];
    for (byte, first) in bytes.iter_mut().zip((0..).step_by(8)) {
        *byte = match set.saturating_sub(first) {
            0 => 0,
            some @ 1..8 => !(u8::MAX << some),
            _ => u8::MAX,
        };
    }
    bytes
}
