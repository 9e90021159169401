//! Copying by grants of form 1, and form 2 of the entries.

use xen_abi::grant_entry::*;
use xen_abi::grant_table::*;
use xen_abi::hypercall::GRANT_TABLE_OP;
use xen_abi::physmap::XENMAPIDX_GRANT_TABLE_STATUS;
use xen_abi::{DomId, Gfn, GrantRef};
use xenolith_guest_kit::pages::{self, Page};

use crate::calls::{self, call, grant};
use crate::domain::*;
use crate::grants::*;
use crate::runner::{Report, Runner};

const FROM: u32 = 50;
const TO: u32 = 51;

/// One end of a copy.
#[derive(Clone, Copy)]
enum End {
    Grant(DomId, u32, u16),
    Frame(DomId, Gfn, u16),
}

impl End {
    fn pointer(self) -> GnttabCopyPtr {
        let mut pointer = GnttabCopyPtr::default();
        match self {
            Self::Grant(dom, gref, offset) => {
                pointer.set_gref(GrantRef(gref));
                (pointer.domid, pointer.offset) = (dom, offset);
            }
            Self::Frame(dom, gfn, offset) => {
                pointer.set_gfn(gfn);
                (pointer.domid, pointer.offset) = (dom, offset);
            }
        }
        pointer
    }

    fn is_grant(self) -> bool {
        matches!(self, Self::Grant(..))
    }
}

fn element(source: End, dest: End, len: u16) -> GnttabCopy {
    let mut flags = GrantCopyFlags::empty();
    flags.set(GrantCopyFlags::SOURCE_GREF, source.is_grant());
    flags.set(GrantCopyFlags::DEST_GREF, dest.is_grant());
    GnttabCopy { source: source.pointer(), dest: dest.pointer(), len, flags, ..GnttabCopy::default() }
}

fn copy(r: &mut Report, source: End, dest: End, len: u16) {
    let mut a = element(source, dest, len);
    r.result(grant(GNTTABOP_COPY, &mut a)).field(name(a.status));
}

/// Two pages, granted by `FROM` and `TO` in version 1; the first holds a pattern.
fn pair() -> (&'static Page, &'static Page) {
    let (from, to) = (pages::take(), pages::take());
    for index in 0..512 {
        from.write(index * 8, 0x1111_0000_0000_0000 + index as u64);
    }
    give(FROM, GTF_PERMIT_ACCESS | GTF_READONLY, own_id(), from.gfn());
    give(TO, GTF_PERMIT_ACCESS, own_id(), to.gfn());
    (from, to)
}

/// Runs the cases.
pub fn run(t: &mut Runner) {
    good(t);
    bounds(t);
    wrong(t);
    arrays(t);
    form_2(t);
}

const ME: DomId = DomId::SELF;

fn good(t: &mut Runner) {
    t.case("grant-copy/grant-to-grant", |r| {
        let (_, to) = pair();
        copy(r, End::Grant(ME, FROM, 0), End::Grant(ME, TO, 0), 4096);
        r.hex(to.read(0)).hex(to.read(4088)).hex(flags(FROM).into()).hex(flags(TO).into());
    });
    t.case("grant-copy/grant-to-frame", |r| {
        let (_, to) = pair();
        copy(r, End::Grant(own_id(), FROM, 8), End::Frame(ME, to.gfn(), 16), 24);
        r.hex(to.read(8)).hex(to.read(16)).hex(to.read(32)).hex(to.read(40));
    });
    t.case("grant-copy/frame-to-grant", |r| {
        let (from, to) = pair();
        copy(r, End::Frame(ME, from.gfn(), 3), End::Grant(ME, TO, 5), 9);
        r.hex(to.read(0)).hex(to.read(8));
    });
    t.case("grant-copy/frame-to-frame", |r| {
        let (from, to) = pair();
        copy(r, End::Frame(ME, from.gfn(), 0), End::Frame(ME, to.gfn(), 0), 64);
        r.hex(to.read(56));
    });
    t.case("grant-copy/within-one-page", |r| {
        let (from, _) = pair();
        copy(r, End::Frame(ME, from.gfn(), 0), End::Frame(ME, from.gfn(), 2048), 8);
        r.hex(from.read(2048));
    });
    t.case("grant-copy/overlapping", |r| {
        let (from, _) = pair();
        copy(r, End::Frame(ME, from.gfn(), 0), End::Frame(ME, from.gfn(), 8), 64);
        r.hex(from.read(8)).hex(from.read(64));
    });
}

