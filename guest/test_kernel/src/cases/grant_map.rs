//! Mapping and unmapping grants of form 1. The domain grants to itself.

use xen_abi::grant_entry::*;
use xen_abi::grant_table::*;
use xen_abi::hypercall::GRANT_TABLE_OP;
use xen_abi::{DomId, Gfn, GrantHandle, GrantRef};
use xenolith_guest_kit::catch;
use xenolith_guest_kit::mode::{self, Mode};
use xenolith_guest_kit::pages::{self, read_at, write_at};

use crate::calls::call;
use crate::domain::*;
use crate::grants::*;
use crate::runner::{Report, Runner};

/// The entry that most cases use.
const GREF: u32 = 40;
const RW: GrantMapFlags = GrantMapFlags::HOST_MAP;
const RO: GrantMapFlags = GrantMapFlags::HOST_MAP.union(GrantMapFlags::READONLY);

/// Runs the cases.
pub fn run(t: &mut Runner) {
    good(t);
    bad_grants(t);
    bad_maps(t);
    unmapping(t);
    arrays(t);
}

fn say(r: &mut Report, (result, mapping): (i64, GnttabMapGrantRef)) -> GnttabMapGrantRef {
    r.result(result).field(name(mapping.status));
    mapping
}

fn drop_mapping(r: &mut Report, mapping: &GnttabMapGrantRef) {
    if mapping.status == GNTST_OKAY {
        r.named("unmap", name(unmap(mapping.handle, mapping.host_addr, 0).1));
    }
}

fn good(t: &mut Runner) {
    t.case("grant-map/read-write", |r| {
        let page = pages::take();
        page.write(8, 0x1234_5678_u64);
        give(GREF, GTF_PERMIT_ACCESS, own_id(), page.gfn());
        let mapping = say(r, map(own_id(), GREF, address(GRANTED), RW));
        r.hex(flags(GREF).into()).hex(read_at(address(GRANTED) + 8));
        write_at(address(GRANTED) + 16, 0x99_u64);
        r.hex(read_at(address(GRANTED) + 16));
        drop_mapping(r, &mapping);
        r.hex(flags(GREF).into());
        revoke(GREF);
    });
    t.case("grant-map/own-frame-of-a-page-while-it-is-mapped-and-after", |r| {
        let page = pages::take();
        page.write(8, 0x1234_5678_u64);
        give(GREF, GTF_PERMIT_ACCESS, own_id(), page.gfn());
        let mapping = say(r, map(own_id(), GREF, address(GRANTED), RW));
        r.hex(page.read(8));
        drop_mapping(r, &mapping);
        r.hex(page.read(8));
        revoke(GREF);
    });
    t.case("grant-map/of-self", |r| {
        give(GREF, GTF_PERMIT_ACCESS, own_id(), pages::take().gfn());
        let mapping = say(r, map(DomId::SELF, GREF, address(GRANTED), RW));
        drop_mapping(r, &mapping);
        revoke(GREF);
    });
    t.case("grant-map/read-only-mapping-of-a-read-write-grant", |r| {
        give(GREF, GTF_PERMIT_ACCESS, own_id(), pages::take().gfn());
        let mapping = say(r, map(own_id(), GREF, address(GRANTED), RO));
        r.hex(flags(GREF).into()).caught(catch(|| read_at(address(GRANTED))));
        drop_mapping(r, &mapping);
        r.hex(flags(GREF).into());
        revoke(GREF);
    });
    t.case("grant-map/read-only-grant", |r| {
        give(GREF, GTF_PERMIT_ACCESS | GTF_READONLY, own_id(), pages::take().gfn());
        let mapping = say(r, map(own_id(), GREF, address(GRANTED), RO));
        r.hex(flags(GREF).into());
        drop_mapping(r, &mapping);
        let writing = say(r, map(own_id(), GREF, address(GRANTED), RW));
        drop_mapping(r, &writing);
        revoke(GREF);
    });
    t.case("grant-map/twice", |r| {
        give(GREF, GTF_PERMIT_ACCESS, own_id(), pages::take().gfn());
        let first = say(r, map(own_id(), GREF, address(GRANTED), RW));
        let second = say(r, map(own_id(), GREF, address(after(GRANTED, 1)), RO));
        r.holds("handles-differ", first.handle != second.handle).hex(flags(GREF).into());
        drop_mapping(r, &first);
        r.hex(flags(GREF).into()).hex(read_at(address(after(GRANTED, 1))));
        drop_mapping(r, &second);
        r.hex(flags(GREF).into());
        revoke(GREF);
    });
    t.case("grant-map/bus-address", |r| {
        let page = pages::take();
        give(GREF, GTF_PERMIT_ACCESS, own_id(), page.gfn());
        let mapping = say(r, map(own_id(), GREF, address(GRANTED), RW));
        r.holds("given", mapping.dev_bus_addr != 0);
        drop_mapping(r, &mapping);
        revoke(GREF);
    });
    t.case("grant-map/over-a-page-of-ram", |r| {
        let (page, under) = (pages::take(), pages::take());
        page.write(0, 0xa5_u64);
        under.write(0, 0x5a_u64);
        give(GREF, GTF_PERMIT_ACCESS, own_id(), page.gfn());
        let mapping = say(r, map(own_id(), GREF, under.address(), RW));
        r.hex(under.read(0));
        drop_mapping(r, &mapping);
    });
    t.case("grant-map/at-its-own-frame", |r| {
        let page = pages::take();
        give(GREF, GTF_PERMIT_ACCESS, own_id(), page.gfn());
        let mapping = say(r, map(own_id(), GREF, page.address(), RW));
        drop_mapping(r, &mapping);
        revoke(GREF);
    });
    t.case("grant-map/a-frame-where-a-grant-is-mapped", |r| {
        give(GREF, GTF_PERMIT_ACCESS, own_id(), pages::take().gfn());
        let first = say(r, map(own_id(), GREF, address(GRANTED), RW));
        give(GREF + 1, GTF_PERMIT_ACCESS, own_id(), GRANTED);
        // The frame that is granted here is itself a mapping.
        let second = say(r, map(own_id(), GREF + 1, address(after(GRANTED, 1)), RW));
        drop_mapping(r, &second);
        drop_mapping(r, &first);
        revoke(GREF);
        revoke(GREF + 1);
    });
}

