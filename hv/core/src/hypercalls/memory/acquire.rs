//! `XENMEM_acquire_resource`: maps the hypervisor's pages of a domain for the toolstack.

use crate::budget::Budget;
use crate::components::access::{Action, Object};
use crate::components::grant::{Part, status_frames_for};
use crate::components::placing::flushed::is_flushed;
use crate::components::placing::place::{Displaced, map_foreign};
use crate::domains::domain::Domain;
use crate::hypercalls::Call;
use crate::hypercalls::memory::list::{again, extents_done};
use crate::outcome::{Answer, Outcome};
use core::mem::offset_of;
use xen_abi::physmap::*;
use xen_abi::{Errno, GuestHandle};
use xenolith_hal::{Gfn, Machine};

/// The most frames whose progress fits beside the operation's number.
const MOST_FRAMES: u32 = u32::MAX >> xen_abi::memory::MEMOP_EXTENT_SHIFT;

/// Implements `XENMEM_acquire_resource`.
///
/// **Errors:** `EACCES` for a caller that is not the control domain, before anything is read; `EFAULT`; `EINVAL` for
/// padding, a range past 32 bits, a resource that does not exist, no frames, and frames past the end; `EPERM` for the
/// caller itself; `ESRCH`; `EIO` when a frame other than the first cannot be mapped, the first gives the reason.
pub(super) fn acquire_resource<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    if call.may(Action::AcquireResource, Object::Machine).is_err() {
        return Err(Errno::EACCES);
    }
    let op: MemAcquireResource = call.read_arg(1)?;
    let end = op.frame.checked_add(u64::from(op.nr_frames));
    if op.padding != 0 || op.frame >> 32 != 0 || end.is_none_or(|end| end >> 32 != 0) {
        return Err(Errno::EINVAL);
    }
    if op.domid == call.domain.id {
        return Err(Errno::EPERM);
    }
    let owner = call.hv.domain(op.domid)?;
    call.may(Action::AcquireResource, Object::Domain(owner.id))?;
    let (part, most) = resource(&owner, &op).ok_or(Errno::EINVAL)?;
    let done = extents_done(call);
    if op.frame_list.is_null() {
        return write_size(call, &op, done, most);
    }
    if done >= u64::from(op.nr_frames) || op.nr_frames > MOST_FRAMES {
        return Err(Errno::EINVAL);
    }
    // The table grows to the last frame first, as a whole.
    let last = end.and_then(|end| u32::try_from(end.checked_sub(1)?).ok()).ok_or(Errno::EINVAL)?;
    let source = call.hv.grant_source(owner.id);
    owner.grants.frame(part, last, &source).ok_or(Errno::EINVAL)?;
    let mut budget = Budget::start(&call.hv.machine);
    for step in done..u64::from(op.nr_frames) {
        if budget.is_spent(&call.hv.machine) || !is_flushed(call.hv, call.domain) {
            return Ok(again(call, step));
        }
        let gfn: Gfn = call.memory().read_at(op.frame_list, step)?;
        let index = op.frame.checked_add(step).and_then(|index| u32::try_from(index).ok()).ok_or(Errno::EINVAL)?;
        let mfn = owner.grants.frame(part, index, &source).ok_or(Errno::EINVAL)?;
        let page = call.hv.frames.reference(mfn, owner.id).ok_or(Errno::EINVAL)?;
        let mapped = map_foreign(call.hv, call.domain, page, gfn, Displaced::Kept);
        mapped.map_err(|errno| if step == done { errno } else { Errno::EIO })?;
    }
    Ok(Outcome::OK)
}

/// Returns the part of the grant table that the resource is, and the most frames that it may have.
fn resource<M: Machine>(owner: &Domain<M>, op: &MemAcquireResource) -> Option<(Part, u32)> {
    let most = owner.grants.limits().frames;
    match (op.kind, op.id) {
        (XENMEM_RESOURCE_GRANT_TABLE, XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED) => Some((Part::Entries, most)),
        (XENMEM_RESOURCE_GRANT_TABLE, XENMEM_RESOURCE_GRANT_TABLE_ID_STATUS) => {
            Some((Part::Status, status_frames_for(most)))
        }
        _ => None,
    }
}

fn write_size<M: Machine>(call: &Call<'_, M>, op: &MemAcquireResource, done: u64, most: u32) -> Answer {
    if op.nr_frames != 0 || done != 0 {
        return Err(Errno::EINVAL);
    }
    let asked: GuestHandle<MemAcquireResource> = call.handle(1);
    let at = call.memory().member(asked, offset_of!(MemAcquireResource, nr_frames))?;
    call.memory().write(at, &most)?;
    Ok(Outcome::OK)
}