fn bounds(t: &mut Runner) {
    for (what, source, dest, len) in [
        ("nothing", 0, 0, 0),
        ("nothing-at-the-end", 4096, 0, 0),
        ("source-up-to-the-end", 4095, 0, 1),
        ("source-past-the-end", 4095, 0, 2),
        ("source-begins-past-the-end", 4096, 0, 1),
        ("source-offset-0xffff", 0xffff, 0, 1),
        ("dest-up-to-the-end", 0, 4095, 1),
        ("dest-past-the-end", 0, 4095, 2),
        ("dest-begins-past-the-end", 0, 4096, 1),
        ("dest-offset-0xffff", 0, 0xffff, 1),
        ("length-4097", 0, 0, 4097),
        ("length-0xffff", 0, 0, 0xffff),
        ("offset-and-length-wrap", 0xfff0, 0, 0x20),
    ] {
        t.case_of(format_args!("grant-copy/{what}"), |r| {
            let (_, to) = pair();
            copy(r, End::Grant(ME, FROM, source), End::Grant(ME, TO, dest), len);
            r.hex(to.read::<u8>(0).into());
        });
    }
}

fn wrong(t: &mut Runner) {
    let nobody = DomId(77);
    let (from, to) = (pages::take().gfn(), pages::take().gfn());
    let good = End::Frame(ME, to, 0);
    for (what, source, dest) in [
        ("source-grant-of-nobody", End::Grant(nobody, FROM, 0), good),
        ("dest-grant-of-nobody", End::Frame(ME, from, 0), End::Grant(nobody, TO, 0)),
        ("source-frame-of-nobody", End::Frame(nobody, from, 0), good),
        ("source-frame-by-own-number", End::Frame(own_id(), from, 0), good),
        ("dest-frame-by-own-number", End::Frame(ME, from, 0), End::Frame(own_id(), to, 0)),
        ("source-frame-of-io", End::Frame(DomId::IO, from, 0), good),
        ("source-grant-beyond-the-table", End::Grant(ME, 1 << 20, 0), good),
        ("source-grant-empty", End::Grant(ME, 60, 0), good),
        ("dest-grant-empty", End::Frame(ME, from, 0), End::Grant(ME, 60, 0)),
        ("dest-grant-read-only", End::Frame(ME, from, 0), End::Grant(ME, FROM, 0)),
        ("source-frame-nowhere", End::Frame(ME, SPARE, 0), good),
        ("dest-frame-nowhere", End::Frame(ME, from, 0), End::Frame(ME, SPARE, 0)),
        ("source-frame-beyond-all", End::Frame(ME, Gfn(u64::MAX), 0), good),
        ("source-frame-of-the-shared-page", End::Frame(ME, SHARED_INFO, 0), good),
        ("source-frame-of-the-grant-table", End::Frame(ME, GRANT_TABLE, 0), good),
    ] {
        t.case_of(format_args!("grant-copy/{what}"), |r| {
            let _ = pair();
            copy(r, source, dest, 16);
        });
    }
    t.case("grant-copy/grant-of-another-domain's", |r| {
        give(FROM, GTF_PERMIT_ACCESS, DomId(5), from);
        copy(r, End::Grant(ME, FROM, 0), good, 16);
    });
    t.case("grant-copy/grant-of-a-frame-nowhere", |r| {
        give(FROM, GTF_PERMIT_ACCESS, own_id(), SPARE);
        copy(r, End::Grant(ME, FROM, 0), good, 16);
        r.hex(flags(FROM).into());
    });
    t.case("grant-copy/unknown-flags", |r| {
        let (from, to) = pair();
        let mut a = element(End::Frame(ME, from.gfn(), 0), End::Frame(ME, to.gfn(), 0), 8);
        a.flags = GrantCopyFlags::from_bits_retain(0x80);
        r.result(grant(GNTTABOP_COPY, &mut a)).field(name(a.status)).hex(to.read(0));
    });
}

