//! The rules of grants, one by one.

use crate::memory::world::{GFN_LIMIT, Machine, PAGES};
use std::sync::atomic::Ordering;
use xen_abi::Errno;
use xen_abi::grant_entry::*;
use xen_abi::grant_table::GrantMapFlags;
use xenolith_core::components::grant::*;
use xenolith_hal::{DomId, Gfn, Gpa, GrantHandle, GrantRef, NestedSpace, PageKind, PageWords, Rights};

const GRANTER: u16 = 1;
const MAPPER: u16 = 2;
/// A free frame of the mapper.
const HOLE: Gpa = Gpa(0x100 << 12);
const REFERENCE: GrantRef = GrantRef(9);

fn entry_v1(flags: u16, domain: u16, frame: u32) -> u64 {
    u64::from(flags) | u64::from(domain) << 16 | u64::from(frame) << 32
}

fn machine() -> Machine {
    Machine::new(4, Limits::DEFAULT)
}

fn write_v1(machine: &Machine, reference: GrantRef, flags: u16, domain: u16, frame: u32) {
    let table = machine.table(GRANTER, Part::Entries, 0);
    table.store_u64(reference.0 as usize * 8, entry_v1(flags, domain, frame)).unwrap();
}

fn flags_v1(machine: &Machine, reference: GrantRef) -> u16 {
    machine.table(GRANTER, Part::Entries, 0).load_u16(reference.0 as usize * 8).unwrap()
}

/// Grants frame 3 to the mapper.
fn granted(flags: u16) -> Machine {
    let machine = machine();
    write_v1(&machine, REFERENCE, GTF_PERMIT_ACCESS | flags, MAPPER, 3);
    machine
}

fn request(at: Gpa, flags: GrantMapFlags) -> MapRequest {
    MapRequest { at, flags, reference: REFERENCE, granter: DomId(GRANTER) }
}

fn map_at(machine: &Machine, at: Gpa, flags: GrantMapFlags) -> Result<GrantHandle, Failure> {
    map(machine, machine.dom(MAPPER), request(at, flags)).map(|(handle, _)| handle)
}

fn map_rw(machine: &Machine) -> Result<GrantHandle, Failure> {
    map_at(machine, HOLE, GrantMapFlags::HOST_MAP)
}

const READONLY: GrantMapFlags = GrantMapFlags::HOST_MAP.union(GrantMapFlags::READONLY);

fn unmap(machine: &Machine, handle: GrantHandle, at: Gpa) -> Result<(), Failure> {
    match begin_unmap(machine, machine.dom(MAPPER), handle, at)? {
        Unmapping::Nothing => {}
        Unmapping::Leaves { .. } => finish_unmap(machine, machine.dom(MAPPER), handle),
    }
    Ok(())
}

fn references(machine: &Machine, dom: u16, gfn: u64) -> u32 {
    machine.frames.state(machine.mfn(dom, gfn)).unwrap().references
}

#[test]
fn a_granted_page_is_mapped_marked_and_let_go_again() {
    let machine = granted(0);
    let handle = map_rw(&machine).unwrap();
    let mapping = machine.dom(MAPPER).space.lookup(HOLE.gfn()).unwrap();
    assert_eq!((mapping.mfn, mapping.kind, mapping.rights), (machine.mfn(GRANTER, 3), PageKind::Grant, Rights::DATA));
    assert_eq!(flags_v1(&machine, REFERENCE), GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING);
    assert_eq!(references(&machine, GRANTER, 3), 2);
    unmap(&machine, handle, HOLE).unwrap();
    assert_eq!(flags_v1(&machine, REFERENCE), GTF_PERMIT_ACCESS);
    assert_eq!(machine.dom(MAPPER).space.lookup(HOLE.gfn()), None);
    machine.settle();
    assert_eq!(references(&machine, GRANTER, 3), 1);
    assert_eq!(unmap(&machine, handle, HOLE), Err(Failure::BadHandle));
}

