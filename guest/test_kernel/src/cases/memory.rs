//! Memory operations: reservations, maps, and which page lies where.

use xen_abi::compat::Ulong;
use xen_abi::hypercall::MEMORY_OP;
use xen_abi::memory::*;
use xen_abi::memory_map::*;
use xen_abi::physmap::*;
use xen_abi::{DomId, Gfn, GuestHandle};
use xenolith_guest_kit::pages::{self, Page, read_at};

use crate::calls::{self, call, memory};
use crate::domain::*;
use crate::runner::{Report, Runner};

const DOMAINS: &[(&str, DomId)] = &[
    ("self", DomId::SELF),
    ("dom0", DomId::DOM0),
    ("nobody", DomId(77)),
    ("io", DomId::IO),
    ("xen", DomId::XEN),
    ("invalid", DomId::INVALID),
    ("0xffff", DomId(0xffff)),
];

/// Runs the cases.
pub fn run(t: &mut Runner) {
    numbers(t);
    maps(t);
    place(t);
    batch(t);
    remove(t);
    shrink(t);
    grow(t);
    exchange(t);
    resources(t);
    rare(t);
}

fn numbers(t: &mut Runner) {
    t.case("memory/maximum-ram-page", |r| {
        r.hex(call(MEMORY_OP, [XENMEM_MAXIMUM_RAM_PAGE.into(), 0]) as u64);
    });
    for (who, domid) in DOMAINS.iter().copied() {
        t.case_of(format_args!("memory/current-reservation/of-{who}"), |r| {
            let pages = memory(XENMEM_CURRENT_RESERVATION, &mut MemoryDomain { domid });
            if pages < 0 {
                r.result(pages)
            } else {
                r.named("about-mib", (pages + 128) / 256)
            };
        });
        t.case_of(format_args!("memory/maximum-reservation/of-{who}"), |r| {
            let pages = memory(XENMEM_MAXIMUM_RESERVATION, &mut MemoryDomain { domid });
            if pages < 0 {
                r.result(pages)
            } else {
                let now = memory(XENMEM_CURRENT_RESERVATION, &mut MemoryDomain { domid });
                r.holds("at-least-current", pages >= now)
            };
        });
        t.case_of(format_args!("memory/maximum-gpfn/of-{who}"), |r| {
            let gfn = memory(XENMEM_MAXIMUM_GPFN, &mut MemoryDomain { domid });
            if gfn < 0 {
                r.result(gfn)
            } else {
                r.holds("covers-what-was-placed", gfn as u64 >= SHARED_INFO.0)
            };
        });
    }
}

fn get_map(number: u32, page: &Page, nr_entries: u32) -> (i64, u32) {
    page.fill(0xa5);
    let mut a = MemoryMap { nr_entries, pad: [0; 4], buffer: GuestHandle::new(page.address()) };
    (memory(number, &mut a), a.nr_entries)
}

/// Returns an entry's start, length and kind.
fn entry(page: &Page, index: usize) -> (u64, u64, u32) {
    let at = page.address() + (index * E820_ENTRY_SIZE) as u64;
    // Entries are 20 bytes long, so their 64-bit halves are read in two parts.
    let word = |offset: u64| u64::from(read_at::<u32>(at + offset));
    (word(0) | word(4) << 32, word(8) | word(12) << 32, word(16) as u32)
}

const ENOUGH_ROOM: u32 = 128;