fn arrays(t: &mut Runner) {
    t.case("grant-copy/goes-on-after-a-bad-one", |r| {
        let (_, to) = pair();
        let list = pages::take();
        let good = element(End::Grant(ME, FROM, 0), End::Grant(ME, TO, 0), 8);
        let bad = element(End::Grant(ME, FROM, 4095), End::Grant(ME, TO, 0), 8);
        let last = element(End::Grant(ME, FROM, 16), End::Grant(ME, TO, 16), 8);
        for (index, element) in [good, bad, last].into_iter().enumerate() {
            calls::put(list.address(), index, element);
        }
        r.result(call(GRANT_TABLE_OP, [GNTTABOP_COPY.into(), list.address(), 3]));
        for index in 0..3 {
            r.field(name(calls::get::<GnttabCopy>(list.address(), index).status));
        }
        r.hex(to.read(0)).hex(to.read(16));
    });
    t.case("grant-copy/sixty-in-one-call", |r| {
        let (_, to) = pair();
        let list = pages::take();
        for index in 0..60_u16 {
            let offset = index * 64;
            let element = element(End::Grant(ME, FROM, offset), End::Grant(ME, TO, offset), 64);
            calls::put(list.address(), index.into(), element);
        }
        r.result(call(GRANT_TABLE_OP, [GNTTABOP_COPY.into(), list.address(), 60]));
        let okay = (0..60).filter(|i| calls::get::<GnttabCopy>(list.address(), *i).status == GNTST_OKAY).count();
        r.named("okay", okay).hex(to.read(59 * 64)).hex(to.read(60 * 64));
    });
    revoke(FROM);
    revoke(TO);
}

fn set_version(version: u32) -> i64 {
    grant(GNTTABOP_SET_VERSION, &mut GnttabSetVersion { version })
}

/// Runs `f` with form 2 on and its status words in place, and goes back to form 1.
fn in_form_2(r: &mut Report, f: impl FnOnce(&mut Report)) {
    let on = set_version(2);
    let placed = place(XENMAPIDX_GRANT_TABLE_STATUS, GRANT_STATUS);
    if (on, placed) == (0, 0) {
        f(r);
    } else {
        r.result(on).result(placed);
    }
    for gref in 8..256 {
        give_v2(gref, GrantV2FullPage::default(), 0);
    }
    r.named_result("back", set_version(1));
}

fn whole(gref: u32, flags: u16, page: &Page) {
    let hdr = GrantEntryHeader { flags: 0, domid: own_id() };
    give_v2(gref, GrantV2FullPage { hdr, pad0: 0, frame: page.gfn() }, flags);
}

fn part(gref: u32, page_off: u16, length: u16, page: &Page) {
    let hdr = GrantEntryHeader { flags: 0, domid: own_id() };
    give_v2(gref, GrantV2SubPage { hdr, page_off, length, frame: page.gfn() }, GTF_PERMIT_ACCESS | GTF_SUB_PAGE);
}

fn through(gref: u32, to: DomId, trans_domid: DomId, next: u32) {
    let hdr = GrantEntryHeader { flags: 0, domid: to };
    let entry = GrantV2Transitive { hdr, trans_domid, gref: GrantRef(next), ..GrantV2Transitive::default() };
    give_v2(gref, entry, GTF_TRANSITIVE);
}

