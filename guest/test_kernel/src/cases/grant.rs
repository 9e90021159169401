//! Grant table operations other than mapping and copying: sizes, versions, frames, and what is wrong with a call.

use xen_abi::grant_entry::*;
use xen_abi::grant_table::*;
use xen_abi::hypercall::GRANT_TABLE_OP;
use xen_abi::physmap::XENMAPIDX_GRANT_TABLE_STATUS;
use xen_abi::{DomId, Gfn, GrantHandle, GrantRef, GuestHandle, Mfn};
use xenolith_guest_kit::pages;

use crate::calls::{call, grant};
use crate::domain::*;
use crate::grants::*;
use crate::runner::Runner;

const DOMAINS: &[(&str, DomId)] = &[
    ("self", DomId::SELF),
    ("dom0", DomId::DOM0),
    ("nobody", DomId(77)),
    ("io", DomId::IO),
    ("xen", DomId::XEN),
    ("invalid", DomId::INVALID),
    ("0xffff", DomId(0xffff)),
];

/// Runs the cases, and leaves two frames of the table in their place.
pub fn run(t: &mut Runner) {
    sizes(t);
    place(0, GRANT_TABLE);
    versions(t);
    frames(t);
    place(1, after(GRANT_TABLE, 1));
    swap(t);
    rare(t);
}

fn query(dom: DomId) -> (i64, GnttabQuerySize) {
    let mut a = GnttabQuerySize { dom, ..GnttabQuerySize::default() };
    (grant(GNTTABOP_QUERY_SIZE, &mut a), a)
}

fn sizes(t: &mut Runner) {
    for (who, dom) in DOMAINS.iter().copied() {
        t.case_of(format_args!("grant/query-size/of-{who}"), |r| {
            let (result, a) = query(dom);
            r.result(result).field(name(a.status)).named("frames", a.nr_frames).named("most", a.max_nr_frames);
        });
    }
    t.case("grant/place/first-frame", |r| {
        r.result(place(0, GRANT_TABLE));
        r.hex(pages::read_at(address(GRANT_TABLE)));
    });
    t.case("grant/place/again-elsewhere-moves-it", |r| {
        r.result(place(0, after(GRANT_TABLE, 8)));
        pages::write_at(address(after(GRANT_TABLE, 8)) + 64, 0x55_u64);
        r.hex(pages::read_at(address(after(GRANT_TABLE, 8)) + 64));
        r.hex(pages::read_at(address(GRANT_TABLE) + 64));
        pages::write_at(address(after(GRANT_TABLE, 8)) + 64, 0_u64);
        r.result(place(0, GRANT_TABLE));
    });
    t.case("grant/place/grows-the-table", |r| {
        r.named("before", query(DomId::SELF).1.nr_frames);
        r.result(place(5, after(GRANT_TABLE, 5))).named("after", query(DomId::SELF).1.nr_frames);
        r.result(place(3, after(GRANT_TABLE, 3))).named("then", query(DomId::SELF).1.nr_frames);
    });
    for index in [63_u64, 64, 65, 1 << 20, XENMAPIDX_GRANT_TABLE_STATUS, 0x1_0000_0000] {
        t.case_of(format_args!("grant/place/frame-{index:#x}"), |r| {
            r.result(place(index, after(GRANT_TABLE, 63))).named("frames", query(DomId::SELF).1.nr_frames);
        });
    }
}

fn set_version(version: u32) -> (i64, u32) {
    let mut a = GnttabSetVersion { version };
    (grant(GNTTABOP_SET_VERSION, &mut a), a.version)
}

fn versions(t: &mut Runner) {
    for (who, dom) in DOMAINS.iter().copied() {
        t.case_of(format_args!("grant/get-version/of-{who}"), |r| {
            let mut a = GnttabGetVersion { dom, ..GnttabGetVersion::default() };
            r.result(grant(GNTTABOP_GET_VERSION, &mut a)).named("version", a.version);
        });
    }
    for version in [0, 1, 3, u32::MAX, 2, 1] {
        t.case_of(format_args!("grant/set-version/to-{version:#x}-from-{}", current_version()), |r| {
            let (result, now) = set_version(version);
            r.result(result).named("version", now);
        });
    }
    set_version(1);
    t.case("grant/set-version/while-an-entry-is-in-use", |r| {
        let page = pages::take();
        give(9, GTF_PERMIT_ACCESS, own_id(), page.gfn());
        let (result, mapping) = map(own_id(), 9, address(GRANTED), GrantMapFlags::HOST_MAP);
        r.result(result).field(name(mapping.status));
        let (result, version) = set_version(2);
        r.result(result).named("version", version);
        r.field(name(unmap(mapping.handle, address(GRANTED), 0).1));
        revoke(9);
    });
    t.case("grant/set-version/clears-entries-but-keeps-reserved-ones", |r| {
        let page = pages::take();
        give(1, GTF_PERMIT_ACCESS, DomId(5), page.gfn());
        give(9, GTF_PERMIT_ACCESS, DomId(5), page.gfn());
        r.result(set_version(2).0);
        let reserved: GrantV2FullPage = pages::read_at(address(GRANT_TABLE) + 16);
        let other: GrantV2FullPage = pages::read_at(address(GRANT_TABLE) + 9 * 16);
        r.hex(reserved.hdr.flags.into()).named("dom", reserved.hdr.domid).holds("frame", reserved.frame == page.gfn());
        r.hex(other.hdr.flags.into());
        r.result(set_version(1).0);
        r.hex(flags(1).into()).hex(flags(9).into());
        revoke(1);
    });
}