fn maps(t: &mut Runner) {
    let page = pages::take();
    for (name, number) in [("own", XENMEM_MEMORY_MAP), ("machine", XENMEM_MACHINE_MEMORY_MAP)] {
        for room in [0, 1, 128, 129, u32::MAX] {
            t.case_of(format_args!("memory/{name}-map/room-for-{room:#x}"), |r| {
                let (_, all) = get_map(number, page, ENOUGH_ROOM);
                let (result, entries) = get_map(number, page, room);
                r.result(result);
                // How many there are depends on how the domain's RAM is laid out.
                if result == 0 {
                    r.holds("as-many-as-fit", entries == room.min(all))
                } else {
                    r.named("entries", entries)
                };
            });
        }
    }
    own_map(t, page);
    t.case("memory/own-map/null-buffer", |r| {
        let mut a = MemoryMap { nr_entries: ENOUGH_ROOM, pad: [0; 4], buffer: GuestHandle::new(0) };
        r.result(memory(XENMEM_MEMORY_MAP, &mut a)).holds("entries", a.nr_entries != ENOUGH_ROOM);
    });
    t.case("memory/own-map/unmapped-buffer", |r| {
        let mut a = MemoryMap { nr_entries: ENOUGH_ROOM, pad: [0; 4], buffer: GuestHandle::new(pages::unmap(10)) };
        r.result(memory(XENMEM_MEMORY_MAP, &mut a)).named("entries", a.nr_entries);
    });
}

/// What stands in the domain's own map. Where its RAM above the first megabyte lies is each hypervisor's own affair.
fn own_map(t: &mut Runner, page: &Page) {
    let count = || get_map(XENMEM_MEMORY_MAP, page, ENOUGH_ROOM).1 as usize;
    for index in 0..3 {
        t.case_of(format_args!("memory/own-map/entry-{index}"), |r| {
            let (start, length, kind) = entry(page, index.min(count()));
            r.hex(start).hex(length).named("type", kind);
        });
    }
    for place in 0..8 {
        t.case_of(format_args!("memory/own-map/reserved-{place}"), |r| {
            let mut found = (0..count()).map(|index| entry(page, index)).filter(|(.., kind)| *kind == E820_RESERVED);
            match found.nth(place) {
                Some((start, length, _)) => r.hex(start).hex(length),
                None => r.field("none"),
            };
        });
    }
    t.case("memory/own-map/as-a-whole", |r| {
        let count = count();
        let sorted = (1..count).all(|index| {
            let ((before, length, _), (start, ..)) = (entry(page, index - 1), entry(page, index));
            before + length <= start
        });
        r.holds("sorted", sorted).holds("none-empty", (0..count).all(|index| entry(page, index).1 != 0));
        let ram = (0..count).map(|index| entry(page, index)).filter(|(.., kind)| *kind == E820_RAM);
        r.named("about-mib-of-ram", (ram.map(|(_, length, _)| length).sum::<u64>() + (1 << 19)) >> 20);
        let second = (0..count).map(|index| entry(page, index)).find(|(start, ..)| *start >= 1 << 20);
        r.hex(second.map_or(0, |(start, ..)| start)).named("type", second.map_or(0, |(.., kind)| kind));
    });
}

fn add(space: u32, idx: u64, gpfn: Gfn) -> i64 {
    let mut a = AddToPhysmap { domid: DomId::SELF, size: 0, space, idx, gpfn };
    memory(XENMEM_ADD_TO_PHYSMAP, &mut a)
}