#[test]
fn a_read_only_grant_is_mapped_only_for_reading() {
    let machine = granted(GTF_READONLY);
    assert_eq!(map_rw(&machine), Err(Failure::General));
    map_at(&machine, HOLE, READONLY).unwrap();
    assert_eq!(machine.dom(MAPPER).space.lookup(HOLE.gfn()).unwrap().rights, Rights::READ);
    assert_eq!(flags_v1(&machine, REFERENCE), GTF_PERMIT_ACCESS | GTF_READONLY | GTF_READING);
}

#[test]
fn what_cannot_be_mapped_is_refused_with_xens_status() {
    let machine = granted(0);
    let bad = |change: fn(&mut MapRequest)| {
        let mut request = request(HOLE, GrantMapFlags::HOST_MAP);
        change(&mut request);
        let refused = map(&machine, machine.dom(MAPPER), request).map(|_| ()).unwrap_err();
        assert_eq!((flags_v1(&machine, REFERENCE), references(&machine, GRANTER, 3)), (GTF_PERMIT_ACCESS, 1));
        refused
    };
    assert_eq!(bad(|r| r.flags = GrantMapFlags::READONLY), Failure::BadReference);
    assert_eq!(bad(|r| r.flags |= GrantMapFlags::DEVICE_MAP), Failure::General);
    assert_eq!(bad(|r| r.flags |= GrantMapFlags::CONTAINS_PTE), Failure::General);
    assert_eq!(bad(|r| r.granter = DomId(77)), Failure::BadDomain);
    assert_eq!(bad(|r| r.granter = DomId::SELF), Failure::BadDomain);
    assert_eq!(bad(|r| r.reference = GrantRef(512)), Failure::BadReference);
    assert_eq!(bad(|r| r.reference = GrantRef(u32::MAX)), Failure::BadReference);
    assert_eq!(bad(|r| r.reference = GrantRef(10)), Failure::General);
    assert_eq!(bad(|r| r.at = Gpa(GFN_LIMIT << 12)), Failure::General);
    assert_eq!(
        bad(|r| r.flags = GrantMapFlags::from_bits_retain(GrantMapFlags::HOST_MAP.bits() | 1 << 16)),
        Failure::General
    );
}

#[test]
fn a_third_domain_cannot_map() {
    let machine = granted(0);
    let refused = map(&machine, machine.dom(3), request(HOLE, GrantMapFlags::HOST_MAP));
    assert_eq!(refused.unwrap_err(), Failure::General);
}

#[test]
fn a_frame_that_is_not_the_granters_is_a_bad_page() {
    let machine = machine();
    write_v1(&machine, REFERENCE, GTF_PERMIT_ACCESS, MAPPER, 0x7777);
    assert_eq!(map_rw(&machine), Err(Failure::BadPage));
    assert_eq!(flags_v1(&machine, REFERENCE), GTF_PERMIT_ACCESS, "the marks are taken back");
}

#[test]
fn a_page_that_is_itself_a_grant_cannot_be_granted_on() {
    let machine = granted(0);
    map_rw(&machine).unwrap();
    let table = machine.table(MAPPER, Part::Entries, 0);
    table.store_u64(8 * 8, entry_v1(GTF_PERMIT_ACCESS, 3, HOLE.gfn().0 as u32)).unwrap();
    let again = MapRequest { reference: GrantRef(8), granter: DomId(MAPPER), ..request(HOLE, READONLY) };
    assert_eq!(map(&machine, machine.dom(3), again).unwrap_err(), Failure::BadPage);
}

#[test]
fn a_grant_in_use_keeps_its_page_whatever_the_guest_writes_over_it() {
    let machine = granted(0);
    let first = map_rw(&machine).unwrap();
    let marks = GTF_READING | GTF_WRITING;
    write_v1(&machine, REFERENCE, GTF_PERMIT_ACCESS | marks, 3, 4);
    let second = map_at(&machine, Gpa(HOLE.0 + 0x1000), GrantMapFlags::HOST_MAP).unwrap();
    assert_eq!(machine.mfn(MAPPER, HOLE.gfn().0 + 1), machine.mfn(GRANTER, 3));
    assert_eq!(map(&machine, machine.dom(3), request(HOLE, READONLY)).unwrap_err(), Failure::General);
    unmap(&machine, first, HOLE).unwrap();
    assert_eq!(flags_v1(&machine, REFERENCE) & marks, marks);
    unmap(&machine, second, Gpa(HOLE.0 + 0x1000)).unwrap();
    assert_eq!(flags_v1(&machine, REFERENCE) & marks, 0);
}

