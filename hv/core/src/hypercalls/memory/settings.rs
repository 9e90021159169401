//! Memory limits and reservations, memory maps, claims and populate-on-demand targets.

use crate::components::access::{Action, Object};
use crate::components::grant::World;
use crate::domains::domain::Domain;
use crate::hypercalls::Call;
use crate::hypercalls::memory::list::{named, no_progress, permitted};
use crate::hypercalls::memory::reservation::{Step, with_memory_that_waits};
use crate::memory::frames::{Account, ClaimError};
use crate::memory::guest_memory::Layout;
use crate::outcome::{Answer, Outcome};
use alloc::vec::Vec;
use xen_abi::memory::{MemFlags, MemoryDomain, MemoryReservation, PodTarget};
use xen_abi::memory_access::MemAccessOp;
use xen_abi::memory_map::{
    ForeignMemoryMap, MemmapEntry, MemoryMap, ReservedDeviceMemoryMap, VnumaTopologyInfo, XENMEM_RDM_ALL,
};
use xen_abi::{DomId, Errno};
use xenolith_hal::Machine;

/// The most entries of a domain's memory map.
const MOST_ENTRIES: u32 = 128;

/// Implements `XENMEM_maximum_ram_page`.
///
/// **Errors:** `EINVAL` for progress.
pub(super) fn maximum_ram_page<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    no_progress(call)?;
    Ok(pages(call, call.hv.frames.limit().0))
}

/// Returns a number of pages as a result. A 32-bit caller gets at most `i32::MAX`, so that no number looks like an error.
fn pages<M: Machine>(call: &Call<'_, M>, count: u64) -> Outcome {
    let most = if call.layout == Layout::Compat { i32::MAX.unsigned_abs().into() } else { u64::MAX };
    Outcome::Done(count.min(most))
}

/// Implements `XENMEM_machphys_mfn_list`: there is no table of machine frames.
///
/// **Errors:** `ENOSYS`; `EOPNOTSUPP` for a 32-bit caller, as in real Xen.
pub(super) fn machphys_mfn_list<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    Err(if call.layout == Layout::Compat { Errno::EOPNOTSUPP } else { Errno::ENOSYS })
}

fn account<'a, M: Machine>(call: &Call<'a, M>, id: DomId) -> Result<&'a Account, Errno> {
    call.hv.frames.account(id).ok_or(Errno::ESRCH)
}

/// Implements `XENMEM_current_reservation`.
///
/// **Errors:** `EINVAL` for progress, `EFAULT`, `ESRCH`, `EPERM`.
pub(super) fn current_reservation<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    no_progress(call)?;
    let op: MemoryDomain = call.read_arg(1)?;
    Ok(pages(call, account(call, permitted(call, op.domid)?.id)?.total_with_cache().into()))
}

/// Implements `XENMEM_maximum_reservation`.
///
/// **Errors:** `EINVAL` for progress, `EFAULT`, `ESRCH`, `EPERM`.
pub(super) fn maximum_reservation<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    no_progress(call)?;
    let op: MemoryDomain = call.read_arg(1)?;
    Ok(pages(call, account(call, permitted(call, op.domid)?.id)?.max().into()))
}

/// Implements `XENMEM_maximum_gpfn`.
///
/// **Errors:** `EINVAL` for progress, `EFAULT`, `ESRCH`, `EPERM`.
pub(super) fn maximum_gpfn<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    no_progress(call)?;
    let op: MemoryDomain = call.read_arg(1)?;
    Ok(pages(call, permitted(call, op.domid)?.physmap.highest().0))
}

/// Returns 0: there is no memory sharing between domains.
pub(super) fn nothing_shared<M: Machine>(_: &mut Call<'_, M>) -> Answer {
    Ok(Outcome::OK)
}

/// Implements `XENMEM_memory_map`.
///
/// **Errors:** `EFAULT`; `ENOSYS` for a domain that has no map.
pub(super) fn memory_map<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut op: MemoryMap = call.read_arg(1)?;
    let map = call.domain.physmap.memory_map().ok_or(Errno::ENOMEM)?;
    if map.is_empty() {
        return Err(Errno::ENOSYS);
    }
    op.nr_entries = op.nr_entries.min(map.len() as u32);
    for (index, entry) in (0..u64::from(op.nr_entries)).zip(&map) {
        call.memory().write_at(op.buffer, index, entry)?;
    }
    call.write_arg(1, &op)?;
    Ok(Outcome::OK)
}

/// Implements `XENMEM_set_memory_map`.
///
/// **Errors:** `EFAULT`; `EINVAL` for more than 128 entries; `ESRCH`; `EPERM`; `ENOMEM`.
#[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
pub(super) fn set_memory_map<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let op: ForeignMemoryMap = call.read_arg(1)?;
    if op.map.nr_entries > MOST_ENTRIES {
        return Err(Errno::EINVAL);
    }
    let target = permitted(call, op.domid)?;
    let mut map: Vec<MemmapEntry> = Vec::new();
    map.try_reserve_exact(op.map.nr_entries as usize).map_err(|_| Errno::ENOMEM)?;
    for index in 0..u64::from(op.map.nr_entries) {
        map.push(call.memory().read_at(op.map.buffer, index)?);
    }
    target.physmap.set_memory_map(map);
    Ok(Outcome::OK)
}

