//! `XENMEM_add_to_physmap`, its batch and `XENMEM_remove_from_physmap`: arguments, permission, progress.

use crate::budget::Budget;
use crate::components::access::{Action, Object};
use crate::components::placing::flushed::is_flushed;
use crate::components::placing::place::{Item, place, unplace};
use crate::domains::hypervisor::DomainHandle;
use crate::hypercalls::Call;
use crate::hypercalls::memory::list::{again, extents_done, named, no_progress, permitted};
use crate::hypercalls::memory::reservation::note_stale_mappings;
use crate::outcome::{Answer, Outcome};
use xen_abi::compat::Ulong;
use xen_abi::physmap::*;
use xen_abi::{DomId, Errno};
use xenolith_hal::{Gfn, Machine};

/// Returns the progress, as the size of a call counts it.
///
/// **Errors:** `EDOM` for more than a size can be.
fn progress<M: Machine>(call: &Call<'_, M>) -> Result<u16, Errno> {
    u16::try_from(extents_done(call)).map_err(|_| Errno::EDOM)
}

/// Returns the target of a call, checked for permission.
///
/// **Errors:** `ESRCH`; `EACCES` for device memory of any domain but the control domain itself; `EPERM`.
fn target<'a, M: Machine>(call: &Call<'a, M>, id: DomId, space: u32) -> Result<DomainHandle<'a, M>, Errno> {
    let target = named(call, id)?;
    let object = Object::Domain(target.id);
    if space == XENMAPSPACE_DEV_MMIO {
        call.may(Action::MapDeviceMemory, object).map_err(|_| Errno::EACCES)?;
    }
    call.may(Action::ManageMemory, object)?;
    Ok(target)
}

/// Implements `XENMEM_add_to_physmap`.
///
/// **Errors:** `EDOM`, `EFAULT`, `ESRCH`, `EACCES`, `EPERM`; `ENOSYS` for pages of other domains; for a range `EILSEQ`
/// for progress past its end, `EOVERFLOW` when it wraps; and as [`place`].
pub(super) fn add_to_physmap<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let start = progress(call)?;
    let op: AddToPhysmap = call.read_arg(1)?;
    if op.space == XENMAPSPACE_GMFN_FOREIGN {
        return Err(Errno::ENOSYS);
    }
    let target = target(call, op.domid, op.space)?;
    if op.space != XENMAPSPACE_GMFN_RANGE {
        if !is_flushed(call.hv, &*target) {
            return Ok(again(call, start.into()));
        }
        let item = Item { space: op.space, index: op.idx, foreign: DomId::INVALID };
        place(call.hv, call.domain, &target, item, op.gpfn)?;
        return Ok(Outcome::OK);
    }
    if start > op.size {
        return Err(Errno::EILSEQ);
    }
    // From here on no number of the range wraps.
    let fits = |first: u64| first.checked_add(u64::from(op.size)).is_some();
    if !fits(op.idx) || !fits(op.gpfn.0) {
        return Err(Errno::EOVERFLOW);
    }
    let mut budget = Budget::start(&call.hv.machine);
    for step in u64::from(start)..u64::from(op.size) {
        if budget.is_spent(&call.hv.machine) || (step == u64::from(start) && !is_flushed(call.hv, &*target)) {
            return Ok(again(call, step));
        }
        let item = Item { space: XENMAPSPACE_GMFN, index: op.idx.wrapping_add(step), foreign: DomId::INVALID };
        place(call.hv, call.domain, &target, item, Gfn(op.gpfn.0.wrapping_add(step)))?;
    }
    Ok(Outcome::OK)
}

/// Implements `XENMEM_add_to_physmap_batch`. Each element has an errno of its own.
///
/// **Errors:** of the call as a whole: `EDOM`, `EFAULT`, `ESRCH`, `EACCES`, `EPERM`; `EOPNOTSUPP` for a range; `EILSEQ`
/// for progress past the end.
pub(super) fn add_to_physmap_batch<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let start = progress(call)?;
    let op: AddToPhysmapBatch = call.read_arg(1)?;
    let space = u32::from(op.space);
    if space == XENMAPSPACE_GMFN_RANGE {
        return Err(Errno::EOPNOTSUPP);
    }
    let target = target(call, op.domid, space)?;
    if op.size <= start {
        return if op.size == 0 && start == 0 { Ok(Outcome::OK) } else { Err(Errno::EILSEQ) };
    }
    if space == XENMAPSPACE_DEV_MMIO && op.foreign_domid.0 != 0 {
        return Err(Errno::EOPNOTSUPP);
    }
    let mut budget = Budget::start(&call.hv.machine);
    for step in u64::from(start)..u64::from(op.size) {
        if budget.is_spent(&call.hv.machine) || !is_flushed(call.hv, &*target) {
            return Ok(again(call, step));
        }
        let Ulong(index) = call.memory().read_at(op.idxs, step)?;
        let gfn = call.memory().read_at(op.gpfns, step)?;
        let item = Item { space, index, foreign: op.foreign_domid };
        let errno = match place(call.hv, call.domain, &target, item, gfn) {
            Ok(()) => 0,
            Err(errno) => errno.number().wrapping_neg(),
        };
        call.memory().write_at(op.errs, step, &errno)?;
    }
    Ok(Outcome::OK)
}

/// Implements `XENMEM_remove_from_physmap`.
///
/// **Errors:** `EINVAL` for progress, `EFAULT`, `ESRCH`, `EPERM`, and as [`unplace`].
pub(super) fn remove_from_physmap<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    no_progress(call)?;
    let op: RemoveFromPhysmap = call.read_arg(1)?;
    let target = permitted(call, op.domid)?;
    unplace(call.hv, &target, op.gpfn)?;
    note_stale_mappings(call, &target);
    Ok(Outcome::OK)
}
