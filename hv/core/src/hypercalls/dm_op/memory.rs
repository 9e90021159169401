//! The guest's memory as a device model changes it.

use super::{Done, Request, require};
use crate::budget::Budget;
use crate::components::control::DirtyLog;
use crate::components::grant::World;
use crate::components::placing::flushed::is_flushed;
use crate::components::placing::place::{Item, place};
use crate::memory::physmap::{WATCHED, is_watched};
use xen_abi::dm_op::*;
use xen_abi::hvm_op::{HVMMEM_IOREQ_SERVER, HVMMEM_MMIO_DM, HVMMEM_RAM_RO, HVMMEM_RAM_RW};
use xen_abi::physmap::XENMAPSPACE_GMFN;
use xen_abi::{DomId, Errno, GuestHandle};
use xenolith_hal::{Gfn, Machine, NestedSpace, Rights};

/// Pages between two looks at the clock.
const NOTED_AT_ONCE: u64 = 64;
const EXTENT_BYTES: u64 = size_of::<DmOpModifiedMemoryExtent>() as u64;
/// One past the highest frame that a guest can have. **Source:** AMD manual volume 2, 5.1 (52 bits of address).
const FRAMES: u64 = 1 << 40;

/// Implements `XEN_DMOP_modified_memory`: pages that the device model wrote count as written. The last extent comes first.
///
/// **Errors:** while dirty logging is on: `EINVAL` for a second buffer that is too short, padding, an extent that is empty
/// or leads past the guest's memory; `EFAULT`.
pub(super) fn modified_memory<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    request.model()?;
    if !matches!(request.domain.control.state().dirty_log, DirtyLog::On { .. }) {
        return Ok(Done::Quietly);
    }
    let mut header = request.op.modified_memory();
    let size = request.extra.map_or(0, |buffer| buffer.size);
    require(u64::from(header.nr_extents).saturating_mul(EXTENT_BYTES) <= size)?;
    let list = GuestHandle::<DmOpModifiedMemoryExtent>::new(request.extra.map_or(0, |buffer| buffer.address.address));
    let end = request.domain.physmap.highest().0;
    let mut budget = Budget::start(&request.call.hv.machine);
    while let Some(last) = header.nr_extents.checked_sub(1) {
        if budget.is_spent(&request.call.hv.machine) {
            request.op.set_modified_memory(header);
            return Ok(Done::Again);
        }
        let extent = request.call.memory().read_at(list, last.into())?;
        require(extent.pad == 0)?;
        let past = extent.first_pfn.0.checked_add(extent.nr.into()).ok_or(Errno::EINVAL)?;
        require(past > extent.first_pfn.0 && past <= end && header.opaque < extent.nr)?;
        let first = extent.first_pfn.0.wrapping_add(header.opaque.into());
        let until = past.min(first.saturating_add(NOTED_AT_ONCE));
        (first..until).for_each(|frame| request.domain.space.note_written(Gfn(frame)));
        header = match until < past {
            true => DmOpModifiedMemory { opaque: header.opaque.wrapping_add(NOTED_AT_ONCE as u32), ..header },
            false => DmOpModifiedMemory { nr_extents: last, opaque: 0 },
        };
    }
    Ok(Done::Quietly)
}

/// Implements `XEN_DMOP_set_mem_type`.
///
/// **Errors:** `EINVAL` for padding, pages past the guest's memory, a type that does not exist, memory whose writes a server
/// is to get while none does, and for pages that are not the guest's own memory; `ENOMEM`. The pages before are changed.
pub(super) fn set_mem_type<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let mut wanted = request.op.mem_type();
    require(wanted.pad == 0)?;
    request.model()?;
    let (hv, domain) = (request.call.hv, &*request.domain);
    let last = wanted.first_pfn.0.wrapping_add(wanted.nr.into()).wrapping_sub(1);
    require(wanted.first_pfn.0 <= last && last <= domain.physmap.highest().0)?;
    let rights = match wanted.mem_type {
        HVMMEM_RAM_RW => Rights::ALL,
        HVMMEM_RAM_RO => Rights::READ | Rights::EXECUTE,
        HVMMEM_MMIO_DM => Rights::empty(),
        HVMMEM_IOREQ_SERVER if request.model()?.watcher().is_some() => WATCHED,
        _ => return Err(Errno::EINVAL),
    };
    let mut budget = Budget::start(&hv.machine);
    while wanted.nr > 0 {
        if budget.is_spent(&hv.machine) {
            request.op.set_mem_type(wanted);
            return Ok(Done::Again);
        }
        let memory = hv.memory(domain);
        let _ = memory.find(wanted.first_pfn);
        memory.edit(|editor| editor.set_rights(wanted.first_pfn, rights))?;
        wanted.first_pfn = Gfn(wanted.first_pfn.0.wrapping_add(1));
        wanted.nr = wanted.nr.wrapping_sub(1);
    }
    Ok(Done::WrittenBack)
}