/// Returns a frame of low memory that only the cases of this mode grant.
fn low_memory() -> Gfn {
    Gfn(if mode::current() == Mode::Long { 1 } else { 2 })
}

fn bad_grants(t: &mut Runner) {
    let fresh = Gfn(0);
    for (what, flags, to, frame) in [
        ("empty", GTF_INVALID, own_id(), fresh),
        ("transfer", GTF_ACCEPT_TRANSFER, own_id(), fresh),
        ("transitive-in-form-1", GTF_TRANSITIVE, own_id(), fresh),
        ("to-another-domain", GTF_PERMIT_ACCESS, DomId(5), fresh),
        ("to-self", GTF_PERMIT_ACCESS, DomId::SELF, fresh),
        ("of-a-frame-nowhere", GTF_PERMIT_ACCESS, own_id(), SPARE),
        ("of-a-frame-beyond-all", GTF_PERMIT_ACCESS, own_id(), Gfn(0xffff_ffff)),
        ("of-the-shared-page", GTF_PERMIT_ACCESS, own_id(), SHARED_INFO),
        ("of-the-grant-table", GTF_PERMIT_ACCESS, own_id(), GRANT_TABLE),
        ("of-the-local-apic", GTF_PERMIT_ACCESS, own_id(), Gfn(0xf_ee00)),
        ("of-low-memory", GTF_PERMIT_ACCESS, own_id(), low_memory()),
        ("of-low-memory-a-second-time", GTF_PERMIT_ACCESS, own_id(), low_memory()),
        ("with-sub-page-in-form-1", GTF_PERMIT_ACCESS | GTF_SUB_PAGE, own_id(), fresh),
        ("with-reading-set-already", GTF_PERMIT_ACCESS | GTF_READING, own_id(), fresh),
        ("with-unknown-flags", GTF_PERMIT_ACCESS | 0xf000, own_id(), fresh),
        ("uncached", GTF_PERMIT_ACCESS | GTF_PCD | GTF_PWT, own_id(), fresh),
    ] {
        t.case_of(format_args!("grant-map/grant-{what}"), |r| {
            give(GREF, flags, to, if frame == fresh { pages::take().gfn() } else { frame });
            let mapping = say(r, map(own_id(), GREF, address(GRANTED), RW));
            r.hex(crate::grants::flags(GREF).into());
            drop_mapping(r, &mapping);
            // Xen takes a page of its own away from where it was; this puts those two back.
            set_up();
            place(0, GRANT_TABLE);
            revoke(GREF);
        });
    }
    for (what, gref) in
        [("beyond-the-table", 1 << 20), ("0xffffffff", u32::MAX), ("last-of-the-table", 64 * 512 - 1), ("0", 0)]
    {
        t.case_of(format_args!("grant-map/reference-{what}"), |r| {
            let mapping = say(r, map(own_id(), gref, address(GRANTED), RW));
            drop_mapping(r, &mapping);
        });
    }
    for (what, dom) in [
        ("nobody", DomId(77)),
        ("io", DomId::IO),
        ("xen", DomId::XEN),
        ("cow", DomId::COW),
        ("invalid", DomId::INVALID),
        ("0xffff", DomId(0xffff)),
    ] {
        t.case_of(format_args!("grant-map/of-{what}"), |r| {
            let mapping = say(r, map(dom, GREF, address(GRANTED), RW));
            drop_mapping(r, &mapping);
        });
    }
}