fn current_version() -> u32 {
    let mut a = GnttabGetVersion { dom: DomId::SELF, ..GnttabGetVersion::default() };
    grant(GNTTABOP_GET_VERSION, &mut a);
    a.version
}

fn frames(t: &mut Runner) {
    let list = pages::take();
    for (who, dom, count) in [
        ("self-0", DomId::SELF, 0),
        ("self-1", DomId::SELF, 1),
        ("self-64", DomId::SELF, 64),
        ("self-65", DomId::SELF, 65),
        ("self-0xffffffff", DomId::SELF, u32::MAX),
        ("nobody-1", DomId(77), 1),
        ("io-1", DomId::IO, 1),
    ] {
        t.case_of(format_args!("grant/setup-table/{who}"), |r| {
            let mut a = GnttabSetupTable {
                dom,
                nr_frames: count,
                frame_list: GuestHandle::new(list.address()),
                ..GnttabSetupTable::default()
            };
            list.fill(0x5a);
            r.result(grant(GNTTABOP_SETUP_TABLE, &mut a)).field(name(a.status));
            let first: u64 = list.read(0);
            r.field(match first {
                0x5a5a_5a5a_5a5a_5a5a => "list-untouched",
                f if f == GRANT_TABLE.0 => "frame-where-it-was-placed",
                u64::MAX => "no-frame",
                _ => "other-frame",
            });
            r.named("frames", query(DomId::SELF).1.nr_frames);
        });
    }
    for (who, dom, count) in [
        ("self-1", DomId::SELF, 1),
        ("self-64", DomId::SELF, 64),
        ("nobody-1", DomId(77), 1),
        ("self-0", DomId::SELF, 0),
    ] {
        for version in [1, 2] {
            t.case_of(format_args!("grant/get-status-frames/{who}-version-{version}"), |r| {
                set_version(version);
                let mut a = GnttabGetStatusFrames {
                    dom,
                    nr_frames: count,
                    frame_list: GuestHandle::new(list.address()),
                    ..GnttabGetStatusFrames::default()
                };
                list.fill(0x5a);
                r.result(grant(GNTTABOP_GET_STATUS_FRAMES, &mut a)).field(name(a.status));
                r.holds("list-untouched", list.read::<u64>(0) == 0x5a5a_5a5a_5a5a_5a5a);
                set_version(1);
            });
        }
    }
    t.case("grant/place/status-frames-in-version-2", |r| {
        set_version(2);
        for index in [0, 1, 7, 8, 64] {
            r.result(place(XENMAPIDX_GRANT_TABLE_STATUS | index, after(GRANT_STATUS, index)));
        }
        r.result(set_version(1).0);
    });
}

fn swap(t: &mut Runner) {
    let swapped = |a: u32, b: u32| {
        let mut s = GnttabSwapGrantRef { ref_a: GrantRef(a), ref_b: GrantRef(b), ..GnttabSwapGrantRef::default() };
        (grant(GNTTABOP_SWAP_GRANT_REF, &mut s), name(s.status))
    };
    t.case("grant/swap/two-entries", |r| {
        give(20, GTF_PERMIT_ACCESS, DomId(5), Gfn(0x111));
        give(21, GTF_PERMIT_ACCESS | GTF_READONLY, DomId(6), Gfn(0x222));
        let (result, status) = swapped(20, 21);
        r.result(result).field(status).hex(pages::read_at(address(GRANT_TABLE) + 160));
        r.hex(pages::read_at(address(GRANT_TABLE) + 168));
        revoke(20);
        revoke(21);
    });
    for (what, a, b) in [
        ("with-itself", 20, 20),
        ("first-beyond-the-table", 1 << 20, 20),
        ("second-beyond-the-table", 20, 1 << 20),
        ("both-empty", 22, 23),
    ] {
        t.case_of(format_args!("grant/swap/{what}"), |r| {
            let (result, status) = swapped(a, b);
            r.result(result).field(status);
        });
    }
    t.case("grant/swap/in-use", |r| {
        let page = pages::take();
        give(20, GTF_PERMIT_ACCESS, own_id(), page.gfn());
        let (_, mapping) = map(own_id(), 20, address(GRANTED), GrantMapFlags::HOST_MAP);
        let (result, status) = swapped(20, 21);
        r.field(name(mapping.status)).result(result).field(status);
        r.field(name(unmap(mapping.handle, address(GRANTED), 0).1));
        revoke(20);
    });
}

