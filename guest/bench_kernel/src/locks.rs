//! How long a lock is held at most, as seen from outside: the dearest single operation of the frame allocator and of
//! the ports, and how late a timer can be while an idle CPU clears memory. None may grow with memory or with a limit.
//!
//! A call is not preempted within, so the time of one is an upper bound of how long it holds any lock.

use xen_abi::domctl::*;
use xen_abi::memory::{MemoryReservation, XENMEM_DECREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP};
use xen_abi::virq::VIRQ_TIMER;
use xen_abi::{DomId, GuestHandle, Port};
use xenolith_guest_kit::calls::memory;
use xenolith_guest_kit::domain::{alloc_unbound, bind_interdomain, bind_virq, close, consume, now, quiet};
use xenolith_guest_kit::pages::{self, Page};
use xenolith_guest_kit::toolstack::{checked, set};
use xenolith_guest_kit::{cpu, stamps};

use crate::bench::{Bench, Meter, Row, counter};
use crate::growth::named;
use crate::life::{LARGE_ORDER, create, end, furnish};
use crate::timers::{counter_at, set as set_timer};

/// How many pages are given back and taken again, one of each 2 MiB.
const FRAMES: [u32; 3] = [160, 400, 800];
/// How many other ports are open; the last: each that the two-level interface has.
const PORTS: [u32; 3] = [1, 1000, ALL_PORTS];
const ALL_PORTS: u32 = 4095;

/// How often each operation is done. What is counted is its least time: the hypervisor's clock ticks into one or other.
const ROUNDS: usize = 8;
/// Room in MiB for the page tables that the pieces of 2 MiB pages stand in.
const POOL_MIB: u32 = 8;
/// How far ahead a timer is set, in nanoseconds, and by how much each is further than the one before, up to a bound.
const AHEAD: u64 = 40_000;
const STEP: u64 = 631;
const STEPS: u64 = 32;
/// How often memory is made dirty, and after how many dirty pages there is another sleep, so that there is as much to clear
/// during each whatever their number.
const DIRTY: u32 = 1600;
const PAGES_A_SLEEP: u32 = 32;

/// Takes the rows.
pub fn run(b: &mut Bench<'_>) {
    if b.wants(&["growth/lock/frames", "growth/lock-idle/frames"]) {
        let (list, times) = (pages::take(), pages::take_many(4, 1));
        FRAMES.iter().for_each(|size| frames(b, *size, list, times));
    }
    if b.wants(&["growth/lock/ports"]) {
        ports(b, pages::take_many(8, 1));
    }
}

/// A list of 64-bit words over several pages, 512 in each.
type Words = &'static [Page];

fn word(words: Words, index: usize) -> (&'static Page, usize) {
    (&words[index / 512], index % 512 * 8)
}

/// A domain with 2 MiB of memory for each page that it gives back.
struct Holed {
    id: DomId,
    size: u32,
    list: &'static Page,
}

impl Holed {
    fn new(list: &'static Page, size: u32) -> Result<Self, i64> {
        let holed = Self { id: create()?, size, list };
        furnish(list, holed.id, size.into())?;
        let op = XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION;
        let pool = DomctlShadowOp { op, mb: POOL_MIB, ..DomctlShadowOp::default() };
        set(holed.id, XEN_DOMCTL_SHADOW_OP, |op| op.set_shadow_op(pool))?;
        Ok(holed)
    }

    /// Gives one page back, or takes it in again.
    fn change(&self, operation: u32, index: u32) -> Result<(), i64> {
        self.list.write(0, u64::from(index) << LARGE_ORDER);
        let mut wanted = MemoryReservation {
            extent_start: GuestHandle::new(self.list.address()),
            nr_extents: 1,
            domid: self.id,
            ..MemoryReservation::default()
        };
        match memory(operation, &mut wanted) {
            1 => Ok(()),
            other => Err(other),
        }
    }

    fn change_all(&self, operation: u32) -> Result<(), i64> {
        (0..self.size).try_for_each(|index| self.change(operation, index))
    }

    /// Returns the dearest of all single changes, each at its least.
    fn dearest(&self, meter: Meter, times: Words) -> Row {
        (0..2 * self.size as usize).for_each(|index| {
            let (page, at) = word(times, index);
            page.write(at, u64::MAX);
        });
        let note = |operation: u32, index: u32, slot: usize| -> Result<(), i64> {
            let (page, at) = word(times, slot);
            let mut least = page.read::<u64>(at);
            timed(meter, &mut least, || self.change(operation, index))?;
            page.write(at, least);
            Ok(())
        };
        for _ in 0..ROUNDS {
            (0..self.size).try_for_each(|index| note(XENMEM_DECREASE_RESERVATION, index, index as usize * 2))?;
            (0..self.size).try_for_each(|index| note(XENMEM_POPULATE_PHYSMAP, index, index as usize * 2 + 1))?;
        }
        let taken = (0..2 * self.size as usize).map(|index| {
            let (page, at) = word(times, index);
            page.read::<u64>(at)
        });
        Ok(taken.max().unwrap_or(0).cast_signed())
    }