/// Implements `XEN_DMOP_map_mem_type_to_ioreq_server`: from now on a server gets what the guest writes to memory of the
/// type `HVMMEM_ioreq_server`; or, without flags, no longer: then all such memory becomes plain.
///
/// **Errors:** `EINVAL` for another type and unknown flags; `ENOENT`; `EPERM`; `EBUSY` if a server gets them already;
/// `EINVAL` to end what is not.
pub(super) fn map_mem_type<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let mut wanted = request.op.map_mem_type();
    if wanted.opaque == 0 {
        require(wanted.kind == HVMMEM_IOREQ_SERVER)?;
        require(wanted.flags & !XEN_DMOP_IOREQ_MEM_ACCESS_WRITE == 0)?;
        request.model()?.watch(wanted.id, request.emulator(), wanted.flags != 0)?;
    }
    if wanted.flags != 0 {
        return Ok(Done::Quietly);
    }
    let (hv, domain) = (request.call.hv, &*request.domain);
    let memory = hv.memory(domain);
    let mut budget = Budget::start(&hv.machine);
    while wanted.opaque <= domain.physmap.highest().0 {
        if budget.is_spent(&hv.machine) {
            request.op.set_map_mem_type(wanted);
            return Ok(Done::Again);
        }
        let gfn = Gfn(wanted.opaque);
        let there = domain.space.lookup(gfn);
        if there.is_some_and(is_watched) {
            memory.edit(|editor| editor.unwatch(gfn))?;
        }
        // A guest may have its highest page far beyond the others: a hole is passed in one step.
        let order = there.map_or_else(|| memory.edit(|_| domain.space.mark_at(gfn).1), |there| there.order);
        let pages = order.pages();
        wanted.opaque = (wanted.opaque | pages.wrapping_sub(1)).wrapping_add(1);
    }
    Ok(Done::Quietly)
}

/// Implements `XEN_DMOP_relocate_memory`: moves pages of the guest's to other frames.
///
/// **Errors:** `EINVAL` for padding; `EOVERFLOW` for frames past the last; and as [`place`] for one page of the guest's own;
/// the pages before it are moved.
pub(super) fn relocate_memory<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let mut wanted = request.op.relocate_memory();
    require(wanted.pad == 0)?;
    request.model()?;
    let (hv, domain, caller) = (request.call.hv, &*request.domain, request.call.domain);
    let fits = |first: Gfn| first.0.checked_add(wanted.size.into()).is_some();
    if !fits(wanted.src_gfn) || !fits(wanted.dst_gfn) {
        return Err(Errno::EOVERFLOW);
    }
    let mut budget = Budget::start(&hv.machine);
    let mut first = true;
    while wanted.size > 0 {
        if budget.is_spent(&hv.machine) || (first && !is_flushed(hv, domain)) {
            request.op.set_relocate_memory(wanted);
            return Ok(Done::Again);
        }
        first = false;
        let item = Item { space: XENMAPSPACE_GMFN, index: wanted.src_gfn.0, foreign: DomId::INVALID };
        place(hv, caller, domain, item, wanted.dst_gfn)?;
        wanted.src_gfn = Gfn(wanted.src_gfn.0.wrapping_add(1));
        wanted.dst_gfn = Gfn(wanted.dst_gfn.0.wrapping_add(1));
        wanted.size = wanted.size.wrapping_sub(1);
    }
    request.op.set_relocate_memory(wanted);
    Ok(Done::WrittenBack)
}

/// Implements `XEN_DMOP_pin_memory_cacheattr`. It has no effect: with nested paging memory of a guest's is cached as the
/// guest says, and no device that does not snoop reaches it.
///
/// **Errors:** `EINVAL` for padding, a range that ends before it begins or leads past 52 bits, and an unknown type; `ENOENT`
/// to take back what was not set: nothing ever is.
pub(super) fn pin_memory_cacheattr<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let wanted = request.op.pin_memory_cacheattr();
    require(wanted.pad == 0)?;
    request.model()?;
    require(wanted.start <= wanted.end && wanted.end.0 < FRAMES)?;
    match wanted.kind {
        XEN_DMOP_DELETE_MEM_CACHEATTR => Err(Errno::ENOENT),
        XEN_DMOP_MEM_CACHEATTR_UC
        | XEN_DMOP_MEM_CACHEATTR_UCM
        | XEN_DMOP_MEM_CACHEATTR_WB
        | XEN_DMOP_MEM_CACHEATTR_WC
        | XEN_DMOP_MEM_CACHEATTR_WP
        | XEN_DMOP_MEM_CACHEATTR_WT => Ok(Done::Quietly),
        _ => Err(Errno::EINVAL),
    }
}