#[test]
fn the_mark_of_writing_goes_with_the_last_writer() {
    let machine = granted(0);
    let next = Gpa(HOLE.0 + 0x1000);
    let (writer, reader) = (map_rw(&machine).unwrap(), map_at(&machine, next, READONLY).unwrap());
    unmap(&machine, writer, HOLE).unwrap();
    assert_eq!(flags_v1(&machine, REFERENCE), GTF_PERMIT_ACCESS | GTF_READING);
    unmap(&machine, reader, next).unwrap();
    assert_eq!(flags_v1(&machine, REFERENCE), GTF_PERMIT_ACCESS);
}

#[test]
fn a_mapping_is_given_up_only_where_it_stands_and_with_its_own_rights() {
    let machine = granted(0);
    let next = Gpa(HOLE.0 + 0x1000);
    let (writer, _reader) = (map_rw(&machine).unwrap(), map_at(&machine, next, READONLY).unwrap());
    assert_eq!(unmap(&machine, writer, Gpa(0x2000)), Err(Failure::General));
    assert_eq!(unmap(&machine, writer, next), Err(Failure::General), "a reader's place for a writer's handle");
    assert_eq!(unmap(&machine, writer, Gpa(0)), Ok(()), "address 0 leaves it");
    assert_eq!(unmap(&machine, writer, HOLE), Ok(()));
    assert_eq!(unmap(&machine, GrantHandle(4711), HOLE), Err(Failure::BadHandle));
}

#[test]
fn the_granter_is_told_only_when_no_cpu_reaches_the_page() {
    let machine = granted(0);
    let handle = map_rw(&machine).unwrap();
    machine.other_cpu_lags.store(true, Ordering::SeqCst);
    let begun = begin_unmap(&machine, machine.dom(MAPPER), handle, HOLE);
    assert!(matches!(begun, Ok(Unmapping::Leaves { fresh: true, .. })));
    assert_ne!(flags_v1(&machine, REFERENCE) & GTF_WRITING, 0);
    let again = begin_unmap(&machine, machine.dom(MAPPER), handle, HOLE);
    assert!(matches!(again, Ok(Unmapping::Leaves { fresh: false, .. })));
    finish_unmap(&machine, machine.dom(MAPPER), handle);
    assert_eq!(flags_v1(&machine, REFERENCE), GTF_PERMIT_ACCESS);
}

#[test]
fn a_grant_over_a_page_of_ram_leaves_that_page_the_domains() {
    let machine = granted(0);
    let before = machine.mfn(MAPPER, 2);
    let handle = map_at(&machine, Gpa(2 << 12), GrantMapFlags::HOST_MAP).unwrap();
    assert_eq!(machine.frames.state(before).unwrap().owner, DomId(MAPPER));
    assert_eq!(map_at(&machine, Gpa(2 << 12), GrantMapFlags::HOST_MAP), Err(Failure::General), "over a grant");
    unmap(&machine, handle, Gpa(2 << 12)).unwrap();
    machine.settle();
    assert_eq!(machine.frames.account(DomId(MAPPER)).unwrap().total(), PAGES as u32);
}