fn place(t: &mut Runner) {
    for (who, domid) in DOMAINS.iter().skip(2).copied() {
        t.case_of(format_args!("memory/add-to-physmap/of-{who}"), |r| {
            let mut a = AddToPhysmap { domid, size: 0, space: XENMAPSPACE_SHARED_INFO, idx: 0, gpfn: after(SPARE, 1) };
            r.result(memory(XENMEM_ADD_TO_PHYSMAP, &mut a));
        });
    }
    for (name, space, idx, gpfn) in [
        ("shared-info-index-1", XENMAPSPACE_SHARED_INFO, 1, after(SPARE, 1)),
        ("gmfn-nowhere", XENMAPSPACE_GMFN, SPARE.0, after(SPARE, 1)),
        ("gmfn-beyond-all", XENMAPSPACE_GMFN, u64::MAX, after(SPARE, 1)),
        ("foreign", XENMAPSPACE_GMFN_FOREIGN, 1, after(SPARE, 1)),
        ("device-memory", XENMAPSPACE_DEV_MMIO, 1, after(SPARE, 1)),
        ("unknown-space-6", 6, 0, after(SPARE, 1)),
        ("unknown-space-0xffffffff", u32::MAX, 0, after(SPARE, 1)),
        ("to-beyond-the-address-width", XENMAPSPACE_SHARED_INFO, 0, Gfn(1 << 40)),
        ("to-beyond-all", XENMAPSPACE_SHARED_INFO, 0, Gfn(u64::MAX)),
    ] {
        t.case_of(format_args!("memory/add-to-physmap/{name}"), |r| {
            r.result(add(space, idx, gpfn));
            set_up();
        });
    }
    t.case("memory/add-to-physmap/shared-info-again-moves-it", |r| {
        let to = after(SPARE, 2);
        r.result(add(XENMAPSPACE_SHARED_INFO, 0, to));
        r.holds("time-at-new-place", read_at::<u32>(address(to) + 32) != 0);
        r.hex(read_at(address(SHARED_INFO))).result(set_up()).hex(read_at(address(to)));
    });
    t.case("memory/add-to-physmap/gmfn-moves-a-page", |r| {
        let page = pages::take();
        page.write(0, 0x77_u64);
        let to = after(SPARE, 3);
        r.result(add(XENMAPSPACE_GMFN, page.gfn().0, to));
        r.hex(read_at(address(to))).hex(page.read(0));
        r.result(add(XENMAPSPACE_GMFN, to.0, page.gfn())).hex(page.read(0));
    });
    t.case("memory/add-to-physmap/over-a-page-of-ram", |r| {
        let (page, under) = (pages::take(), pages::take());
        page.write(0, 0x11_u64);
        under.write(0, 0x22_u64);
        r.result(add(XENMAPSPACE_GMFN, page.gfn().0, under.gfn())).hex(under.read(0)).hex(page.read(0));
    });
    t.case("memory/add-to-physmap/range", |r| {
        let many = pages::take_many(3, 1);
        for (index, page) in many.iter().enumerate() {
            page.write(0, index as u64 + 0x30);
        }
        let first = many.first().map_or(Gfn(0), Page::gfn);
        let to = after(SPARE, 8);
        let mut a = AddToPhysmap { domid: DomId::SELF, size: 3, space: XENMAPSPACE_GMFN_RANGE, idx: first.0, gpfn: to };
        r.result(memory(XENMEM_ADD_TO_PHYSMAP, &mut a)).named("left", a.size);
        for index in 0..3 {
            r.hex(read_at(address(after(to, index))));
        }
    });
    t.case("memory/add-to-physmap/range-of-none", |r| {
        let mut a =
            AddToPhysmap { domid: DomId::SELF, size: 0, space: XENMAPSPACE_GMFN_RANGE, idx: 0x1000, gpfn: SPARE };
        r.result(memory(XENMEM_ADD_TO_PHYSMAP, &mut a));
    });
}

/// A batch of at most four: the call's result and each entry's.
fn batch_of(r: &mut Report, space: u32, foreign: DomId, entries: &[(u64, Gfn)]) {
    let page = pages::take();
    page.fill(0xa5);
    for (index, (idx, gpfn)) in entries.iter().enumerate() {
        calls::put(page.address(), index, Ulong(*idx));
        calls::put(page.address() + 1024, index, *gpfn);
    }
    let mut a = AddToPhysmapBatch {
        domid: DomId::SELF,
        space: space as u16,
        size: entries.len() as u16,
        foreign_domid: foreign,
        idxs: GuestHandle::new(page.address()),
        gpfns: GuestHandle::new(page.address() + 1024),
        errs: GuestHandle::new(page.address() + 2048),
    };
    r.result(memory(XENMEM_ADD_TO_PHYSMAP_BATCH, &mut a));
    for index in 0..entries.len() {
        let error: i32 = page.read(2048 + index * 4);
        if error == 0xa5a5_a5a5_u32.cast_signed() {
            r.field("untouched")
        } else {
            r.result(error.into())
        };
    }
}

