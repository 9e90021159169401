//! Increasing, decreasing and populating a domain's memory reservation.
//!
//! These operations return how many extents were done, and that is all a caller learns of an error.

use crate::budget::Budget;
use crate::components::access::{Action, Object};
use crate::components::grant::World;
use crate::components::placing::flushed::is_flushed;
use crate::domains::domain::Domain;
use crate::domains::hypervisor::DomainHandle;
use crate::hypercalls::Call;
use crate::hypercalls::memory::list::{again, extents_done, permitted};
use crate::memory::frames::{ANYWHERE, AllocationError};
use crate::memory::populate::{Extent, mark_extent, populate_extent, remove_extent};
use crate::outcome::{Answer, Outcome};
use core::ops::Range;
use xen_abi::memory::{MemFlags, MemoryExchange, MemoryReservation};
use xen_abi::{DomId, Errno};
use xenolith_hal::{Machine, Mfn, PageOrder};

/// The largest extent that a domain may ask for.
const MAX_ORDER: u32 = 9;
/// The largest extent that the control domain may ask for.
const MAX_ORDER_OF_CONTROL_DOMAIN: u32 = 18;
/// The most extents whose progress fits beside the operation's number.
const MOST_EXTENTS: u64 = (u32::MAX >> xen_abi::memory::MEMOP_EXTENT_SHIFT) as u64;

/// How long, and how often, a step is tried for which memory is short, and some waits to be free.
const PATIENCE_NS: u64 = 5_000_000;
const MOST_TRIES: u32 = 1 << 12;

fn max_order<M: Machine>(call: &Call<'_, M>) -> u32 {
    if call.may(Action::AllocateLargeBlocks, Object::Machine).is_ok() { MAX_ORDER_OF_CONTROL_DOMAIN } else { MAX_ORDER }
}

/// The result of one extent.
pub(super) enum Step {
    Done,
    /// Something else comes first; the call is made again.
    Wait,
    /// It cannot be done.
    Stop,
}

/// Calls `step` with each extent, until one fails.
fn each_extent<M: Machine>(
    call: &Call<'_, M>,
    step: impl Fn(&DomainHandle<'_, M>, &MemoryReservation, u64) -> Step,
) -> Answer {
    let done = extents_done(call);
    let Some((target, reservation)) = prepare(call, done) else { return Ok(Outcome::Done(done)) };
    let pages = 1 << reservation.extent_order;
    each_step(call, done..reservation.nr_extents, pages, 0, |extent| step(&target, &reservation, extent))
}

/// Calls `step` for each of these steps, which are `pages` long, until one fails or the call's time is up. An extent is
/// 2 to the power of `steps_shift` steps.
fn each_step<M: Machine>(
    call: &Call<'_, M>,
    steps: Range<u64>,
    pages: u32,
    steps_shift: u32,
    step: impl Fn(u64) -> Step,
) -> Answer {
    let mut budget = Budget::start(&call.hv.machine);
    let Range { start: mut done, end } = steps;
    while done < end {
        match step(done) {
            Step::Done => done = done.wrapping_add(1),
            Step::Wait => return Ok(again(call, done)),
            Step::Stop => break,
        }
        // Afterwards, so that each call makes progress.
        if done < end && budget.is_spent_by(&call.hv.machine, pages) {
            return Ok(again(call, done));
        }
    }
    Ok(Outcome::Done(done >> steps_shift))
}

/// Returns the target and the arguments, if they are valid and the caller has permission.
fn prepare<'a, M: Machine>(call: &Call<'a, M>, done: u64) -> Option<(DomainHandle<'a, M>, MemoryReservation)> {
    let reservation: MemoryReservation = call.read_arg(1).ok()?;
    if reservation.nr_extents > MOST_EXTENTS || done >= reservation.nr_extents {
        return None;
    }
    let target = permitted(call, reservation.domid).ok()?;
    below(call, reservation.mem_flags)?;
    // There is one node.
    let elsewhere = reservation.mem_flags.node().is_some_and(|node| node != 0);
    if elsewhere && reservation.mem_flags.contains(MemFlags::EXACT_NODE_REQUEST) {
        return None;
    }
    (reservation.extent_order <= max_order(call)).then_some((target, reservation))
}

/// Returns the bound below which the frames must end; None for an address width that has no frame at all.
#[expect(clippy::arithmetic_side_effects, reason = "a width of at least one bit")]
fn below<M: Machine>(call: &Call<'_, M>, flags: MemFlags) -> Option<Mfn> {
    let limit = call.hv.frames.limit().0;
    match flags.address_bits() {
        0 => Some(ANYWHERE),
        bits @ 1..=12 if limit > 1 << (bits - 1) => None,
        bits => Some(Mfn(1u64.checked_shl(bits.saturating_sub(12)).unwrap_or(u64::MAX))),
    }
}

fn extent_of<M: Machine>(call: &Call<'_, M>, reservation: &MemoryReservation, index: u64) -> Option<Extent> {
    let gfn = call.memory().read_at(reservation.extent_start, index).ok()?;
    Some(Extent { gfn, order: PageOrder(u8::try_from(reservation.extent_order).ok()?) })
}