#[test]
fn handles_and_uses_have_limits() {
    let machine = Machine::new(3, Limits { maptrack_frames: 1, ..Limits::DEFAULT });
    write_v1(&machine, REFERENCE, GTF_PERMIT_ACCESS, MAPPER, 3);
    for number in 0..128 {
        map_at(&machine, Gpa(HOLE.0 + (number << 12)), GrantMapFlags::HOST_MAP).unwrap();
    }
    assert_eq!(map_at(&machine, Gpa(1 << 24), GrantMapFlags::HOST_MAP), Err(Failure::General), "128 uses");
    write_v1(&machine, GrantRef(10), GTF_PERMIT_ACCESS, MAPPER, 3);
    let other = |number: u64| {
        let request = MapRequest { reference: GrantRef(10), ..request(Gpa((0x400 + number) << 12), READONLY) };
        map(&machine, machine.dom(MAPPER), request).map(|_| ())
    };
    (0..128).for_each(|number| other(number).unwrap());
    assert_eq!(other(128), Err(Failure::NoSpace));
}

#[test]
fn mappings_of_a_dead_domain_end() {
    let machine = granted(0);
    for number in 0..40 {
        map_at(&machine, Gpa(HOLE.0 + (number << 12)), GrantMapFlags::HOST_MAP).unwrap();
    }
    let mut from = Some(GrantHandle(0));
    let mut rounds = 0;
    while let Some(handle) = from {
        from = release_mappings(&machine, machine.dom(MAPPER), handle, 30);
        rounds += 1;
    }
    machine.settle();
    assert!(rounds > 1);
    assert_eq!((flags_v1(&machine, REFERENCE), references(&machine, GRANTER, 3)), (GTF_PERMIT_ACCESS, 1));
}

fn grant_end(reference: GrantRef, offset: u16) -> End {
    End { named: Named::Grant(reference), domain: DomId(GRANTER), offset }
}

fn own_end(gfn: u64, offset: u16) -> End {
    End { named: Named::Frame(Gfn(gfn)), domain: DomId::SELF, offset }
}

fn copy_as_mapper(machine: &Machine, from: End, to: End, length: u16) -> Result<(), Failure> {
    copy(machine, machine.dom(MAPPER), from, to, length)
}

#[test]
fn bytes_are_copied_out_of_a_grant_and_into_one() {
    let machine = granted(0);
    assert!(machine.page(GRANTER, 3).write_bytes(0x100, b"out of a grant"));
    copy_as_mapper(&machine, grant_end(REFERENCE, 0x100), own_end(1, 0x333), 14).unwrap();
    let mut read = [0; 14];
    assert!(machine.page(MAPPER, 1).read_bytes(0x333, &mut read));
    assert_eq!(&read, b"out of a grant");
    copy_as_mapper(&machine, own_end(1, 0), grant_end(REFERENCE, 0), 4096).unwrap();
    assert!(machine.page(GRANTER, 3).read_bytes(0x333, &mut read));
    assert_eq!(&read, b"out of a grant");
    assert_eq!((flags_v1(&machine, REFERENCE), references(&machine, GRANTER, 3)), (GTF_PERMIT_ACCESS, 1));
}

/// Returns the frames of a domain to which writes were noted, and forgets them.
fn noted(machine: &Machine, dom: u16) -> Vec<u64> {
    std::mem::take(&mut *machine.dom(dom).space.noted.lock().unwrap()).into_iter().collect()
}

#[test]
fn what_was_written_through_a_grant_counts_as_written_by_the_guest() {
    let machine = granted(0);
    let handle = map_rw(&machine).unwrap();
    unmap(&machine, handle, HOLE).unwrap();
    assert_eq!(noted(&machine, GRANTER), [3], "mapped writable");
    let handle = map_at(&machine, HOLE, READONLY).unwrap();
    unmap(&machine, handle, HOLE).unwrap();
    copy_as_mapper(&machine, grant_end(REFERENCE, 0), own_end(1, 0), 1).unwrap();
    assert_eq!((noted(&machine, GRANTER), noted(&machine, MAPPER)), (vec![], vec![1]), "read, copied from");
    copy_as_mapper(&machine, own_end(1, 0), grant_end(REFERENCE, 0), 1).unwrap();
    assert_eq!((noted(&machine, GRANTER), noted(&machine, MAPPER)), (vec![3], vec![]), "copied to");
    set_version(&machine, machine.dom(GRANTER), 2).unwrap();
    write_v2(&machine, GRANTER, REFERENCE.0, entry_v1(GTF_PERMIT_ACCESS, MAPPER, 0), 4);
    let handle = map_rw(&machine).unwrap();
    unmap(&machine, handle, HOLE).unwrap();
    assert_eq!(noted(&machine, GRANTER), [4], "in the second form");
}

