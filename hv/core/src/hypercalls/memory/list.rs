//! `memory_op`: the table of operations. **Source:** `memory.h`.

use super::{acquire, place_calls, reservation, settings};
use crate::components::access::{Action, Object};
use crate::components::reference::Reference;
use crate::domains::hypervisor::DomainHandle;
use crate::hypercalls::{Call, Handler, Operation, operation, refused};
use crate::outcome::Outcome;
use xen_abi::Errno;
use xen_abi::memory::*;
use xenolith_hal::{DomId, Machine};

/// Returns the table of operations.
pub const fn operations<M: Machine>() -> &'static [Operation<Handler<M>>] {
    const {
        &[
            operation(XENMEM_INCREASE_RESERVATION, "XENMEM_increase_reservation", reservation::increase),
            operation(XENMEM_DECREASE_RESERVATION, "XENMEM_decrease_reservation", reservation::decrease),
            operation(XENMEM_MAXIMUM_RAM_PAGE, "XENMEM_maximum_ram_page", settings::maximum_ram_page),
            operation(XENMEM_CURRENT_RESERVATION, "XENMEM_current_reservation", settings::current_reservation),
            operation(XENMEM_MAXIMUM_RESERVATION, "XENMEM_maximum_reservation", settings::maximum_reservation),
            operation(XENMEM_MACHPHYS_MFN_LIST, "XENMEM_machphys_mfn_list", settings::machphys_mfn_list),
            operation(XENMEM_POPULATE_PHYSMAP, "XENMEM_populate_physmap", reservation::populate),
            operation(XENMEM_ADD_TO_PHYSMAP, "XENMEM_add_to_physmap", place_calls::add_to_physmap),
            operation(XENMEM_MEMORY_MAP, "XENMEM_memory_map", settings::memory_map),
            refused(XENMEM_MACHINE_MEMORY_MAP, "XENMEM_machine_memory_map", Errno::ENOSYS),
            operation(XENMEM_EXCHANGE, "XENMEM_exchange", reservation::exchange),
            refused(XENMEM_MACHPHYS_MAPPING, "XENMEM_machphys_mapping", Errno::ENOSYS),
            operation(XENMEM_SET_MEMORY_MAP, "XENMEM_set_memory_map", settings::set_memory_map),
            operation(XENMEM_MAXIMUM_GPFN, "XENMEM_maximum_gpfn", settings::maximum_gpfn),
            operation(XENMEM_REMOVE_FROM_PHYSMAP, "XENMEM_remove_from_physmap", place_calls::remove_from_physmap),
            operation(XENMEM_SET_POD_TARGET, "XENMEM_set_pod_target", settings::set_pod_target),
            operation(XENMEM_GET_POD_TARGET, "XENMEM_get_pod_target", settings::get_pod_target),
            operation(XENMEM_GET_SHARING_FREED_PAGES, "XENMEM_get_sharing_freed_pages", settings::nothing_shared),
            operation(XENMEM_GET_SHARING_SHARED_PAGES, "XENMEM_get_sharing_shared_pages", settings::nothing_shared),
            operation(XENMEM_ACCESS_OP, "XENMEM_access_op", settings::access_op),
            operation(XENMEM_ADD_TO_PHYSMAP_BATCH, "XENMEM_add_to_physmap_batch", place_calls::add_to_physmap_batch),
            operation(XENMEM_CLAIM_PAGES, "XENMEM_claim_pages", settings::claim_pages),
            refused(XENMEM_MACHPHYS_COMPAT_MFN_LIST, "XENMEM_machphys_compat_mfn_list", Errno::EOPNOTSUPP),
            operation(XENMEM_GET_VNUMAINFO, "XENMEM_get_vnumainfo", settings::get_vnumainfo),
            operation(
                XENMEM_RESERVED_DEVICE_MEMORY_MAP,
                "XENMEM_reserved_device_memory_map",
                settings::reserved_device_memory_map,
            ),
            operation(XENMEM_ACQUIRE_RESOURCE, "XENMEM_acquire_resource", acquire::acquire_resource),
        ]
    }
}

/// Returns the domain with this number, `DOMID_SELF` included, without a check of permission.
///
/// **Errors:** `ESRCH`.
pub(super) fn named<'a, M: Machine>(call: &Call<'a, M>, id: DomId) -> Result<DomainHandle<'a, M>, Errno> {
    if call.is_self(id) { Ok(Reference::Borrowed(call.domain)) } else { call.hv.domain(id).map(Reference::Shared) }
}

/// Returns the domain with this number, if the caller may work on it: every domain on itself, the control domain on
/// all.
///
/// **Errors:** `ESRCH`, `EPERM`.
pub(super) fn permitted<'a, M: Machine>(call: &Call<'a, M>, id: DomId) -> Result<DomainHandle<'a, M>, Errno> {
    let target = named(call, id)?;
    call.may(Action::ManageMemory, Object::Domain(target.id))?;
    Ok(target)
}

/// Returns the number of extents that earlier parts of a preempted call have done.
pub(super) fn extents_done<M: Machine>(call: &Call<'_, M>) -> u64 {
    call.arg(0) >> MEMOP_EXTENT_SHIFT
}

/// Checks that an operation that is never preempted has no progress.
///
/// **Errors:** `EINVAL` if it claims some.
pub(super) fn no_progress<M: Machine>(call: &Call<'_, M>) -> Result<(), Errno> {
    if extents_done(call) == 0 { Ok(()) } else { Err(Errno::EINVAL) }
}

/// Returns the continuation of a call, with `done` extents done.
pub(super) fn again<M: Machine>(call: &Call<'_, M>, done: u64) -> Outcome {
    let [_, rest @ ..] = call.args;
    let [b, c, d, e, f] = rest;
    let operation = u64::from(call.arg_u32(0) & MEMOP_CMD_MASK);
    Outcome::Again([operation | done << MEMOP_EXTENT_SHIFT, b, c, d, e, f])
}