fn rare(t: &mut Runner) {
    for (what, dom, gfn) in [
        ("to-nobody", DomId(77), pages::take().gfn().0),
        ("of-nowhere", DomId::SELF, SPARE.0),
        ("beyond-the-address-width", DomId::SELF, u64::MAX),
    ] {
        t.case_of(format_args!("grant/transfer/{what}"), |r| {
            let mut a = GnttabTransfer { mfn: Mfn(gfn), domid: dom, gref: GrantRef(30), ..GnttabTransfer::default() };
            r.result(grant(GNTTABOP_TRANSFER, &mut a)).field(name(a.status));
        });
    }
    t.case("grant/unmap-and-replace/bad-handle", |r| {
        let mut a = GnttabUnmapAndReplace {
            host_addr: address(GRANTED),
            new_addr: address(SPARE),
            handle: GrantHandle(12345),
            ..GnttabUnmapAndReplace::default()
        };
        r.result(grant(GNTTABOP_UNMAP_AND_REPLACE, &mut a)).field(name(a.status));
    });
    t.case("grant/unmap-and-replace/a-mapping", |r| {
        let page = pages::take();
        give(20, GTF_PERMIT_ACCESS, own_id(), page.gfn());
        let (_, mapping) = map(own_id(), 20, address(GRANTED), GrantMapFlags::HOST_MAP);
        let mut a = GnttabUnmapAndReplace {
            host_addr: address(GRANTED),
            new_addr: address(SPARE),
            handle: mapping.handle,
            ..GnttabUnmapAndReplace::default()
        };
        r.result(grant(GNTTABOP_UNMAP_AND_REPLACE, &mut a)).field(name(a.status));
        r.field(name(unmap(mapping.handle, address(GRANTED), 0).1)).hex(flags(20).into());
        revoke(20);
    });
    for (what, op, length) in [("clean", GNTTAB_CACHE_CLEAN, 64), ("nothing", 0, 64), ("unknown-bit", 0x100, 64)] {
        t.case_of(format_args!("grant/cache-flush/{what}"), |r| {
            let mut a = GnttabCacheFlush { length, op, ..GnttabCacheFlush::default() };
            a.set_dev_bus_addr(pages::take().address());
            r.result(grant(GNTTABOP_CACHE_FLUSH, &mut a));
        });
    }
    for (who, dom) in [("self", DomId::SELF), ("nobody", DomId(77))] {
        t.case_of(format_args!("grant/dump-table/of-{who}"), |r| {
            let mut a = GnttabDumpTable { dom, status: 1 };
            r.result(grant(GNTTABOP_DUMP_TABLE, &mut a)).field(name(a.status));
        });
    }
    for number in [13_u64, 14, 100, 0xffff_ffff, 0x1000_0006, 0x1_0000_0006] {
        t.case_of(format_args!("grant/unknown-operation/{number:#x}"), |r| {
            let page = pages::take();
            page.write(0, DomId::SELF.0);
            r.result(call(GRANT_TABLE_OP, [number, page.address(), 1]));
        });
    }
    for (what, operation, count) in [
        ("query-size-of-none", GNTTABOP_QUERY_SIZE, 0),
        ("query-size-of-two", GNTTABOP_QUERY_SIZE, 2),
        ("setup-table-of-two", GNTTABOP_SETUP_TABLE, 2),
        ("set-version-of-two", GNTTABOP_SET_VERSION, 2),
        ("get-version-of-two", GNTTABOP_GET_VERSION, 2),
        ("map-none", GNTTABOP_MAP_GRANT_REF, 0),
        ("unmap-none", GNTTABOP_UNMAP_GRANT_REF, 0),
        ("copy-none", GNTTABOP_COPY, 0),
        ("map-too-many", GNTTABOP_MAP_GRANT_REF, 0x8000_0000),
        ("copy-too-many", GNTTABOP_COPY, 0xffff_ffff),
    ] {
        t.case_of(format_args!("grant/count/{what}"), |r| {
            let page = pages::take();
            page.write(0, DomId::SELF.0);
            r.result(call(GRANT_TABLE_OP, [operation.into(), page.address(), count]));
        });
    }
}