#[test]
fn copies_are_refused_with_xens_status() {
    let machine = granted(GTF_READONLY);
    let (grant, own) = (grant_end(REFERENCE, 0), own_end(1, 0));
    let check = |from, to, length, expected| assert_eq!(copy_as_mapper(&machine, from, to, length), expected);
    check(own, grant, 1, Err(Failure::General));
    check(grant, own, 4096, Ok(()));
    check(End { offset: 4095, ..grant }, own, 2, Err(Failure::BadCopy));
    check(grant, End { offset: 4000, ..own }, 97, Err(Failure::BadCopy));
    check(grant, End { domain: DomId(MAPPER), ..own }, 1, Err(Failure::Denied));
    check(End { domain: DomId(99), ..own }, own, 1, Err(Failure::BadDomain));
    check(End { domain: DomId(99), ..grant }, own, 1, Err(Failure::BadDomain));
    check(grant_end(GrantRef(5000), 0), own, 1, Err(Failure::BadReference));
    check(grant, own_end(0x5555, 0), 1, Err(Failure::BadPage));
    assert_eq!(
        (flags_v1(&machine, REFERENCE), references(&machine, GRANTER, 3)),
        (GTF_PERMIT_ACCESS | GTF_READONLY, 1)
    );
}

fn write_v2(machine: &Machine, dom: u16, reference: u32, first: u64, second: u64) {
    let table: &PageWords = machine.table(dom, Part::Entries, 0);
    table.store_u64(reference as usize * 16 + 8, second).unwrap();
    table.store_u64(reference as usize * 16, first).unwrap();
}

fn status_v2(machine: &Machine, dom: u16, reference: u32) -> u16 {
    machine.table(dom, Part::Status, 0).load_u16(reference as usize * 2).unwrap()
}

#[test]
fn form_2_marks_its_use_in_a_word_apart() {
    let machine = machine();
    set_version(&machine, machine.dom(GRANTER), 2).unwrap();
    write_v2(&machine, GRANTER, REFERENCE.0, entry_v1(GTF_PERMIT_ACCESS, MAPPER, 0), 3);
    let handle = map_rw(&machine).unwrap();
    assert_eq!(machine.mfn(MAPPER, HOLE.gfn().0), machine.mfn(GRANTER, 3));
    assert_eq!(status_v2(&machine, GRANTER, REFERENCE.0), GTF_READING | GTF_WRITING);
    unmap(&machine, handle, HOLE).unwrap();
    assert_eq!(status_v2(&machine, GRANTER, REFERENCE.0), 0);
}

#[test]
fn a_part_of_a_page_is_copied_within_its_bounds_and_not_mapped() {
    let machine = machine();
    set_version(&machine, machine.dom(GRANTER), 2).unwrap();
    let part = 0x100 | 0x40 << 16;
    write_v2(&machine, GRANTER, REFERENCE.0, entry_v1(GTF_PERMIT_ACCESS | GTF_SUB_PAGE, MAPPER, part), 3);
    assert_eq!(map_rw(&machine), Err(Failure::General));
    let own = own_end(1, 0);
    assert_eq!(copy_as_mapper(&machine, grant_end(REFERENCE, 0x100), own, 0x40), Ok(()));
    assert_eq!(copy_as_mapper(&machine, grant_end(REFERENCE, 0xff), own, 2), Err(Failure::General));
    assert_eq!(copy_as_mapper(&machine, grant_end(REFERENCE, 0x100), own, 0x41), Err(Failure::General));
    assert_eq!(status_v2(&machine, GRANTER, REFERENCE.0), 0);
}

