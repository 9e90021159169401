//! `grant_table_op`: from a guest's lists to the operations. **Source:** `grant_table.h`.

use crate::budget::Budget;
use crate::components::access::{Action, Object};
use crate::components::grant::{
    End, Failure, MapRequest, Named, Part, Shape, Unmapping, World, begin_unmap, copy, finish_unmap, map, set_version,
    status_of, swap,
};
use crate::components::placing::flushed::is_flushed;
use crate::components::reference::Reference;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::DomainHandle;
use crate::hypercalls::{Call, Handler, Operation, operation, refused};
use crate::memory::guest_memory::GuestView;
use crate::outcome::{Answer, Outcome};
use arrayvec::ArrayVec;
use core::mem::offset_of;
use xen_abi::compat::Wire;
use xen_abi::grant_table::*;
use xen_abi::{Errno, GuestHandle};
use xenolith_hal::{DomId, Gfn, Gpa, GrantHandle, Machine, Mpa};

/// Elements between two checks of the clock, and mappings that are unmapped together.
const BATCH: usize = 32;

/// Returns the table of operations. The refused ones are not for translated guests.
pub const fn operations<M: Machine>() -> &'static [Operation<Handler<M>>] {
    const {
        &[
            operation(GNTTABOP_MAP_GRANT_REF, "GNTTABOP_map_grant_ref", map_grant_ref),
            operation(GNTTABOP_UNMAP_GRANT_REF, "GNTTABOP_unmap_grant_ref", unmap_grant_ref),
            operation(GNTTABOP_SETUP_TABLE, "GNTTABOP_setup_table", setup_table),
            refused(GNTTABOP_DUMP_TABLE, "GNTTABOP_dump_table", Errno::ENOSYS),
            refused(GNTTABOP_TRANSFER, "GNTTABOP_transfer", Errno::ENOSYS),
            operation(GNTTABOP_COPY, "GNTTABOP_copy", copy_list),
            operation(GNTTABOP_QUERY_SIZE, "GNTTABOP_query_size", query_size),
            refused(GNTTABOP_UNMAP_AND_REPLACE, "GNTTABOP_unmap_and_replace", Errno::ENOSYS),
            operation(GNTTABOP_SET_VERSION, "GNTTABOP_set_version", change_version),
            refused(GNTTABOP_GET_STATUS_FRAMES, "GNTTABOP_get_status_frames", Errno::ENOSYS),
            operation(GNTTABOP_GET_VERSION, "GNTTABOP_get_version", get_version),
            operation(GNTTABOP_SWAP_GRANT_REF, "GNTTABOP_swap_grant_ref", swap_grant_ref),
            refused(GNTTABOP_CACHE_FLUSH, "GNTTABOP_cache_flush", Errno::ENOSYS),
        ]
    }
}

/// The list of a call.
struct List<T> {
    at: GuestHandle<T>,
    count: u32,
    budget: Budget,
}

impl<T: Wire> List<T> {
    /// Returns the list of a call.
    ///
    /// **Errors:** `EINVAL` for a length that is negative.
    fn of<M: Machine>(call: &Call<'_, M>) -> Result<Self, Errno> {
        let count = call.arg_u32(2);
        if count.cast_signed() < 0 {
            return Err(Errno::EINVAL);
        }
        Ok(Self { at: call.handle(1), count, budget: Budget::start(&call.hv.machine) })
    }

    /// Returns the list of a call that takes one element.
    ///
    /// **Errors:** `EINVAL` unless the list has one element.
    fn only<M: Machine>(call: &Call<'_, M>) -> Result<Self, Errno> {
        Self::of(call).and_then(|list| if list.count == 1 { Ok(list) } else { Err(Errno::EINVAL) })
    }

    /// Returns the continuation from the element `done` on, if the time budget is spent.
    fn preempted<M: Machine>(&self, call: &Call<'_, M>, done: u32) -> Option<Outcome> {
        let look = done != 0 && (done as usize).is_multiple_of(BATCH);
        (look && self.budget.is_over(&call.hv.machine)).then(|| self.again(call, done))
    }

    fn again<M: Machine>(&self, call: &Call<'_, M>, done: u32) -> Outcome {
        let [operation, _, _, rest @ ..] = call.args;
        let [d, e, f] = rest;
        // The address does not wrap: the elements before it were read there.
        let at = call.memory().element(self.at, u64::from(done)).unwrap_or(self.at);
        Outcome::Again([operation, at.address, u64::from(self.count.wrapping_sub(done)), d, e, f])
    }
}