fn bad_maps(t: &mut Runner) {
    for (what, at, flags) in [
        ("no-flags", address(GRANTED), GrantMapFlags::empty()),
        ("device-only", address(GRANTED), GrantMapFlags::DEVICE_MAP),
        ("device-and-host", address(GRANTED), GrantMapFlags::DEVICE_MAP.union(RW)),
        ("application", address(GRANTED), RW.union(GrantMapFlags::APPLICATION_MAP)),
        ("contains-pte", address(GRANTED), RW.union(GrantMapFlags::CONTAINS_PTE)),
        ("unknown-flag", address(GRANTED), GrantMapFlags::from_bits_retain(0x22)),
        ("guest-bits", address(GRANTED), GrantMapFlags::from_bits_retain(0x7_0002)),
        ("address-not-aligned", address(GRANTED) + 0x123, RW),
        ("address-beyond-the-width", 1 << 52, RW),
        ("address-above-40-bits", 1 << 40, RW),
        ("address-of-the-local-apic", 0xfee0_0000, RW),
    ] {
        t.case_of(format_args!("grant-map/map-{what}"), |r| {
            give(GREF, GTF_PERMIT_ACCESS, own_id(), pages::take().gfn());
            let mapping = say(r, map(own_id(), GREF, at, flags));
            r.hex(crate::grants::flags(GREF).into());
            if mapping.status == GNTST_OKAY {
                let host = if flags.contains(GrantMapFlags::HOST_MAP) { at } else { 0 };
                let bus = if flags.contains(GrantMapFlags::DEVICE_MAP) { mapping.dev_bus_addr } else { 0 };
                r.named("unmap", name(unmap(mapping.handle, host, bus).1)).hex(crate::grants::flags(GREF).into());
            }
            revoke(GREF);
        });
    }
}