fn form_2(t: &mut Runner) {
    t.case("grant-v2/map-a-whole-page", |r| {
        in_form_2(r, |r| {
            let page = pages::take();
            whole(FROM, GTF_PERMIT_ACCESS, page);
            let (result, mapping) = map(own_id(), FROM, address(GRANTED), GrantMapFlags::HOST_MAP);
            r.result(result).field(name(mapping.status)).hex(status_v2(FROM).into());
            r.field(name(unmap(mapping.handle, mapping.host_addr, 0).1)).hex(status_v2(FROM).into());
        });
    });
    t.case("grant-v2/map-a-read-only-page-for-writing", |r| {
        in_form_2(r, |r| {
            whole(FROM, GTF_PERMIT_ACCESS | GTF_READONLY, pages::take());
            let (result, mapping) = map(own_id(), FROM, address(GRANTED), GrantMapFlags::HOST_MAP);
            r.result(result).field(name(mapping.status)).hex(status_v2(FROM).into());
        });
    });
    t.case("grant-v2/map-a-part-of-a-page", |r| {
        in_form_2(r, |r| {
            part(FROM, 0, 128, pages::take());
            let (result, mapping) = map(own_id(), FROM, address(GRANTED), GrantMapFlags::HOST_MAP);
            r.result(result).field(name(mapping.status)).hex(status_v2(FROM).into());
        });
    });
    t.case("grant-v2/map-through-a-third-domain", |r| {
        in_form_2(r, |r| {
            whole(FROM, GTF_PERMIT_ACCESS, pages::take());
            through(TO, own_id(), own_id(), FROM);
            let (result, mapping) = map(own_id(), TO, address(GRANTED), GrantMapFlags::HOST_MAP);
            r.result(result).field(name(mapping.status)).hex(status_v2(TO).into());
        });
    });
    t.case("grant-v2/copy-a-whole-page", |r| {
        in_form_2(r, |r| {
            let (from, to) = (pages::take(), pages::take());
            from.write(0, 0xabcd_u64);
            whole(FROM, GTF_PERMIT_ACCESS, from);
            copy(r, End::Grant(ME, FROM, 0), End::Frame(ME, to.gfn(), 0), 4096);
            r.hex(to.read(0)).hex(status_v2(FROM).into());
        });
    });
    for (what, offset, len) in [
        ("all-of-a-part", 64, 128),
        ("inside-a-part", 70, 10),
        ("before-a-part", 63, 10),
        ("past-a-part", 64, 129),
        ("begins-past-a-part", 192, 1),
        ("nothing-of-a-part", 64, 0),
    ] {
        t.case_of(format_args!("grant-v2/copy-{what}"), |r| {
            in_form_2(r, |r| {
                let (from, to) = (pages::take(), pages::take());
                from.fill(0x42);
                part(FROM, 64, 128, from);
                copy(r, End::Grant(ME, FROM, offset), End::Frame(ME, to.gfn(), 0), len);
                r.hex(to.read::<u8>(0).into()).hex(status_v2(FROM).into());
            });
        });
    }
    t.case("grant-v2/copy-a-part-that-leaves-the-page", |r| {
        in_form_2(r, |r| {
            part(FROM, 4000, 200, pages::take());
            copy(r, End::Grant(ME, FROM, 4000), End::Frame(ME, pages::take().gfn(), 0), 96);
            copy(r, End::Grant(ME, FROM, 4000), End::Frame(ME, pages::take().gfn(), 0), 97);
        });
    });
    for (what, to, third, next) in [
        ("self", own_id(), own_id(), FROM),
        ("nobody", own_id(), DomId(77), FROM),
        ("empty-entry", own_id(), own_id(), 200),
        ("itself", own_id(), own_id(), TO),
        ("for-another-domain", DomId(5), own_id(), FROM),
        ("beyond-the-table", own_id(), own_id(), 1 << 20),
    ] {
        t.case_of(format_args!("grant-v2/copy-through-{what}"), |r| {
            in_form_2(r, |r| {
                let (from, page) = (pages::take(), pages::take());
                from.fill(0x42);
                whole(FROM, GTF_PERMIT_ACCESS, from);
                through(TO, to, third, next);
                copy(r, End::Grant(ME, TO, 0), End::Frame(ME, page.gfn(), 0), 16);
                r.hex(page.read::<u8>(0).into()).hex(status_v2(TO).into()).hex(status_v2(FROM).into());
            });
        });
    }
    t.case("grant-v2/empty-entry", |r| {
        in_form_2(r, |r| {
            copy(r, End::Grant(ME, 60, 0), End::Frame(ME, pages::take().gfn(), 0), 16);
            let (result, mapping) = map(own_id(), 60, address(GRANTED), GrantMapFlags::HOST_MAP);
            r.result(result).field(name(mapping.status));
        });
    });
    t.case("grant-v2/back-to-form-1-while-in-use", |r| {
        in_form_2(r, |r| {
            whole(FROM, GTF_PERMIT_ACCESS, pages::take());
            let (_, mapping) = map(own_id(), FROM, address(GRANTED), GrantMapFlags::HOST_MAP);
            r.result(set_version(1));
            r.field(name(unmap(mapping.handle, mapping.host_addr, 0).1));
        });
    });
}