/// Calls `step` with each element of a list, and writes the element back. Before each one `ready` is called, and the
/// call is made again if it returns false.
fn each<M: Machine, T: Wire>(call: &Call<'_, M>, ready: impl Fn() -> bool, step: impl Fn(&mut T)) -> Answer {
    let list = List::<T>::of(call)?;
    for index in 0..list.count {
        if let Some(again) = list.preempted(call, index) {
            return Ok(again);
        }
        if !ready() {
            return Ok(list.again(call, index));
        }
        let mut element = call.memory().read_at(list.at, u64::from(index))?;
        step(&mut element);
        call.memory().write_at(list.at, u64::from(index), &element)?;
    }
    Ok(Outcome::OK)
}

/// Does the same as [`each`], but writes back only the status at this offset.
fn each_status<M: Machine, T: Wire>(call: &Call<'_, M>, offset: usize, step: impl Fn(&T) -> GrantStatus) -> Answer {
    let list = List::<T>::of(call)?;
    for index in 0..list.count {
        if let Some(again) = list.preempted(call, index) {
            return Ok(again);
        }
        let memory = call.memory();
        let element = memory.read_at(list.at, u64::from(index))?;
        write_status(&memory, &list, index, offset, step(&element))?;
    }
    Ok(Outcome::OK)
}

fn write_status<M: Machine, T: Wire>(
    memory: &GuestView<'_, M>,
    list: &List<T>,
    index: u32,
    offset: usize,
    status: GrantStatus,
) -> Result<(), Errno> {
    let element = memory.element(list.at, u64::from(index))?;
    memory.write(memory.member(element, offset)?, &status)
}

fn map_grant_ref<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let ready = || is_flushed(call.hv, call.domain);
    each(call, ready, |op: &mut GnttabMapGrantRef| {
        let request = MapRequest { at: Gpa(op.host_addr), flags: op.flags, reference: op.gref, granter: op.dom };
        let mapped = map(call.hv, call.domain, request);
        op.status = status_of(&mapped);
        if let Ok((handle, mfn)) = mapped {
            op.handle = handle;
            op.dev_bus_addr = Mpa::from_mfn(mfn).0;
        }
    })
}

/// Implements `GNTTABOP_unmap_grant_ref`, in batches: the pages of a batch are unmapped together, and its mappings end
/// when no other CPU can reach them any more. A CPU that can is kicked once, and the call is made again until none can.
fn unmap_grant_ref<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    const STATUS: usize = offset_of!(GnttabUnmapGrantRef, status);
    let list = List::<GnttabUnmapGrantRef>::of(call)?;
    let mut done = 0;
    while done < list.count {
        if let Some(again) = list.preempted(call, done) {
            return Ok(again);
        }
        let mut leaving = ArrayVec::<(u32, GrantHandle), BATCH>::new();
        let (mut last, mut hurry) = (None, false);
        let end = list.count.min(done.saturating_add(BATCH as u32));
        for index in done..end {
            let op = call.memory().read_at(list.at, u64::from(index))?;
            let twice = leaving.iter().any(|(_, handle)| *handle == op.handle);
            let begun = if twice {
                Err(Failure::BadHandle)
            } else {
                begin_unmap(call.hv, call.domain, op.handle, Gpa(op.host_addr))
            };
            match begun {
                Ok(Unmapping::Leaves { until, fresh }) => {
                    let _ = leaving.try_push((index, op.handle));
                    last = last.max(Some(until));
                    hurry |= fresh;
                }
                other => write_status(&call.memory(), &list, index, STATUS, status_of(&other))?,
            }
        }
        if let Some(until) = last
            && World::in_reach(call.hv, call.domain, until, hurry)
        {
            return Ok(list.again(call, done));
        }
        // The granter is told only when the caller's devices do not reach the pages either.
        let out_of_reach = leaving.is_empty() || call.domain.devices.get().is_none() || call.hv.machine.flush_devices();
        for (index, handle) in leaving {
            if out_of_reach {
                finish_unmap(call.hv, call.domain, handle);
            }
            write_status(
                &call.memory(),
                &list,
                index,
                STATUS,
                if out_of_reach { GNTST_OKAY } else { GNTST_GENERAL_ERROR },
            )?;
        }
        done = end;
    }
    Ok(Outcome::OK)
}