fn batch(t: &mut Runner) {
    let none = DomId(0);
    t.case("memory/batch/none", |r| batch_of(r, XENMAPSPACE_GMFN, none, &[]));
    t.case("memory/batch/bad-one-in-the-middle", |r| {
        let (a, b) = (pages::take().gfn().0, pages::take().gfn().0);
        let list = [(a, after(SPARE, 16)), (SPARE.0, after(SPARE, 17)), (b, after(SPARE, 18))];
        batch_of(r, XENMAPSPACE_GMFN, none, &list);
    });
    for (name, space, foreign, idx) in [
        ("shared-info", XENMAPSPACE_SHARED_INFO, none, 0),
        ("range", XENMAPSPACE_GMFN_RANGE, none, 0x1000),
        ("grant-table", XENMAPSPACE_GRANT_TABLE, none, 3),
        ("grant-table-with-a-domain", XENMAPSPACE_GRANT_TABLE, DomId(5), 3),
        ("unknown-space", 9, none, 0),
        ("foreign-of-nobody", XENMAPSPACE_GMFN_FOREIGN, DomId(77), 1),
        ("foreign-of-itself", XENMAPSPACE_GMFN_FOREIGN, DomId::SELF, 0x1000),
        ("foreign-of-its-own-number", XENMAPSPACE_GMFN_FOREIGN, own_id(), 0x1000),
        ("foreign-of-xen", XENMAPSPACE_GMFN_FOREIGN, DomId::XEN, 1),
        ("foreign-of-io", XENMAPSPACE_GMFN_FOREIGN, DomId::IO, 0x1000),
        ("foreign-of-invalid", XENMAPSPACE_GMFN_FOREIGN, DomId::INVALID, 1),
    ] {
        t.case_of(format_args!("memory/batch/{name}"), |r| {
            batch_of(r, space, foreign, &[(idx, after(SPARE, 20))]);
            set_up();
        });
    }
    t.case("memory/batch/errors-cannot-be-written", |r| {
        let page = pages::take();
        page.write(0, pages::take().gfn().0);
        page.write(1024, after(SPARE, 21));
        let mut a = AddToPhysmapBatch {
            domid: DomId::SELF,
            space: XENMAPSPACE_GMFN as u16,
            size: 1,
            foreign_domid: none,
            idxs: GuestHandle::new(page.address()),
            gpfns: GuestHandle::new(page.address() + 1024),
            errs: GuestHandle::new(pages::unmap(10)),
        };
        r.result(memory(XENMEM_ADD_TO_PHYSMAP_BATCH, &mut a)).named("left", a.size);
    });
}

fn take_away(domid: DomId, gpfn: Gfn) -> i64 {
    memory(XENMEM_REMOVE_FROM_PHYSMAP, &mut RemoveFromPhysmap { domid, pad: [0; 6], gpfn })
}

fn remove(t: &mut Runner) {
    for (name, domid, gpfn) in [
        ("of-nobody", DomId(77), SPARE),
        ("of-xen", DomId::XEN, SPARE),
        ("nowhere", DomId::SELF, SPARE),
        ("beyond-all", DomId::SELF, Gfn(u64::MAX)),
        ("beyond-the-address-width", DomId::SELF, Gfn(1 << 40)),
        ("local-apic", DomId::SELF, Gfn(0xf_ee00)),
    ] {
        t.case_of(format_args!("memory/remove-from-physmap/{name}"), |r| {
            r.result(take_away(domid, gpfn));
        });
    }
    t.case("memory/remove-from-physmap/a-page-of-ram", |r| {
        let page = pages::take();
        page.write(0, 5_u64);
        r.result(take_away(DomId::SELF, page.gfn())).hex(page.read(0)).result(take_away(DomId::SELF, page.gfn()));
        page.write(0, 6_u64);
        r.hex(page.read(0));
    });
    t.case("memory/remove-from-physmap/the-shared-page", |r| {
        r.result(take_away(DomId::SELF, SHARED_INFO)).hex(read_at(address(SHARED_INFO))).result(set_up());
        r.holds("time", read_at::<u32>(vcpu_info(0) + 32) != 0);
    });
}