/// Domain 3 grants frame 5 to the granter, which passes it on to the mapper.
fn transitive() -> Machine {
    let machine = machine();
    set_version(&machine, machine.dom(GRANTER), 2).unwrap();
    let origin = machine.table(3, Part::Entries, 0);
    origin.store_u64(20 * 8, entry_v1(GTF_PERMIT_ACCESS, GRANTER, 5)).unwrap();
    write_v2(&machine, GRANTER, REFERENCE.0, entry_v1(GTF_TRANSITIVE, MAPPER, 3), 20);
    machine
}

#[test]
fn a_grant_that_is_passed_on_is_copied_and_both_are_marked_meanwhile() {
    let machine = transitive();
    assert!(machine.page(3, 5).write_bytes(7, b"third"));
    copy_as_mapper(&machine, grant_end(REFERENCE, 7), own_end(1, 0), 5).unwrap();
    let mut read = [0; 5];
    assert!(machine.page(MAPPER, 1).read_bytes(0, &mut read));
    assert_eq!(&read, b"third");
    let wish = Use { by: DomId(MAPPER), write: true, map: false };
    let pinned = pin(&machine, machine.dom(GRANTER), REFERENCE, wish).unwrap();
    let origin_flags = || machine.table(3, Part::Entries, 0).load_u16(20 * 8).unwrap();
    assert_eq!(origin_flags(), GTF_PERMIT_ACCESS | GTF_READING | GTF_WRITING);
    assert_eq!(status_v2(&machine, GRANTER, REFERENCE.0), GTF_READING | GTF_WRITING);
    machine.frames.put(pinned.page);
    unpin(&machine, machine.dom(GRANTER), REFERENCE, true);
    assert_eq!((origin_flags(), status_v2(&machine, GRANTER, REFERENCE.0)), (GTF_PERMIT_ACCESS, 0));
    assert_eq!(references(&machine, 3, 5), 1);
}

#[test]
fn a_grant_is_not_passed_on_to_itself_nor_twice_nor_mapped() {
    let machine = transitive();
    assert_eq!(map_rw(&machine), Err(Failure::General));
    write_v2(&machine, GRANTER, REFERENCE.0, entry_v1(GTF_TRANSITIVE, MAPPER, u32::from(GRANTER)), 20);
    assert_eq!(copy_as_mapper(&machine, grant_end(REFERENCE, 0), own_end(1, 0), 1), Err(Failure::General));
    set_version(&machine, machine.dom(3), 2).unwrap();
    write_v2(&machine, 3, 20, entry_v1(GTF_TRANSITIVE, GRANTER, 0), 1);
    write_v2(&machine, GRANTER, REFERENCE.0, entry_v1(GTF_TRANSITIVE, MAPPER, 3), 20);
    assert_eq!(copy_as_mapper(&machine, grant_end(REFERENCE, 0), own_end(1, 0), 1), Err(Failure::General));
    assert_eq!(status_v2(&machine, 3, 20), 0);
}

#[test]
fn the_form_changes_only_while_nothing_but_the_toolstacks_entries_is_in_use() {
    let machine = granted(0);
    let set = |version| set_version(&machine, machine.dom(GRANTER), version);
    assert_eq!(set(0), Err(Errno::EINVAL));
    assert_eq!(set(3), Err(Errno::EINVAL));
    assert_eq!(set(1), Ok(()));
    let handle = map_rw(&machine).unwrap();
    assert_eq!(set(2), Err(Errno::EBUSY));
    unmap(&machine, handle, HOLE).unwrap();
    write_v1(&machine, GrantRef(1), GTF_PERMIT_ACCESS, MAPPER, 6);
    let mapped = map(&machine, machine.dom(MAPPER), MapRequest { reference: GrantRef(1), ..request(HOLE, READONLY) });
    assert!(mapped.is_ok());
    assert_eq!(set(2), Ok(()));
    assert_eq!(status_v2(&machine, GRANTER, 1), GTF_READING);
    assert_eq!(machine.table(GRANTER, Part::Entries, 0).load_u64(16), Some(entry_v1(GTF_PERMIT_ACCESS, MAPPER, 0)));
    assert_eq!(machine.table(GRANTER, Part::Entries, 0).load_u64(REFERENCE.0 as usize * 16), Some(0));
    assert_eq!(set(1), Ok(()));
    assert_eq!(flags_v1(&machine, GrantRef(1)), GTF_PERMIT_ACCESS | GTF_READING);
    machine.settle();
    assert_eq!(machine.frames.account(DomId(GRANTER)).unwrap().shared(), 2, "the status words are gone");
}