    /// Returns how late a timer was at most while there was memory to clear.
    fn latest(&self, page: &'static Page) -> Row {
        let (bound, port) = bind_virq(VIRQ_TIMER, 0);
        checked(bound)?;
        quiet();
        let mut latest = 0;
        for pass in 0..DIRTY / self.size {
            self.change_all(XENMEM_DECREASE_RESERVATION)?;
            for sleep in 0..self.size / PAGES_A_SLEEP {
                latest = latest.max(lateness(page, port, u64::from(pass + sleep) % STEPS * STEP)?);
            }
            self.change_all(XENMEM_POPULATE_PHYSMAP)?;
        }
        close(port);
        quiet();
        Ok(latest)
    }
}

/// Sleeps until a timer, and returns how much later than that the handler was reached.
fn lateness(page: &'static Page, port: Port, more: u64) -> Row {
    let (until, taken) = (now() + AHEAD + more, stamps::count());
    checked(set_timer(page, until))?;
    while stamps::count() == taken {
        cpu::sleep_until_interrupt();
    }
    let late = stamps::reached().wrapping_sub(counter_at(until)).cast_signed();
    consume(port);
    Ok(late)
}

fn frames(b: &mut Bench<'_>, size: u32, list: &'static Page, times: Words) {
    let holed = Holed::new(list, size);
    let there = || holed.as_ref().map_err(|result| *result);
    b.sampled(named("lock/frames", size).text(), |meter| there()?.dearest(meter, times));
    b.sampled(named("lock-idle/frames", size).text(), |_| there()?.latest(&times[0]));
    if let Ok(holed) = &holed {
        // What is left of it would show in the rows that follow.
        let _ = end(holed.id);
    }
}

fn ports(b: &mut Bench<'_>, others: Words) {
    let mut count = 0;
    for size in PORTS {
        while count < size as usize {
            let (refused, port) = alloc_unbound(DomId::SELF, DomId::DOM0);
            if refused != 0 {
                break;
            }
            let (page, at) = word(others, count);
            page.write(at, u64::from(port.0));
            count += 1;
        }
        b.row(named("lock/ports", size).text(), |meter| dearest_of_ports(meter, others, &mut count));
    }
    (0..count).for_each(|index| {
        let (page, at) = word(others, index);
        close(Port(page.read::<u64>(at) as u32));
    });
    quiet();
}

/// Returns the dearest of giving a port out, connecting it, and closing both ends, each at its least; and of being refused
/// one, where no port is free: then two are made free for the others first.
fn dearest_of_ports(meter: Meter, others: Words, count: &mut usize) -> Row {
    let mut dearest = 0;
    let (refused, port) = alloc_unbound(DomId::SELF, DomId::SELF);
    if refused == 0 {
        close(port);
    } else {
        dearest = meter.least(ROUNDS as u32, || {
            alloc_unbound(DomId::SELF, DomId::SELF);
        });
        for _ in 0..2 {
            *count -= 1;
            let (page, at) = word(others, *count);
            close(Port(page.read::<u64>(at) as u32));
        }
    }
    let mut least = [u64::MAX; 4];
    for _ in 0..ROUNDS {
        let allocated = timed(meter, &mut least[0], || alloc_unbound(DomId::SELF, DomId::SELF));
        let bound = timed(meter, &mut least[1], || bind_interdomain(DomId::SELF, allocated.1));
        checked(allocated.0)?;
        checked(bound.0)?;
        checked(timed(meter, &mut least[2], || close(bound.1)))?;
        checked(timed(meter, &mut least[3], || close(allocated.1)))?;
    }
    // A new connection shows as an event.
    cpu::let_interrupts_in();
    quiet();
    Ok(dearest.max(least.into_iter().max().unwrap_or(0)).cast_signed())
}

/// Runs an operation, and lowers `least` to the ticks that it took.
fn timed<T>(meter: Meter, least: &mut u64, operation: impl FnOnce() -> T) -> T {
    let begin = counter();
    let result = operation();
    *least = (*least).min(meter.since(begin));
    result
}