/// Returns a reservation operation over a list of frames: the call's result; the list stays in `page`.
fn reserve(number: u32, page: &Page, frames: &[u64], order: u32, flags: u32, domid: DomId) -> i64 {
    for (index, frame) in frames.iter().enumerate() {
        calls::put(page.address(), index, Gfn(*frame));
    }
    let mut a = MemoryReservation {
        extent_start: GuestHandle::new(page.address()),
        nr_extents: frames.len() as u64,
        extent_order: order,
        mem_flags: MemFlags(flags),
        domid,
        pad: [0; 6],
    };
    memory(number, &mut a)
}

/// Gives pages back to the hypervisor, so that the domain has room below its limit.
fn shrink(t: &mut Runner) {
    let list = pages::take();
    t.case("memory/decrease/one-page", |r| {
        let page = pages::take();
        page.write(0, 5_u64);
        r.result(reserve(XENMEM_DECREASE_RESERVATION, list, &[page.gfn().0], 0, 0, DomId::SELF)).hex(page.read(0));
        r.result(reserve(XENMEM_DECREASE_RESERVATION, list, &[page.gfn().0], 0, 0, DomId::SELF));
    });
    t.case("memory/decrease/order-3-aligned", |r| {
        let gfn = pages::take_many(8, 8).first().map_or(0, |p| p.gfn().0);
        r.result(reserve(XENMEM_DECREASE_RESERVATION, list, &[gfn], 3, 0, DomId::SELF));
        r.hex(read_at((gfn + 7) << 12));
    });
    t.case("memory/decrease/order-3-not-aligned", |r| {
        let gfn = pages::take_many(16, 8).first().map_or(0, |p| p.gfn().0);
        r.result(reserve(XENMEM_DECREASE_RESERVATION, list, &[gfn + 1], 3, 0, DomId::SELF));
    });
    t.case("memory/decrease/bad-one-in-the-middle", |r| {
        let (a, b) = (pages::take().gfn().0, pages::take().gfn().0);
        r.result(reserve(XENMEM_DECREASE_RESERVATION, list, &[a, SPARE.0, b], 0, 0, DomId::SELF));
        r.hex(read_at(a << 12)).hex(read_at(b << 12));
    });
    for (name, frames, order, domid) in [
        ("none", &[][..], 0, DomId::SELF),
        ("nowhere", &[SPARE.0][..], 0, DomId::SELF),
        ("beyond-all", &[u64::MAX][..], 0, DomId::SELF),
        ("order-10", &[0x1000_0000][..], 10, DomId::SELF),
        ("order-19", &[0x1000_0000][..], 19, DomId::SELF),
        ("order-0xffffffff", &[0x1000_0000][..], u32::MAX, DomId::SELF),
        ("of-nobody", &[SPARE.0][..], 0, DomId(77)),
        ("of-xen", &[SPARE.0][..], 0, DomId::XEN),
        ("the-local-apic", &[0xf_ee00][..], 0, DomId::SELF),
    ] {
        t.case_of(format_args!("memory/decrease/{name}"), |r| {
            r.result(reserve(XENMEM_DECREASE_RESERVATION, list, frames, order, 0, domid));
            set_up();
        });
    }
    t.case("memory/decrease/sixty-four-pages", |r| {
        let frames = pages::take_many(64, 1);
        let mut numbers = [0; 64];
        for (slot, page) in numbers.iter_mut().zip(frames) {
            *slot = page.gfn().0;
        }
        let before = memory(XENMEM_CURRENT_RESERVATION, &mut MemoryDomain { domid: DomId::SELF });
        r.result(reserve(XENMEM_DECREASE_RESERVATION, list, &numbers, 0, 0, DomId::SELF));
        r.named("fewer", before - memory(XENMEM_CURRENT_RESERVATION, &mut MemoryDomain { domid: DomId::SELF }));
    });
    for (name, extents, count) in [
        ("unmapped-list", pages::unmap(10), 1),
        ("count-2-to-32", list.address(), 1 << 32),
        ("count-all-ones", list.address(), u64::MAX),
    ] {
        t.case_of(format_args!("memory/decrease/{name}"), |r| {
            list.fill(0xff);
            let mut a = MemoryReservation {
                extent_start: GuestHandle::new(extents),
                nr_extents: count,
                domid: DomId::SELF,
                ..MemoryReservation::default()
            };
            r.result(memory(XENMEM_DECREASE_RESERVATION, &mut a));
        });
    }
}

