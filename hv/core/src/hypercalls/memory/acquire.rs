//! `XENMEM_acquire_resource`: maps the hypervisor's pages of a domain for the toolstack.

use crate::budget::Budget;
use crate::components::access::{Action, Object};
use crate::components::grant::{Part, status_frames_for};
use crate::components::ioreq::{Server, Which};
use crate::components::placing::flushed::is_flushed;
use crate::components::placing::place::{Displaced, map_foreign};
use crate::domains::domain::Domain;
use crate::hypercalls::Call;
use crate::hypercalls::memory::list::{again, extents_done};
use crate::outcome::{Answer, Outcome};
use core::mem::offset_of;
use xen_abi::physmap::*;
use xen_abi::{Errno, GuestHandle};
use xenolith_hal::{Gfn, Machine, Mfn};

/// The frames of a server, and which of them is the synchronous page.
const SERVER_FRAMES: u32 = 2;
const FRAME_SYNCHRONOUS: u64 = 1;
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
    let (resource, most) = resource(&owner, &op).ok_or(Errno::EINVAL)?;
    let done = extents_done(call);
    if op.frame_list.is_null() {
        return write_size(call, &op, done, most);
    }
    if done >= u64::from(op.nr_frames) || op.nr_frames > MOST_FRAMES {
        return Err(Errno::EINVAL);
    }
    // A table grows to the last frame first, as a whole.
    let last = end.and_then(|end| u32::try_from(end.checked_sub(1)?).ok()).ok_or(Errno::EINVAL)?;
    if let Resource::Grants(part) = resource {
        owner.grants.frame(part, last, &call.hv.grant_source(owner.id)).ok_or(Errno::EINVAL)?;
    }
    let mut budget = Budget::start(&call.hv.machine);
    for step in done..u64::from(op.nr_frames) {
        if budget.is_spent(&call.hv.machine) || !is_flushed(call.hv, call.domain) {
            return Ok(again(call, step));
        }
        let gfn: Gfn = call.memory().read_at(op.frame_list, step)?;
        let index = op.frame.checked_add(step).and_then(|index| u32::try_from(index).ok()).ok_or(Errno::EINVAL)?;
        let mfn = frame(call, &owner, &resource, index)?;
        let page = call.hv.frames.reference(mfn, owner.id).ok_or(Errno::EINVAL)?;
        let mapped = map_foreign(call.hv, call.domain, page, gfn, Displaced::Kept);
        mapped.map_err(|errno| if step == done { errno } else { Errno::EIO })?;
    }
    Ok(Outcome::OK)
}

/// What can be mapped.
enum Resource {
    Grants(Part),
    /// The pages of the server with this number.
    Server(u32),
}

/// Returns what the resource is, and the most frames that it may have.
fn resource<M: Machine>(owner: &Domain<M>, op: &MemAcquireResource) -> Option<(Resource, u32)> {
    let most = owner.grants.limits().frames;
    match (op.kind, op.id) {
        (XENMEM_RESOURCE_GRANT_TABLE, XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED) => {
            Some((Resource::Grants(Part::Entries), most))
        }
        (XENMEM_RESOURCE_GRANT_TABLE, XENMEM_RESOURCE_GRANT_TABLE_ID_STATUS) => {
            Some((Resource::Grants(Part::Status), status_frames_for(most)))
        }
        (XENMEM_RESOURCE_IOREQ_SERVER, id) if owner.device_model.get().is_some() => {
            Some((Resource::Server(id), SERVER_FRAMES))
        }
        _ => None,
    }
}

/// Returns a frame of a resource, and makes it if there is none.
///
/// **Errors:** `EINVAL` past the end; of a server `ENOENT`, `EPERM` and `ENOMEM`.
fn frame<M: Machine>(call: &Call<'_, M>, owner: &Domain<M>, resource: &Resource, index: u32) -> Result<Mfn, Errno> {
    match *resource {
        Resource::Grants(part) => owner.grants.frame(part, index, &call.hv.grant_source(owner.id)).ok_or(Errno::EINVAL),
        Resource::Server(id) => {
            let id = u16::try_from(id).map_err(|_| Errno::EINVAL)?;
            let model = owner.device_model.get().ok_or(Errno::EINVAL)?;
            server_frame(call, owner, &*model.server(id, call.domain.id)?, index)
        }
    }
}

/// Returns a page of a server, of which both are made together.
fn server_frame<M: Machine>(call: &Call<'_, M>, owner: &Domain<M>, server: &Server, index: u32) -> Result<Mfn, Errno> {
    let hv = call.hv;
    let page = |which| server.resource(which, &hv.machine, || hv.frames.take_shared(&hv.machine, owner.id));
    let synchronous = page(Which::Synchronous)?;
    let buffered = if server.is_buffering() { Some(page(Which::Buffered)?) } else { None };
    match u64::from(index) {
        XENMEM_RESOURCE_IOREQ_SERVER_FRAME_BUFIOREQ => buffered.ok_or(Errno::ENOENT),
        FRAME_SYNCHRONOUS => Ok(synchronous),
        _ => Err(Errno::EINVAL),
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