fn unmapping(t: &mut Runner) {
    for (what, handle) in [("never-given", 20_000), ("0xffffffff", u32::MAX), ("0x7fffffff", 0x7fff_ffff), ("free", 5)]
    {
        t.case_of(format_args!("grant-unmap/handle-{what}"), |r| {
            let (result, status) = unmap(GrantHandle(handle), address(GRANTED), 0);
            r.result(result).field(name(status));
        });
    }
    t.case("grant-unmap/twice", |r| {
        give(GREF, GTF_PERMIT_ACCESS, own_id(), pages::take().gfn());
        let mapping = say(r, map(own_id(), GREF, address(GRANTED), RW));
        drop_mapping(r, &mapping);
        drop_mapping(r, &mapping);
        revoke(GREF);
    });
    t.case("grant-unmap/at-another-address", |r| {
        give(GREF, GTF_PERMIT_ACCESS, own_id(), pages::take().gfn());
        let mapping = say(r, map(own_id(), GREF, address(GRANTED), RW));
        let (result, status) = unmap(mapping.handle, address(after(GRANTED, 3)), 0);
        r.result(result).field(name(status)).hex(flags(GREF).into());
        drop_mapping(r, &mapping);
        r.hex(flags(GREF).into());
        revoke(GREF);
    });
    t.case("grant-unmap/at-an-address-of-ram", |r| {
        give(GREF, GTF_PERMIT_ACCESS, own_id(), pages::take().gfn());
        let mapping = say(r, map(own_id(), GREF, address(GRANTED), RW));
        let (result, status) = unmap(mapping.handle, pages::take().address(), 0);
        r.result(result).field(name(status)).hex(flags(GREF).into());
        drop_mapping(r, &mapping);
        revoke(GREF);
    });
    t.case("grant-unmap/neither-host-nor-device", |r| {
        give(GREF, GTF_PERMIT_ACCESS, own_id(), pages::take().gfn());
        let mapping = say(r, map(own_id(), GREF, address(GRANTED), RW));
        let (result, status) = unmap(mapping.handle, 0, 0);
        r.result(result).field(name(status)).hex(flags(GREF).into());
        drop_mapping(r, &mapping);
        r.hex(flags(GREF).into());
        revoke(GREF);
    });
    t.case("grant-unmap/with-a-wrong-bus-address", |r| {
        give(GREF, GTF_PERMIT_ACCESS, own_id(), pages::take().gfn());
        let mapping = say(r, map(own_id(), GREF, address(GRANTED), RW));
        let (result, status) = unmap(mapping.handle, mapping.host_addr, 0x123_4000);
        r.result(result).field(name(status)).hex(flags(GREF).into());
        drop_mapping(r, &mapping);
        revoke(GREF);
    });
    t.case("grant-unmap/after-the-grant-was-taken-back", |r| {
        give(GREF, GTF_PERMIT_ACCESS, own_id(), pages::take().gfn());
        let mapping = say(r, map(own_id(), GREF, address(GRANTED), RW));
        revoke(GREF);
        drop_mapping(r, &mapping);
        r.hex(flags(GREF).into());
    });
    t.case("grant-unmap/leaves-a-hole", |r| {
        give(GREF, GTF_PERMIT_ACCESS, own_id(), pages::take().gfn());
        let mapping = say(r, map(own_id(), GREF, address(GRANTED), RW));
        drop_mapping(r, &mapping);
        give(GREF, GTF_PERMIT_ACCESS, own_id(), GRANTED);
        let again = say(r, map(own_id(), GREF, address(after(GRANTED, 1)), RW));
        drop_mapping(r, &again);
        revoke(GREF);
    });
}

fn arrays(t: &mut Runner) {
    t.case("grant-map/three-with-a-bad-one-in-the-middle", |r| {
        let list = pages::take();
        let size = size_of::<GnttabMapGrantRef>();
        for (index, gref) in [GREF, 1 << 20, GREF + 1].into_iter().enumerate() {
            if gref < 512 {
                give(gref, GTF_PERMIT_ACCESS, own_id(), pages::take().gfn());
            }
            let host_addr = address(after(GRANTED, index as u64));
            let element = GnttabMapGrantRef {
                host_addr,
                flags: RW,
                gref: GrantRef(gref),
                dom: own_id(),
                ..GnttabMapGrantRef::default()
            };
            list.write(index * size, element);
        }
        r.result(call(GRANT_TABLE_OP, [GNTTABOP_MAP_GRANT_REF.into(), list.address(), 3]));
        for index in 0..3 {
            let element: GnttabMapGrantRef = list.read(index * size);
            r.field(name(element.status));
            drop_mapping(r, &element);
        }
        revoke(GREF);
        revoke(GREF + 1);
    });
    t.case("grant-map/a-hundred-in-one-call", |r| {
        let list = pages::take_many(1, 1).first().map_or(0, |p| p.address());
        let size = size_of::<GnttabMapGrantRef>() as u64;
        for index in 0..100_u64 {
            give(100 + index as u32, GTF_PERMIT_ACCESS, own_id(), pages::take().gfn());
            let element = GnttabMapGrantRef {
                host_addr: address(after(GRANTED, index)),
                flags: RW,
                gref: GrantRef(100 + index as u32),
                dom: own_id(),
                ..GnttabMapGrantRef::default()
            };
            write_at(list + index * size, element);
        }
        r.result(call(GRANT_TABLE_OP, [GNTTABOP_MAP_GRANT_REF.into(), list, 100]));
        let (mut mapped, mut unmapped) = (0, 0);
        for index in 0..100_u64 {
            let element: GnttabMapGrantRef = read_at(list + index * size);
            mapped += u32::from(element.status == GNTST_OKAY);
            unmapped += u32::from(unmap(element.handle, element.host_addr, 0).1 == GNTST_OKAY);
            revoke(100 + index as u32);
        }
        r.named("mapped", mapped).named("unmapped", unmapped);
    });
}