fn copy_list<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let end = |ptr: &GnttabCopyPtr, by_grant: bool| End {
        named: if by_grant { Named::Grant(ptr.gref()) } else { Named::Frame(ptr.gfn()) },
        domain: ptr.domid,
        offset: ptr.offset,
    };
    each_status(call, offset_of!(GnttabCopy, status), |op: &GnttabCopy| {
        let from = end(&op.source, op.flags.contains(GrantCopyFlags::SOURCE_GREF));
        let to = end(&op.dest, op.flags.contains(GrantCopyFlags::DEST_GREF));
        status_of(&copy(call.hv, call.domain, from, to, op.len))
    })
}

fn swap_grant_ref<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    each_status(call, offset_of!(GnttabSwapGrantRef, status), |op: &GnttabSwapGrantRef| {
        status_of(&swap(call.hv, call.domain, op.ref_a, op.ref_b))
    })
}

/// Returns the domain that is asked about: every domain may ask about itself, the control domain about all.
fn asked<'a, M: Machine>(call: &Call<'a, M>, id: DomId) -> Result<DomainHandle<'a, M>, Failure> {
    if call.is_self(id) {
        return Ok(Reference::Borrowed(call.domain));
    }
    let domain = call.hv.domains.get(id).ok_or(Failure::BadDomain)?;
    call.may(Action::ManageGrantTable, Object::Domain(domain.id)).map_err(|_| Failure::Denied)?;
    Ok(Reference::Shared(domain))
}

/// Implements `GNTTABOP_setup_table`.
///
/// **Errors:** `EINVAL` unless there is one element; `EFAULT`.
fn setup_table<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let list = List::<GnttabSetupTable>::only(call)?;
    let op = call.memory().read(list.at)?;
    let outcome = asked(call, op.dom).and_then(|domain| {
        domain.grants.grow(op.nr_frames, &call.hv.grant_source(domain.id)).map_err(|_| Failure::General)?;
        write_frames(call, &domain, Part::Entries, op.nr_frames, op.frame_list)
    });
    write_status(&call.memory(), &list, 0, offset_of!(GnttabSetupTable, status), status_of(&outcome))?;
    Ok(Outcome::OK)
}

/// Writes the guest frames at which the domain sees its table: all ones for a frame that it has not mapped.
fn write_frames<M: Machine>(
    call: &Call<'_, M>,
    domain: &Domain<M>,
    part: Part,
    count: u32,
    list: GuestHandle<Gfn>,
) -> Result<(), Failure> {
    let memory = World::memory(call.hv, domain);
    let mut outcome = Ok(());
    for index in 0..count {
        let place = domain.grants.with_shape(|shape| shape.part(part).get(index as usize)?.mapped_at(&memory));
        let gfn = place.unwrap_or(Gfn::INVALID);
        if call.memory().write_at(list, u64::from(index), &gfn).is_err() {
            outcome = Err(Failure::BadAddress);
        }
    }
    outcome
}

/// Implements `GNTTABOP_query_size`.
///
/// **Errors:** `EINVAL` unless there is one element; `EFAULT`.
fn query_size<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let list = List::<GnttabQuerySize>::only(call)?;
    let mut op = call.memory().read(list.at)?;
    let found = asked(call, op.dom);
    op.status = status_of(&found);
    if let Ok(asked) = found {
        let grants = &asked.grants;
        op.nr_frames = grants.with_shape(Shape::frame_count);
        op.max_nr_frames = grants.limits().frames;
    }
    call.memory().write(list.at, &op)?;
    Ok(Outcome::OK)
}

/// Implements `GNTTABOP_set_version`. The version in use is written back whether it was changed or not.
///
/// **Errors:** as [`set_version`], `EFAULT`.
fn change_version<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let list = List::<GnttabSetVersion>::of(call)?;
    let op = call.memory().read(list.at)?;
    let outcome = set_version(call.hv, call.domain, op.version);
    let version = call.domain.grants.with_shape(Shape::version).number();
    call.memory().write(list.at, &GnttabSetVersion { version })?;
    outcome.map(|()| Outcome::OK)
}

/// Implements `GNTTABOP_get_version`.
///
/// **Errors:** `ESRCH` for a domain that does not exist, `EPERM` for one that the caller may not ask about, `EFAULT`.
fn get_version<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let list = List::<GnttabGetVersion>::of(call)?;
    let mut op = call.memory().read(list.at)?;
    let asked = asked(call, op.dom).map_err(|failure| match failure {
        Failure::BadDomain => Errno::ESRCH,
        _ => Errno::EPERM,
    })?;
    op.version = asked.grants.with_shape(Shape::version).number();
    call.memory().write(list.at, &op)?;
    Ok(Outcome::OK)
}
