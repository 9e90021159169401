//! The same operations beside ever more of others: what an operation costs must not depend on who else is there.

use core::fmt::Write;
use core::hint::black_box;

use xen_abi::grant_table::{GNTST_OKAY, GrantMapFlags};
use xen_abi::hypercall::{SCHED_OP, XEN_VERSION};
use xen_abi::sched::SCHEDOP_YIELD;
use xen_abi::version::XENVER_VERSION;
use xen_abi::{DomId, Gfn, GrantHandle, Port};
use xenolith_guest_kit::calls::call;
use xenolith_guest_kit::console::Line;
use xenolith_guest_kit::cpu;
use xenolith_guest_kit::domain::{address, after, alloc_unbound, close, now};
use xenolith_guest_kit::grants::{map, unmap};
use xenolith_guest_kit::pages::{self, Page};

use crate::bench::{Bench, FEW_ROUNDS, ROUNDS};
use crate::events::{alloc_close, send_to_upcall};
use crate::grants::{Lists, copy, map_unmap};
use crate::life::{create, end};
use crate::pairs::{Pair, foreign_map_unmap};
use crate::peer::GRANTS;
use crate::sleepers::Sleepers;
use crate::timers::{NEVER_REACHED, halt_to_upcall, rest, set};

/// How many others there are.
const SIZES: [u32; 4] = [1, 10, 100, 1000];
/// Where others' grants are mapped.
const OTHERS: Gfn = Gfn(0xd_0000);

/// Takes the rows.
pub fn run(b: &mut Bench<'_>) {
    ports(b);
    domains(b);
}

/// Returns a row's name with its size.
pub fn named(what: &str, size: u32) -> Line {
    let mut name = Line::new();
    // A name that is too long is cut, which is no error.
    let _ = write!(name, "growth/{what}-{size}");
    name
}

fn ports(b: &mut Bench<'_>) {
    if !b.wants(&["growth/send-self/ports", "growth/alloc-close/ports"]) {
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
        b.row(named("alloc-close/ports", size).text(), |meter| alloc_close(meter, page));
    }
    (0..count as usize).for_each(|index| {
        close(others.read::<Port>(index * 4));
    });
}

/// The rows of [`mapped_grants`].
pub const ROWS_OF_GRANTS: [&str; 2] = ["growth/map-unmap/grants", "growth/copy-64/grants"];

/// Other grants of `dom`, of which `more` are given from an entry on, are mapped meanwhile.
pub fn mapped_grants(b: &mut Bench<'_>, dom: DomId, timed: u32, (first, more): (u32, u32)) {
    if !b.wants(&ROWS_OF_GRANTS) {
        return;
    }
    let (lists, list, to) = (Lists::new(), pages::take(), pages::take());
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
        b.row(named("copy-64/grants", size).text(), |meter| match refused {
            None => copy(meter, list, (dom, timed), |_| to.gfn(), (1, 64)),
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

/// Each of the other domains has a vCPU that sleeps; then, of all of them, ever more have a timer that is set.
fn domains(b: &mut Bench<'_>) {
    if !b.wants(&["growth/domains", "growth/timers"]) {
        return;
    }
    let (page, list) = (pages::take(), pages::take());
    let others = Others { page, list, lists: Lists::new(), to: pages::take(), pair: Pair::new(pages::take(), None) };
    let mut sleepers = Sleepers::new(list, pages::take_many(1, 1));
    for size in SIZES {
        // What making them has left to be freed is no part of the rows.
        match sleepers.make_until(size).and_then(|()| rest(page)) {
            Ok(()) => others.beside_domains(b, size),
            Err(result) => return b.row(named("domains/made", size).text(), |_| Err(result)),
        }
    }
    if !b.wants(&["growth/timers"]) {
        return;
    }
    for size in SIZES {
        match sleepers.set_timers_until(size) {
            Ok(()) => others.beside_timers(b, size),
            Err(result) => return b.row(named("timers/set", size).text(), |_| Err(result)),
        }
    }
}

/// What the rows of domains and timers need.
struct Others {
    page: &'static Page,
    list: &'static Page,
    lists: Lists,
    to: &'static Page,
    pair: Result<Pair, i64>,
}

impl Others {
    fn beside_domains(&self, b: &mut Bench<'_>, size: u32) {
        let page = self.page;
        b.row(named("domains/send-self", size).text(), |meter| send_to_upcall(meter, page));
        b.call(named("domains/yield-alone", size).text(), ROUNDS, || call(SCHED_OP, [SCHEDOP_YIELD.into(), 0]));
        b.row(named("domains/create-destroy-empty", size).text(), |meter| {
            end(create()?)?;
            let ticks = meter.least(FEW_ROUNDS, || {
                let _ = create().and_then(end);
            });
            Ok(ticks.cast_signed())
        });
        b.call(named("domains/version", size).text(), ROUNDS, || call(XEN_VERSION, [XENVER_VERSION.into(), 0]));
        b.repeated(named("domains/cpuid", size).text(), ROUNDS, || {
            black_box(cpu::cpuid(0, 0));
        });
        self.beside_domains_with_a_peer(b, size);
    }

    fn beside_domains_with_a_peer(&self, b: &mut Bench<'_>, size: u32) {
        let first = GRANTS.0;
        let dom = || self.pair.as_ref().map(Pair::peer).map_err(|result| *result);
        b.row(named("domains/yield-to-yield", size).text(), |meter| {
            self.pair.as_ref().map_err(|result| *result)?.yields(meter)
        });
        b.row(named("domains/map-unmap-1", size).text(), |meter| map_unmap(meter, &self.lists, dom()?, first, 1));
        b.row(named("domains/copy-64", size).text(), |meter| {
            copy(meter, self.list, (dom()?, first), |_| self.to.gfn(), (1, 64))
        });
        b.row(named("domains/foreign-map-unmap", size).text(), |meter| foreign_map_unmap(meter, self.list, dom()?));
    }

    fn beside_timers(&self, b: &mut Bench<'_>, size: u32) {
        let page = self.page;
        b.call(named("timers/set-singleshot", size).text(), ROUNDS, || set(page, now() + NEVER_REACHED));
        b.row(named("timers/halt-to-upcall", size).text(), |meter| {
            rest(page)?;
            halt_to_upcall(page, meter.rounds(FEW_ROUNDS))
        });
    }
}