#[test]
fn a_toolstack_may_forbid_form_2() {
    let machine = Machine::new(1, Limits { version: 1, ..Limits::DEFAULT });
    assert_eq!(set_version(&machine, machine.dom(0), 2), Err(Errno::ENOSYS));
}

#[test]
fn unused_entries_are_exchanged() {
    let machine = granted(0);
    let swap_them = |a, b| swap(&machine, machine.dom(GRANTER), GrantRef(a), GrantRef(b));
    assert_eq!(swap_them(REFERENCE.0, 30), Ok(()));
    assert_eq!((flags_v1(&machine, REFERENCE), flags_v1(&machine, GrantRef(30))), (0, GTF_PERMIT_ACCESS));
    let request = MapRequest { reference: GrantRef(30), ..request(HOLE, READONLY) };
    map(&machine, machine.dom(MAPPER), request).unwrap();
    assert_eq!(swap_them(REFERENCE.0, 30), Err(Failure::TryAgain));
    assert_eq!(swap_them(512, 1), Err(Failure::BadReference));
    assert_eq!(swap_them(4, 4), Ok(()));
}

#[test]
fn a_table_grows_to_its_limit() {
    let machine = Machine::new(1, Limits { frames: 9, ..Limits::DEFAULT });
    let dom = machine.dom(0);
    let source = Source { frames: &machine.frames, pages: &machine.heap, owner: dom.id };
    assert_eq!(dom.grants.with_shape(Shape::entry_count), 512);
    assert!(dom.grants.frame(Part::Entries, 3, &source).is_some());
    assert_eq!(dom.grants.with_shape(Shape::frame_count), 4);
    assert_eq!(dom.grants.frame(Part::Entries, 9, &source), None);
    assert_eq!(dom.grants.frame(Part::Status, 0, &source), None, "form 1 has none");
    assert_eq!(dom.grants.grow(10, &source), Err(CannotGrow));
    set_version(&machine, dom, 2).unwrap();
    assert!(dom.grants.frame(Part::Status, 0, &source).is_some());
    assert_eq!(dom.grants.frame(Part::Status, 1, &source), None, "it would need 16 frames of entries");
    assert!(dom.grants.grow(9, &source).is_ok());
    assert!(dom.grants.frame(Part::Status, 1, &source).is_some());
    assert_eq!(dom.grants.frame(Part::Entries, u32::MAX, &source), None);
}

#[test]
fn a_copy_within_a_page_goes_forward_word_by_word() {
    let machine = machine();
    machine.page(MAPPER, 1).store_u64(0, 0x1111).unwrap();
    copy_as_mapper(&machine, own_end(1, 0), own_end(1, 8), 67).unwrap();
    assert_eq!(machine.page(MAPPER, 1).load_u64(64), Some(0x1111));
    assert_eq!(machine.page(MAPPER, 1).load_u32(72), Some(0x1111));
}

#[test]
fn a_page_granted_to_oneself_may_be_granted_by_its_new_place() {
    let machine = machine();
    let table = machine.table(MAPPER, Part::Entries, 0);
    table.store_u64(9 * 8, entry_v1(GTF_PERMIT_ACCESS, MAPPER, 3)).unwrap();
    table.store_u64(10 * 8, entry_v1(GTF_PERMIT_ACCESS, MAPPER, HOLE.gfn().0 as u32)).unwrap();
    let mapped = |reference, at| {
        let request = MapRequest { reference: GrantRef(reference), granter: DomId(MAPPER), ..request(at, READONLY) };
        map(&machine, machine.dom(MAPPER), request)
    };
    assert!(mapped(9, HOLE).is_ok());
    assert!(mapped(10, Gpa(HOLE.0 + 0x1000)).is_ok());
}
