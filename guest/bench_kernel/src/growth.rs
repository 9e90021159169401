//! The same operations beside ever more of others: what an operation costs must not depend on who else is there.

use core::fmt::Write;

use xen_abi::grant_table::{GNTST_OKAY, GrantMapFlags};
use xen_abi::hypercall::SCHED_OP;
use xen_abi::sched::SCHEDOP_YIELD;
use xen_abi::{DomId, Gfn, GrantHandle, Port};
use xenolith_guest_kit::calls::call;
use xenolith_guest_kit::console::Line;
use xenolith_guest_kit::domain::{address, after, alloc_unbound, close, now};
use xenolith_guest_kit::grants::{map, unmap};
use xenolith_guest_kit::pages::{self, Page, write_at};
use xenolith_guest_kit::toolstack::{Mode, RESULTS, SmallDomain};

use crate::bench::{Bench, FEW_ROUNDS, ROUNDS};
use crate::events::send_to_upcall;
use crate::grants::{Lists, map_unmap};
use crate::life::{create, end};
use crate::timers::{NEVER_REACHED, halt_to_upcall, rest, set};

/// How many others there are.
const SIZES: [u32; 4] = [1, 10, 100, 1000];
/// Where others' grants are mapped.
const OTHERS: Gfn = Gfn(0xd_0000);

/// Sets its one-shot timer by the structure at 0x5100 and sleeps for ever.
const SET_TIMER_AND_SLEEP: &[u8] = &[
    0xb8, 0x18, 0x00, 0x00, 0x00, // mov eax, 24 (vcpu_op)
    0xbf, 0x08, 0x00, 0x00, 0x00, // mov edi, 8 (set_singleshot_timer)
    0x31, 0xf6, // xor esi, esi
    0xba, 0x00, 0x51, 0x00, 0x00, // mov edx, 0x5100
    0x0f, 0x01, 0xd9, // vmmcall
    0xfb, 0xf4, // sti; hlt
    0xeb, 0xfc, // back to both
];

/// Takes the rows.
pub fn run(b: &mut Bench<'_>) {
    ports(b);
    domains(b);
}

/// A row's name with its size.
fn named(what: &str, size: u32) -> Line {
    let mut name = Line::new();
    // A name that is too long is cut, which is no error.
    let _ = write!(name, "growth/{what}-{size}");
    name
}

fn ports(b: &mut Bench<'_>) {
    if !b.wants(&["growth/send-self/ports"]) {
        return;
    }
    let (page, others) = (pages::take(), pages::take());
    let mut count = 0;
    for size in SIZES {
        while count < size {
            let (_, port) = alloc_unbound(DomId::SELF, DomId::DOM0);
            others.write(count as usize * 4, port);
            count += 1;
        }
        b.row(named("send-self/ports", size).text(), |meter| send_to_upcall(meter, page));
    }
    (0..count as usize).for_each(|index| {
        close(others.read::<Port>(index * 4));
    });
}

/// Other grants of `dom`, of which `more` are given from an entry on, are mapped meanwhile.
pub fn mapped_grants(b: &mut Bench<'_>, dom: DomId, timed: u32, (first, more): (u32, u32)) {
    if !b.wants(&["growth/map-unmap/grants"]) {
        return;
    }
    let lists = Lists::new();
    let mut count = 0;
    let mut refused = None;
    for size in SIZES {
        while count < size.min(more) && refused.is_none() {
            let at = address(after(OTHERS, count.into()));
            let (result, mapping) = map(dom, first + count, at, GrantMapFlags::HOST_MAP);
            refused = (result != 0 || mapping.status != GNTST_OKAY).then_some(i64::from(mapping.status));
            handles(count, Some(mapping.handle));
            count += 1;
        }
        b.row(named("map-unmap/grants", size).text(), |meter| match refused {
            None => map_unmap(meter, &lists, dom, timed, 1),
            Some(result) => Err(result),
        });
    }
    for index in 0..count {
        unmap(handles(index, None), address(after(OTHERS, index.into())), 0);
    }
}

/// Keeps the handle of a mapping, and gives it again.
fn handles(index: u32, kept: Option<GrantHandle>) -> GrantHandle {
    static HANDLES: Page = Page::new();
    let at = index as usize * size_of::<GrantHandle>();
    if let Some(handle) = kept {
        HANDLES.write(at, handle);
    }
    HANDLES.read(at)
}

/// Each of the other domains has a vCPU that sleeps, and a timer that is set.
fn domains(b: &mut Bench<'_>) {
    if !b.wants(&["growth/domains"]) {
        return;
    }
    let (page, list) = (pages::take(), pages::take());
    let mut count = 0;
    for size in SIZES {
        let mut refused = None;
        while count < size && refused.is_none() {
            refused = sleeper(list).err();
            count += 1;
        }
        if refused.is_some() {
            b.row(named("domains/made", size).text(), |_| Err(refused.unwrap_or(0)));
            return;
        }
        b.row(named("domains/send-self", size).text(), |meter| send_to_upcall(meter, page));
        b.call(named("domains/yield-alone", size).text(), ROUNDS, || call(SCHED_OP, [SCHEDOP_YIELD.into(), 0]));
        b.call(named("domains/set-singleshot", size).text(), ROUNDS, || set(page, now() + NEVER_REACHED));
        b.row(named("domains/halt-to-upcall", size).text(), |meter| {
            rest(page)?;
            halt_to_upcall(page, meter.rounds(FEW_ROUNDS))
        });
        b.row(named("domains/create-destroy-empty", size).text(), |meter| {
            end(create()?)?;
            let ticks = meter.least(4, || {
                let _ = create().and_then(end);
            });
            Ok(ticks.cast_signed())
        });
    }
}

fn sleeper(list: &'static Page) -> Result<(), i64> {
    let small = SmallDomain::new(list)?;
    small.load(SET_TIMER_AND_SLEEP, Mode::Long)?;
    write_at(small.see(RESULTS >> 12)? + 0x100, now() + 100 * NEVER_REACHED);
    small.unsee(RESULTS >> 12);
    match small.unpause() {
        0 => {
            // Until it sleeps there is another to be run.
            (0..4).for_each(|_| {
                call(SCHED_OP, [SCHEDOP_YIELD.into(), 0]);
            });
            Ok(())
        }
        result => Err(result),
    }
}
