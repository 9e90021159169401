//! What devices find by the tables that follow.

use super::*;

#[test]
fn devices_reach_what_is_mapped_and_no_more() {
    let (space, mut pool) = tables(16, LIMITS);
    let devices = space.follow_for_devices(&mut pool).unwrap();
    space.map(Gfn(0x400), ram(0x1_0000, PageOrder::SIZE_2M), &mut pool).unwrap();
    assert_eq!(devices.walk(Gfn(0x401)), Some((Mfn(0x1_0001), Rights::DATA)));
    space.unmap(Gfn(0x401), &mut pool).unwrap();
    assert_eq!((devices.walk(Gfn(0x401)), space.lookup(Gfn(0x401))), (None, None));
    let grant = Mapping { rights: Rights::READ, kind: PageKind::Grant, ..ram(77, PageOrder::SIZE_4K) };
    space.map(Gfn(0x401), grant, &mut pool).unwrap();
    assert_eq!(devices.walk(Gfn(0x401)), Some((Mfn(77), Rights::READ)));
    let registers = Mapping { kind: PageKind::Mmio, ..ram(0x9000, PageOrder::SIZE_4K) };
    space.map(Gfn(0x9000), registers, &mut pool).unwrap();
    assert_eq!(devices.walk(Gfn(0x9000)), None);
}

#[test]
fn what_devices_cannot_reach_for_want_of_memory_is_not_mapped_at_all() {
    for frames in 2..8 {
        let (space, mut pool) = tables(frames, LIMITS);
        let devices = space.follow_for_devices(&mut pool).unwrap();
        let mapped = space.map(Gfn(5), ram(9, PageOrder::SIZE_4K), &mut pool);
        assert_eq!(mapped.is_ok(), frames >= 8);
        assert_eq!((space.lookup(Gfn(5)), devices.walk(Gfn(5))), (None, None), "{frames}");
    }
}

#[test]
fn a_page_that_cannot_be_taken_away_stays_for_both() {
    let (space, mut pool) = tables(6, LIMITS);
    let devices = space.follow_for_devices(&mut pool).unwrap();
    space.map(Gfn(0x400), ram(0x400, PageOrder::SIZE_2M), &mut pool).unwrap();
    assert_eq!(space.unmap(Gfn(0x400), &mut pool), Err(MapError::NoMemory));
    assert_eq!(devices.walk(Gfn(0x400)).map(|(mfn, _)| mfn), Some(Mfn(0x400)));
    assert!(space.lookup(Gfn(0x400)).is_some());
}

#[test]
fn devices_follow_from_the_beginning_or_not_at_all() {
    let (space, mut pool) = tables(16, LIMITS);
    space.map(Gfn(5), ram(9, PageOrder::SIZE_4K), &mut pool).unwrap();
    assert!(matches!(space.follow_for_devices(&mut pool), Err(MapError::Occupied)));
}

#[test]
fn what_is_taken_page_by_page_is_taken_from_devices_too() {
    let (space, mut pool) = tables(16, LIMITS);
    let devices = space.follow_for_devices(&mut pool).unwrap();
    space.map(Gfn(0x400), ram(0x400, PageOrder::SIZE_2M), &mut pool).unwrap();
    space.map(Gfn(0x601), ram(7, PageOrder::SIZE_4K), &mut pool).unwrap();
    assert_eq!(space.take_next(Gfn(0), &mut pool).map(|(gfn, _)| gfn), Some(Gfn(0x400)));
    assert_eq!((devices.walk(Gfn(0x5ff)), devices.walk(Gfn(0x601)).is_some()), (None, true));
    assert_eq!(space.take_next(Gfn(0), &mut pool).map(|(gfn, _)| gfn), Some(Gfn(0x601)));
    assert_eq!(devices.walk(Gfn(0x601)), None);
}

#[test]
fn of_a_page_that_is_larger_for_devices_they_lose_the_part_that_is_taken_away() {
    // Without huge pages the CPU has a gigabyte as large ones, where devices have it whole.
    let (space, mut pool) = tables(16, SMALL);
    let devices = space.follow_for_devices(&mut pool).unwrap();
    space.map(Gfn(0), ram(1 << 18, PageOrder::SIZE_1G), &mut pool).unwrap();
    assert_eq!(space.take_next(Gfn(0x205), &mut pool).map(|(gfn, page)| (gfn, page.order.0)), Some((Gfn(0x200), 9)));
    let reached = |gfn| devices.walk(Gfn(gfn)).map(|(mfn, _)| mfn);
    assert_eq!([0x200, 0x3ff].map(reached), [None; 2]);
    assert_eq!([0x1ff, 0x400].map(reached), [Some(Mfn(0x4_01ff)), Some(Mfn(0x4_0400))]);
}

#[test]
fn devices_lose_a_larger_page_whole_if_there_is_no_memory_to_split_it() {
    // Two roots, two tables of the CPU's and one of the devices'.
    let (space, mut pool) = tables(5, SMALL);
    let devices = space.follow_for_devices(&mut pool).unwrap();
    space.map(Gfn(0), ram(1 << 18, PageOrder::SIZE_1G), &mut pool).unwrap();
    assert_eq!(pool.taken(), 5);
    space.take_next(Gfn(0), &mut pool).unwrap();
    assert_eq!([0, 0x200].map(|gfn| devices.walk(Gfn(gfn))), [None; 2]);
    assert!(space.lookup(Gfn(0x200)).is_some());
}

#[test]
fn a_large_page_that_devices_cannot_reach_for_want_of_memory_is_not_mapped_either() {
    for order in [PageOrder::SIZE_2M, PageOrder::SIZE_1G] {
        for frames in 2..8 {
            let (space, mut pool) = tables(frames, SMALL);
            let devices = space.follow_for_devices(&mut pool).unwrap();
            let mapped = space.map(Gfn(0), ram(1 << 18, order), &mut pool).is_ok();
            let found = [space.lookup(Gfn(0)).is_some(), devices.walk(Gfn(0)).is_some()];
            assert_eq!(found, [mapped; 2], "{order:?}, {frames} frames");
        }
    }
}