/// Does a step for which memory may be short: while some waits for a grace period, expedites it and tries again, for a few
/// milliseconds; by another call only while what waits becomes less. On a busy machine something always waits, and the
/// caller's vCPU would do nothing else any more.
pub(super) fn with_memory_that_waits<M: Machine>(call: &Call<'_, M>, step: &dyn Fn() -> Result<(), Errno>) -> Step {
    let (hv, started) = (call.hv, call.hv.machine.now());
    let waited = hv.frames.waiting();
    for _ in 0..MOST_TRIES {
        match step() {
            Ok(()) => return Step::Done,
            Err(Errno::ENOMEM) if hv.frames.waiting() > 0 => {}
            Err(_) => return Step::Stop,
        }
        if hv.machine.now().since_ns(started) > PATIENCE_NS {
            break;
        }
        hv.frames.expedite(&hv.machine);
        // Nothing that was looked up in a translation is held here.
        hv.frames.quiet(hv.machine.this_cpu());
        hv.frames.poll(&hv.machine, || true);
        hv.machine.open_interrupt_window();
    }
    if hv.frames.waiting() < waited { Step::Wait } else { Step::Stop }
}

/// Scrubs part of the free memory before a block larger than 2 MiB is allocated: scrubbing such a block at once would
/// keep the caller from its interrupts for too long. Returns false when nothing is left to scrub.
fn clears_first<M: Machine>(call: &Call<'_, M>, order: PageOrder) -> bool {
    order.0 > PageOrder::SIZE_2M.0 && call.hv.frames.scrub_some(&call.hv.machine)
}

/// Implements `XENMEM_increase_reservation`: gives a domain more pages. A translated domain cannot reach them, but they
/// are its own.
pub(super) fn increase<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    each_extent(call, |target, reservation, _| {
        let (order, below) = (PageOrder(reservation.extent_order as u8), below(call, reservation.mem_flags));
        let Some(below) = below else { return Step::Stop };
        if clears_first(call, order) {
            return Step::Wait;
        }
        with_memory_that_waits(call, &|| match call.hv.frames.allocate(&call.hv.machine, target.id, order, below) {
            Ok(_owned_without_a_place) => Ok(()),
            Err(AllocationError::NoMemory) => Err(Errno::ENOMEM),
            Err(_) => Err(Errno::EPERM),
        })
    })
}

/// Notes that a domain gives pages of its own back, of which its device model may have mappings: that is told before the
/// caller's guest goes on.
pub(super) fn note_stale_mappings<M: Machine>(call: &Call<'_, M>, target: &Domain<M>) {
    if let Some(model) = target.device_model.get().filter(|_| target.id == call.domain.id) {
        model.note_stale_mappings();
        call.vcpu.requests.post_answer();
    }
}

/// Implements `XENMEM_decrease_reservation`: releases pages. The pages before the first frame that is not the domain's
/// own are gone.
///
/// A large extent is done in pieces of 2 MiB, and progress counts those: what is gone of it is a hole, which a second
/// start from its beginning would stop at. No more pieces are done than progress can count, which are 128 TiB.
pub(super) fn decrease<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let done = extents_done(call);
    let Some((target, reservation)) = prepare(call, 0) else { return Ok(Outcome::Done(done)) };
    let order = reservation.extent_order.min(MAX_ORDER);
    let pieces_shift = reservation.extent_order.saturating_sub(order);
    let pieces = reservation.nr_extents.saturating_mul(1 << pieces_shift).min(MOST_EXTENTS);
    let size = PageOrder(order as u8);
    each_step(call, done..pieces, 1 << order, pieces_shift, |piece| {
        let Some(extent) = extent_of(call, &reservation, piece >> pieces_shift) else { return Step::Stop };
        let before = (piece & !(u64::MAX << pieces_shift)).saturating_mul(size.pages());
        let Some(gfn) = extent.gfn.checked_add(before) else { return Step::Stop };
        note_stale_mappings(call, &target);
        let removed = remove_extent(&call.hv.memory(&target), Extent { gfn, order: size });
        if removed.is_ok() { Step::Done } else { Step::Stop }
    })
}

/// Implements `XENMEM_populate_physmap`: populates extents with new pages, or marks those of another domain to be populated
/// on demand.
pub(super) fn populate<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    each_extent(call, |target, reservation, index| {
        let on_demand = reservation.mem_flags.contains(MemFlags::POPULATE_ON_DEMAND);
        if on_demand && target.id == call.domain.id {
            return Step::Stop;
        }
        let (Some(extent), Some(below)) = (extent_of(call, reservation, index), below(call, reservation.mem_flags))
        else {
            return Step::Stop;
        };
        if on_demand {
            return with_memory_that_waits(call, &|| mark_extent(&call.hv.memory(target), extent));
        }
        if clears_first(call, extent.order) || !is_flushed(call.hv, target) {
            return Step::Wait;
        }
        with_memory_that_waits(call, &|| populate_extent(&call.hv.memory(target), extent, below))
    })
}

/// Implements `XENMEM_exchange`, which is for domains that see machine frames.
///
/// **Errors:** `EINVAL` for progress, and for arguments that do not fit together; `EPERM` for extents that are too
/// large and for a domain that the caller may not change; `ESRCH`; `EOPNOTSUPP`; `EFAULT`.
pub(super) fn exchange<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    super::list::no_progress(call)?;
    let exchange: MemoryExchange = call.read_arg(1)?;
    let (input, output) = (exchange.input, exchange.output);
    if input.extent_order.max(output.extent_order) > max_order(call) {
        return Err(Errno::EPERM);
    }
    let pages = |reservation: MemoryReservation| {
        let fits = u64::MAX >> reservation.extent_order >= reservation.nr_extents;
        fits.then_some(reservation.nr_extents << reservation.extent_order)
    };
    let matching = pages(input).is_some() && pages(input) == pages(output);
    if exchange.nr_exchanged > input.nr_extents || input.domid != output.domid || !matching {
        return Err(Errno::EINVAL);
    }
    let _: DomId = permitted(call, input.domid)?.id;
    if exchange.nr_exchanged == input.nr_extents { Ok(Outcome::OK) } else { Err(Errno::EOPNOTSUPP) }
}