fn grow(t: &mut Runner) {
    let list = pages::take();
    let put = |r: &mut Report, frames: &[u64], order: u32, flags: u32, domid: DomId| {
        r.result(reserve(XENMEM_POPULATE_PHYSMAP, list, frames, order, flags, domid));
    };
    t.case("memory/populate/one-page", |r| {
        let at = after(SPARE, 32);
        put(r, &[at.0], 0, 0, DomId::SELF);
        pages::write_at(address(at), 9_u64);
        r.hex(read_at(address(at)));
        r.holds("list-kept", list.read::<u64>(0) == at.0);
    });
    t.case("memory/populate/order-3", |r| {
        let at = after(SPARE, 40);
        put(r, &[at.0], 3, 0, DomId::SELF);
        pages::write_at(address(after(at, 7)), 8_u64);
        r.hex(read_at(address(after(at, 7))));
    });
    t.case("memory/populate/over-a-page-of-ram", |r| {
        let page = pages::take();
        put(r, &[page.gfn().0], 0, 0, DomId::SELF);
        page.write(0, 4_u64);
        r.hex(page.read(0));
    });
    for (name, frames, order, flags, domid) in [
        ("none", &[][..], 0, 0, DomId::SELF),
        ("order-3-not-aligned", &[SPARE.0 + 49][..], 3, 0, DomId::SELF),
        ("order-12", &[0x10_0000][..], 12, 0, DomId::SELF),
        ("order-19", &[0x10_0000][..], 19, 0, DomId::SELF),
        ("order-0xffffffff", &[0x10_0000][..], u32::MAX, 0, DomId::SELF),
        ("beyond-the-address-width", &[1 << 40][..], 0, 0, DomId::SELF),
        ("beyond-all", &[u64::MAX][..], 0, 0, DomId::SELF),
        ("on-demand", &[SPARE.0 + 60][..], 0, 0x1_0000, DomId::SELF),
        ("unknown-flags", &[SPARE.0 + 61][..], 0, 0x8000_0000, DomId::SELF),
        ("address-bits-12", &[SPARE.0 + 62][..], 0, 12, DomId::SELF),
        ("address-bits-20", &[SPARE.0 + 62][..], 0, 20, DomId::SELF),
        ("address-bits-64", &[SPARE.0 + 63][..], 0, 64, DomId::SELF),
        ("node-0", &[SPARE.0 + 64][..], 0, 1 << 8, DomId::SELF),
        ("node-5", &[SPARE.0 + 65][..], 0, 6 << 8, DomId::SELF),
        ("node-5-exactly", &[SPARE.0 + 66][..], 0, 6 << 8 | 1 << 17, DomId::SELF),
        ("virtual-node", &[SPARE.0 + 67][..], 0, 1 << 18, DomId::SELF),
        ("of-nobody", &[SPARE.0 + 68][..], 0, 0, DomId(77)),
        ("of-xen", &[SPARE.0 + 68][..], 0, 0, DomId::XEN),
    ] {
        t.case_of(format_args!("memory/populate/{name}"), |r| put(r, frames, order, flags, domid));
    }
    t.case("memory/maximum-reservation/far-beyond-the-current-one", |r| {
        let most = memory(XENMEM_MAXIMUM_RESERVATION, &mut MemoryDomain { domid: DomId::SELF });
        r.holds("unlimited", most > 1 << 30);
    });
    for (name, number) in [("increase", XENMEM_INCREASE_RESERVATION), ("claim-pages", XENMEM_CLAIM_PAGES)] {
        for (who, domid) in [("self", DomId::SELF), ("nobody", DomId(77))] {
            t.case_of(format_args!("memory/{name}/of-{who}"), |r| {
                r.result(reserve(number, list, &[0], 0, 0, domid));
            });
        }
    }
}