/// Implements `XENMEM_claim_pages`.
///
/// **Errors:** `EINVAL` for progress, extents larger than a page, a list, flags, a domain that does not exist, and a
/// claim that makes no sense; `EFAULT`; `EPERM`; `ENOMEM` if not enough memory is free; `ENOSYS` for a 32-bit caller, as
/// in real Xen.
pub(super) fn claim_pages<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    if call.layout == Layout::Compat {
        return Err(Errno::ENOSYS);
    }
    no_progress(call)?;
    let op: MemoryReservation = call.read_arg(1)?;
    if !op.extent_start.is_null() || op.extent_order != 0 || op.mem_flags != MemFlags::default() {
        return Err(Errno::EINVAL);
    }
    let target = call.hv.domains.get(op.domid).ok_or(Errno::EINVAL)?;
    call.may(Action::ClaimMemory, Object::Domain(target.id))?;
    match call.hv.frames.claim(target.id, op.nr_extents) {
        Ok(()) => Ok(Outcome::OK),
        Err(ClaimError::Invalid) => Err(Errno::EINVAL),
        Err(ClaimError::NoMemory) => Err(Errno::ENOMEM),
    }
}

/// Implements `XENMEM_set_pod_target`; see [`set_target`](crate::memory::physmap::Memory::set_target).
///
/// **Errors:** `EFAULT`, `ESRCH`, `EPERM`; `EINVAL` for more than the domain may have; `ENOMEM`.
pub(super) fn set_pod_target<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let op: PodTarget = call.read_arg(1)?;
    let target = named(call, op.domid)?;
    call.may(Action::ManagePopulateOnDemand, Object::Domain(target.id))?;
    let account = account(call, target.id)?;
    let pages = u32::try_from(op.target_pages).ok().filter(|pages| *pages <= account.max()).ok_or(Errno::EINVAL)?;
    let memory = call.hv.memory(&target);
    match with_memory_that_waits(call, &|| memory.set_target(pages)) {
        Step::Done => write_pod_target(call, op, &target),
        Step::Wait => Ok(Outcome::Again(call.args)),
        Step::Stop => Err(Errno::ENOMEM),
    }
}

/// Implements `XENMEM_get_pod_target`.
///
/// **Errors:** `EFAULT`, `ESRCH`, `EPERM`.
pub(super) fn get_pod_target<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let op: PodTarget = call.read_arg(1)?;
    let target = named(call, op.domid)?;
    call.may(Action::ManagePopulateOnDemand, Object::Domain(target.id))?;
    write_pod_target(call, op, &target)
}

fn write_pod_target<M: Machine>(call: &Call<'_, M>, op: PodTarget, target: &Domain<M>) -> Answer {
    let account = account(call, target.id)?;
    let (tot_pages, pod_cache_pages) = (account.total_with_cache().into(), account.cached().into());
    let pod_entries = target.physmap.marks().into();
    call.write_arg(1, &PodTarget { tot_pages, pod_cache_pages, pod_entries, ..op })?;
    Ok(Outcome::OK)
}

/// Implements `XENMEM_get_vnumainfo`: no domain has virtual NUMA nodes.
///
/// **Errors:** `EINVAL` for progress and padding, `EFAULT`, `ESRCH`, `EPERM`, else `EOPNOTSUPP`.
pub(super) fn get_vnumainfo<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    no_progress(call)?;
    let op: VnumaTopologyInfo = call.read_arg(1)?;
    if op.pad0 != 0 {
        return Err(Errno::EINVAL);
    }
    let _: DomId = permitted(call, op.domid)?.id;
    Err(Errno::EOPNOTSUPP)
}

/// Implements `XENMEM_access_op`: memory accesses are not monitored.
///
/// **Errors:** `EFAULT`; `ESRCH`; `EPERM` for the caller itself and for a caller that is not the control domain; else
/// `ENODEV`.
pub(super) fn access_op<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let op: MemAccessOp = call.read_arg(1)?;
    if op.domid == call.domain.id {
        return Err(Errno::EPERM);
    }
    call.hv.domain(op.domid)?;
    call.may(Action::WatchMemory, Object::Domain(op.domid))?;
    Err(Errno::ENODEV)
}

/// Implements `XENMEM_reserved_device_memory_map`: no device needs reserved memory.
///
/// **Errors:** `EINVAL` for progress and unknown flags, `EFAULT`.
pub(super) fn reserved_device_memory_map<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    no_progress(call)?;
    let mut op: ReservedDeviceMemoryMap = call.read_arg(1)?;
    if op.flags & !XENMEM_RDM_ALL != 0 {
        return Err(Errno::EINVAL);
    }
    op.nr_entries = 0;
    call.write_arg(1, &op)?;
    Ok(Outcome::OK)
}
