//! Domains made and ended by control calls alone.

use core::ops::Range;

use xen_abi::domctl::*;
use xen_abi::hypercall::SCHED_OP;
use xen_abi::memory::{MemoryReservation, XENMEM_POPULATE_PHYSMAP};
use xen_abi::sched::SCHEDOP_YIELD;
use xen_abi::{DomId, GuestHandle};
use xenolith_guest_kit::calls::{call, memory};
use xenolith_guest_kit::domain::{alloc_unbound, bind_interdomain, close, consume, quiet};
use xenolith_guest_kit::pages::{self, Page, write_at};
use xenolith_guest_kit::toolstack::{Mode, RESULTS, SmallDomain, checked, domctl, is_gone, options, plain, set};
use xenolith_guest_kit::{cpu, stamps};

use crate::bench::{Bench, Meter, Row, counter};
use crate::timers::rest;

/// How often a life is lived. The row is the mean: part of a domain's end is done after the call that ends it.
const LIVES: u32 = 4;
/// Extents of 2 MiB.
pub const LARGE_ORDER: u32 = 9;
const LARGE_KIB: u64 = 2048;
/// How many extents a page names.
const LISTED: u64 = 512;

/// Sends by the port that stands at 0x5100, and halts with interrupts off.
const SEND_AND_HALT: &[u8] = &[
    0xb8, 0x20, 0x00, 0x00, 0x00, // mov eax, 32 (event_channel_op)
    0xbf, 0x04, 0x00, 0x00, 0x00, // mov edi, 4 (send)
    0xbe, 0x00, 0x51, 0x00, 0x00, // mov esi, 0x5100
    0x0f, 0x01, 0xd9, // vmmcall
    0xfa, 0xf4, // cli; hlt
];

/// Takes the rows.
pub fn run(b: &mut Bench<'_>) {
    let list = pages::take();
    b.row("life/create-destroy-empty", |meter| mean(meter, || life(list, 0)));
    // What an idle CPU has cleared beforehand is a part of these: so all is.
    for (name, extents) in [("life/create-destroy-64M", 32), ("life/create-destroy-1G", 512)] {
        b.row(name, |meter| rest(list).and_then(|()| mean(meter, || life(list, extents))));
    }
    b.row("life/unpause-to-first-event", |meter| unpause_to_event(meter, list));
}

/// Returns the mean of some lives, after one that is not counted.
fn mean(meter: Meter, life: impl Fn() -> Result<(), i64>) -> Row {
    life()?;
    let begin = counter();
    for _ in 0..meter.rounds(LIVES) {
        life()?;
    }
    Ok((meter.since(begin) / u64::from(LIVES)).cast_signed())
}

/// Returns a whole life with as many extents of 2 MiB, until nothing is to be seen of the domain; without memory it has
/// no vCPU either.
fn life(list: &'static Page, extents: u64) -> Result<(), i64> {
    let id = create()?;
    let furnished = if extents == 0 { Ok(()) } else { furnish(list, id, extents) };
    end(id)?;
    furnished
}

/// Returns an empty domain.
///
/// **Errors:** what the call gave.
pub fn create() -> Result<DomId, i64> {
    let mut op = Domctl { cmd: XEN_DOMCTL_CREATEDOMAIN, ..Domctl::default() };
    op.set_createdomain(options());
    checked(domctl(&mut op)).map(|()| op.domain)
}

/// Gives a domain a vCPU and extents of 2 MiB, from its frame 0 on. `list` holds what is asked for.
///
/// **Errors:** what the call gave.
pub fn furnish(list: &'static Page, id: DomId, extents: u64) -> Result<(), i64> {
    set(id, XEN_DOMCTL_MAX_VCPUS, |op| op.set_max_vcpus(DomctlMaxVcpus { max: 1 }))?;
    set(id, XEN_DOMCTL_MAX_MEM, |op| op.set_max_mem(DomctlMaxMem { max_memkb: extents * LARGE_KIB + 1024 }))?;
    (0..extents).step_by(LISTED as usize).try_for_each(|first| populate(list, id, first..extents.min(first + LISTED)))
}

fn populate(list: &'static Page, id: DomId, extents: Range<u64>) -> Result<(), i64> {
    let count = extents.end - extents.start;
    extents.zip(0..).for_each(|(extent, at)| list.write(at * 8, extent << LARGE_ORDER));
    let mut wanted = MemoryReservation {
        extent_start: GuestHandle::new(list.address()),
        nr_extents: count,
        extent_order: LARGE_ORDER,
        domid: id,
        ..MemoryReservation::default()
    };
    let done = memory(XENMEM_POPULATE_PHYSMAP, &mut wanted);
    if done == count.cast_signed() { Ok(()) } else { Err(done) }
}

/// Ends a domain, and waits until nothing is to be seen of it.
///
/// **Errors:** what the call gave.
pub fn end(id: DomId) -> Result<(), i64> {
    checked(plain(XEN_DOMCTL_DESTROYDOMAIN, id))?;
    while !is_gone(id) {
        call(SCHED_OP, [SCHEDOP_YIELD.into(), 0]);
    }
    Ok(())
}

/// Measures from the call that unpauses a new domain to this domain's handler of the event that its first call sends.
fn unpause_to_event(meter: Meter, list: &'static Page) -> Row {
    let mut least = i64::MAX;
    for _ in 0..meter.rounds(LIVES) {
        let small = SmallDomain::new(list)?;
        small.load(SEND_AND_HALT, Mode::Long)?;
        let (_, theirs) = alloc_unbound(small.id, DomId::DOM0);
        let (bound, ours) = bind_interdomain(small.id, theirs);
        checked(bound)?;
        write_at(small.see(RESULTS >> 12)? + 0x100, theirs);
        small.unsee(RESULTS >> 12);
        let taken = stamps::count();
        let begin = counter();
        checked(small.unpause())?;
        while stamps::count() == taken {
            cpu::sleep_until_interrupt();
        }
        least = least.min(meter.between(begin, stamps::reached()));
        consume(ours);
        close(ours);
        quiet();
        end(small.id)?;
    }
    Ok(least)
}