fn exchange(t: &mut Runner) {
    let one = |page: &Page, domid| MemoryReservation {
        extent_start: GuestHandle::new(page.address()),
        nr_extents: 1,
        domid,
        ..MemoryReservation::default()
    };
    for (name, from, to, done) in [
        ("own-page", DomId::SELF, DomId::SELF, 0),
        ("between-domains", DomId::SELF, DomId(77), 0),
        ("of-nobody", DomId(77), DomId(77), 0),
        ("already-done", DomId::SELF, DomId::SELF, 1),
        ("more-than-all-done", DomId::SELF, DomId::SELF, 2),
    ] {
        t.case_of(format_args!("memory/exchange/{name}"), |r| {
            let (source, dest) = (pages::take(), pages::take());
            source.write(0, pages::take().gfn().0);
            dest.write(0, SPARE.0 + 80);
            let mut a = MemoryExchange { input: one(source, from), output: one(dest, to), nr_exchanged: done };
            r.result(memory(XENMEM_EXCHANGE, &mut a)).named("done", a.nr_exchanged);
        });
    }
}

fn acquire(r: &mut Report, a: MemAcquireResource) {
    let mut a = a;
    r.result(memory(XENMEM_ACQUIRE_RESOURCE, &mut a)).named("frames", a.nr_frames);
}

fn resources(t: &mut Runner) {
    let list = pages::take();
    let own = own_id();
    let base = MemAcquireResource {
        domid: own,
        kind: XENMEM_RESOURCE_GRANT_TABLE,
        id: XENMEM_RESOURCE_GRANT_TABLE_ID_SHARED,
        ..MemAcquireResource::default()
    };
    let mapped = MemAcquireResource { nr_frames: 1, frame_list: GuestHandle::new(list.address()), ..base };
    for (name, a) in [
        ("size-of-the-grant-table", base),
        ("size-of-the-status-words", MemAcquireResource { id: 1, ..base }),
        ("size-with-frames-but-no-list", MemAcquireResource { nr_frames: 1, ..base }),
        ("list-but-no-frames", MemAcquireResource { nr_frames: 0, ..mapped }),
        ("of-nobody", MemAcquireResource { domid: DomId(77), ..mapped }),
        ("of-self", MemAcquireResource { domid: DomId::SELF, ..mapped }),
        ("of-its-own-number", mapped),
        ("padding-set", MemAcquireResource { padding: 1, ..mapped }),
        ("unknown-kind", MemAcquireResource { kind: 3, ..mapped }),
        ("unknown-kind-size", MemAcquireResource { kind: 3, ..base }),
        ("unknown-id", MemAcquireResource { id: 2, ..mapped }),
        ("io-server", MemAcquireResource { kind: XENMEM_RESOURCE_IOREQ_SERVER, ..mapped }),
        ("processor-trace", MemAcquireResource { kind: XENMEM_RESOURCE_VMTRACE_BUF, ..mapped }),
        ("frame-beyond-the-table", MemAcquireResource { frame: 64, ..mapped }),
        ("frame-beyond-32-bits", MemAcquireResource { frame: 1 << 32, ..mapped }),
        ("too-many-frames", MemAcquireResource { nr_frames: 65, ..mapped }),
        ("all-frames", MemAcquireResource { nr_frames: u32::MAX, ..mapped }),
    ] {
        t.case_of(format_args!("memory/acquire-resource/{name}"), |r| {
            list.write(0, after(SPARE, 90));
            acquire(r, a);
        });
    }
}

fn rare(t: &mut Runner) {
    t.case("memory/set-memory-map/of-nobody", |r| {
        let map = MemoryMap { nr_entries: 0, pad: [0; 4], buffer: GuestHandle::new(pages::take().address()) };
        let mut a = ForeignMemoryMap { domid: DomId(77), pad: [0; 6], map };
        r.result(memory(XENMEM_SET_MEMORY_MAP, &mut a));
    });
    for (who, domid) in [("self", DomId::SELF), ("nobody", DomId(77))] {
        t.case_of(format_args!("memory/get-pod-target/of-{who}"), |r| {
            let mut a = PodTarget { domid, ..PodTarget::default() };
            r.result(memory(XENMEM_GET_POD_TARGET, &mut a)).named("cache", a.pod_cache_pages);
        });
        t.case_of(format_args!("memory/virtual-nodes/of-{who}"), |r| {
            let mut a = VnumaTopologyInfo { domid, ..VnumaTopologyInfo::default() };
            r.result(memory(XENMEM_GET_VNUMAINFO, &mut a));
        });
    }
    t.case("memory/sharing/freed-and-shared", |r| {
        r.result(call(MEMORY_OP, [XENMEM_GET_SHARING_FREED_PAGES.into(), 0]));
        r.result(call(MEMORY_OP, [XENMEM_GET_SHARING_SHARED_PAGES.into(), 0]));
    });
    t.case("memory/machphys-list", |r| {
        let page = pages::take();
        let mut a = MachphysMfnList {
            max_extents: 1,
            extent_start: GuestHandle::new(page.address()),
            ..MachphysMfnList::default()
        };
        r.result(memory(XENMEM_MACHPHYS_MFN_LIST, &mut a)).named("extents", a.nr_extents);
    });
    t.case("memory/machphys-mapping", |r| {
        let mut a = MachphysMapping::default();
        r.result(memory(XENMEM_MACHPHYS_MAPPING, &mut a)).hex(a.v_start).hex(a.v_end);
    });
    t.case("memory/reserved-device-map", |r| {
        let mut a = ReservedDeviceMemoryMap { flags: XENMEM_RDM_ALL, ..ReservedDeviceMemoryMap::default() };
        r.result(memory(XENMEM_RESERVED_DEVICE_MEMORY_MAP, &mut a)).named("entries", a.nr_entries);
    });
    for number in [8_u64, 20, 21, 22, 25, 29, 30, 63, 0xffff_ffff, 2 | 1 << 6, 7 | 1 << 6, 6 | 5 << 6] {
        t.case_of(format_args!("memory/operation/{number:#x}"), |r| {
            r.result(call(MEMORY_OP, [number, pages::take().address()]));
            // With all zeroes as its arguments, one of them moves the shared page to frame 0.
            set_up();
        });
    }
}

/// Runs the case after which the shared page is of no use: real Xen frees it, and places it nowhere again.
pub fn run_last(t: &mut Runner) {
    t.case("memory/decrease/the-shared-page", |r| {
        r.result(reserve(XENMEM_DECREASE_RESERVATION, pages::take(), &[SHARED_INFO.0], 0, 0, DomId::SELF));
    });
}
