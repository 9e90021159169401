//! The tables against a naive model, and against readers that look on while they change.

mod devices;
mod marks;
mod tracking;

use super::{NestedTables, TableLimits};
use crate::guest::frame_pool::Pool;
use alloc::collections::BTreeMap;
use proptest::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use xenolith_hal::{CpuId, Gfn, MapError, Mapping, Mfn, NestedSpace, PageKind, PageOrder, Rights};

const LIMITS: TableLimits = TableLimits { address_bits: 40, huge_pages: true };
const SMALL: TableLimits = TableLimits { address_bits: 40, huge_pages: false };

type Tables = NestedTables<Pool>;

fn tables(frames: u64, limits: TableLimits) -> (Tables, Pool) {
    let mut pool = Pool::new(frames);
    (NestedTables::new(pool.clone(), limits, 2, &mut pool).unwrap(), pool)
}

fn ram(mfn: u64, order: PageOrder) -> Mapping {
    Mapping { mfn: Mfn(mfn), order, rights: Rights::ALL, kind: PageKind::Ram }
}

#[test]
fn nothing_is_mapped_at_first() {
    let (space, _) = tables(1, LIMITS);
    assert_eq!(space.lookup(Gfn(0)), None);
    assert_eq!(space.lookup(Gfn(u64::MAX)), None);
}

#[test]
fn a_large_page_is_found_under_each_of_its_frames() {
    let (space, mut pool) = tables(8, LIMITS);
    space.map(Gfn(0x400), ram(0x1_0000, PageOrder::SIZE_2M), &mut pool).unwrap();
    assert_eq!(space.lookup(Gfn(0x400 + 77)), Some(ram(0x1_0000 + 77, PageOrder::SIZE_2M)));
    assert_eq!(space.lookup(Gfn(0x600)), None);
    assert_eq!(pool.taken(), 3);
}

#[test]
fn what_is_mapped_cannot_be_mapped_over() {
    let (space, mut pool) = tables(8, LIMITS);
    space.map(Gfn(0x401), ram(1, PageOrder::SIZE_4K), &mut pool).unwrap();
    for (gfn, order) in [(0x401, PageOrder::SIZE_4K), (0x400, PageOrder::SIZE_2M), (0, PageOrder::SIZE_1G)] {
        assert_eq!(space.map(Gfn(gfn), ram(0, order), &mut pool), Err(MapError::Occupied));
    }
    space.map(Gfn(0x600), ram(0x200, PageOrder::SIZE_2M), &mut pool).unwrap();
    assert_eq!(space.map(Gfn(0x601), ram(1, PageOrder::SIZE_4K), &mut pool), Err(MapError::Occupied));
}

#[test]
fn frames_must_be_aligned_and_within_reach() {
    let (space, mut pool) = tables(8, LIMITS);
    let mut map = |gfn, mfn, order| space.map(Gfn(gfn), ram(mfn, PageOrder(order)), &mut pool);
    assert_eq!(map(1, 0, 9), Err(MapError::Unaligned));
    assert_eq!(map(0, 1, 9), Err(MapError::Unaligned));
    assert_eq!(map(0, 0, 1), Err(MapError::Unaligned));
    assert_eq!(map(1 << 36, 0, 0), Err(MapError::OutOfRange));
    assert_eq!(map(0, 1 << 28, 0), Err(MapError::OutOfRange));
    assert_eq!(map(u64::MAX, u64::MAX, 0), Err(MapError::OutOfRange));
    assert_eq!(map((1 << 36) - 1, (1 << 28) - 1, 0), Ok(()));
}

#[test]
fn the_next_page_is_taken_whole_and_holes_are_passed_over() {
    let (space, mut pool) = tables(32, LIMITS);
    let pages = [
        (0x401, ram(7, PageOrder::SIZE_4K)),
        (0x600, ram(0x200, PageOrder::SIZE_2M)),
        (0x8_0000, ram(1 << 18, PageOrder::SIZE_1G)),
        ((1 << 36) - 1, ram(9, PageOrder::SIZE_4K)),
    ];
    for (gfn, page) in pages {
        space.map(Gfn(gfn), page, &mut pool).unwrap();
    }
    assert_eq!(space.take_next(Gfn(0x402), &mut pool), Some((Gfn(0x600), pages[1].1)));
    assert_eq!(space.lookup(Gfn(0x601)), None);
    // A page that begins before the frame is taken too.
    assert_eq!(space.take_next(Gfn(0x8_0005), &mut pool), Some((Gfn(0x8_0000), pages[2].1)));
    assert_eq!(space.take_next(Gfn(0), &mut pool), Some((Gfn(0x401), pages[0].1)));
    assert_eq!(space.take_next(Gfn(0), &mut pool), Some((Gfn((1 << 36) - 1), pages[3].1)));
    assert_eq!(space.take_next(Gfn(0), &mut pool), None);
    assert_eq!(pool.taken(), 1);
}

#[test]
fn a_pool_that_runs_dry_changes_nothing() {
    let (space, mut pool) = tables(3, LIMITS);
    assert_eq!(space.map(Gfn(0), ram(0, PageOrder::SIZE_4K), &mut pool), Err(MapError::NoMemory));
    assert_eq!(pool.taken(), 1);
    space.map(Gfn(0), ram(0, PageOrder::SIZE_1G), &mut pool).unwrap();
    assert_eq!(space.unmap(Gfn(5), &mut pool), Err(MapError::NoMemory));
    assert_eq!(space.lookup(Gfn(5)), Some(ram(5, PageOrder::SIZE_1G)));
    assert_eq!(pool.taken(), 2);
}

#[test]
fn a_hole_splits_a_huge_page_and_filling_it_joins_it_again() {
    let (space, mut pool) = tables(8, LIMITS);
    space.map(Gfn(0), ram(1 << 18, PageOrder::SIZE_1G), &mut pool).unwrap();
    assert_eq!(space.unmap(Gfn(0x2_0005), &mut pool), Ok(Some(ram((1 << 18) + 0x2_0005, PageOrder::SIZE_1G))));
    assert_eq!(space.lookup(Gfn(0x2_0005)), None);
    assert_eq!(space.lookup(Gfn(0x2_0006)), Some(ram((1 << 18) + 0x2_0006, PageOrder::SIZE_4K)));
    assert_eq!(space.lookup(Gfn(0x2_0200)), Some(ram((1 << 18) + 0x2_0200, PageOrder::SIZE_2M)));
    assert_eq!(pool.taken(), 4);
    space.map(Gfn(0x2_0005), ram((1 << 18) + 0x2_0005, PageOrder::SIZE_4K), &mut pool).unwrap();
    assert_eq!(space.lookup(Gfn(0x2_0005)), Some(ram((1 << 18) + 0x2_0005, PageOrder::SIZE_1G)));
    assert_eq!(pool.taken(), 2);
}

#[test]
fn pages_that_differ_in_anything_are_not_joined() {
    let (space, mut pool) = tables(8, LIMITS);
    space.map(Gfn(0), ram(0x200, PageOrder::SIZE_2M), &mut pool).unwrap();
    space.unmap(Gfn(511), &mut pool).unwrap();
    let other = [
        ram(0x200, PageOrder::SIZE_4K),
        Mapping { rights: Rights::DATA, ..ram(0x3ff, PageOrder::SIZE_4K) },
        Mapping { kind: PageKind::Foreign, ..ram(0x3ff, PageOrder::SIZE_4K) },
    ];
    for mapping in other {
        space.map(Gfn(511), mapping, &mut pool).unwrap();
        assert_eq!(space.lookup(Gfn(0)).unwrap().order, PageOrder::SIZE_4K);
        assert_eq!(space.unmap(Gfn(511), &mut pool), Ok(Some(mapping)));
    }
}

#[test]
fn without_huge_pages_a_gigabyte_is_made_of_large_ones() {
    let (space, mut pool) = tables(8, SMALL);
    space.map(Gfn(0), ram(1 << 18, PageOrder::SIZE_1G), &mut pool).unwrap();
    assert_eq!(space.lookup(Gfn(0x3_ffff)), Some(ram((1 << 18) + 0x3_ffff, PageOrder::SIZE_2M)));
    assert_eq!(pool.taken(), 3);
}

#[test]
fn a_table_that_a_cpu_may_still_walk_is_not_used_again() {
    let (space, mut pool) = tables(8, LIMITS);
    space.map(Gfn(0), ram(0, PageOrder::SIZE_4K), &mut pool).unwrap();
    space.residency().enter(CpuId(1)).unwrap();
    space.unmap(Gfn(0), &mut pool).unwrap();
    assert_eq!(pool.taken(), 4, "three tables wait for the CPU");
    space.residency().leave(CpuId(1));
    space.map(Gfn(0), ram(0, PageOrder::SIZE_4K), &mut pool).unwrap();
    space.unmap(Gfn(0), &mut pool).unwrap();
    assert_eq!(pool.taken(), 1);
}

#[test]
fn with_too_many_waiting_tables_pages_stay_small_and_right() {
    let (space, mut pool) = tables(512, LIMITS);
    space.residency().enter(CpuId(0)).unwrap();
    for round in 0..40 {
        space.map(Gfn(round << 18), ram(round, PageOrder::SIZE_4K), &mut pool).unwrap();
        space.unmap(Gfn(round << 18), &mut pool).unwrap();
        assert_eq!(space.lookup(Gfn(round << 18)), None);
        space.map(Gfn(round << 18), ram(round << 18, PageOrder::SIZE_1G), &mut pool).unwrap();
        let found = space.lookup(Gfn((round << 18) + 3)).unwrap();
        assert_eq!(found.mfn, Mfn((round << 18) + 3));
    }
    space.residency().leave(CpuId(0));
    space.tear_down(&mut pool);
    assert_eq!(pool.taken(), 0);
}

#[test]
fn the_generation_rises_when_something_is_taken_away_and_only_then() {
    let (space, mut pool) = tables(8, LIMITS);
    let start = space.generation();
    space.map(Gfn(0), ram(0, PageOrder::SIZE_2M), &mut pool).unwrap();
    space.unmap(Gfn(0x200), &mut pool).unwrap();
    assert_eq!(space.generation(), start);
    space.unmap(Gfn(0), &mut pool).unwrap();
    assert!(space.generation() > start);
}

#[test]
fn a_space_that_was_torn_down_is_empty_and_has_no_root() {
    let (space, mut pool) = tables(16, LIMITS);
    for gfn in [0, 1 << 20, 1 << 30] {
        space.map(Gfn(gfn), ram(7, PageOrder::SIZE_4K), &mut pool).unwrap();
    }
    space.tear_down(&mut pool);
    assert_eq!(pool.taken(), 0);
    assert_eq!((space.root(), space.lookup(Gfn(0))), (None, None));
    assert_eq!(space.unmap(Gfn(0), &mut pool), Ok(None));
    assert_eq!(space.map(Gfn(0), ram(7, PageOrder::SIZE_4K), &mut pool), Err(MapError::OutOfRange));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Map {
        gfn: u64,
        order: PageOrder,
        shift: u64,
        rights: Rights,
    },
    Unmap {
        gfn: u64,
    },
    SetRights {
        gfn: u64,
        rights: Rights,
    },
    /// A CPU enters or leaves.
    Cpu(bool),
}

/// Frames at the edges of large pages in three gigabytes, so that steps meet each other.
fn frame() -> impl Strategy<Value = u64> {
    let edge = prop_oneof![Just(0u64), Just(1), Just(7), Just(510), Just(511)];
    (prop_oneof![Just(0u64), Just(1), Just(300)], 0u64..3, edge).prop_map(|(g, m, e)| (g << 18) + (m << 9) + e)
}

fn step() -> impl Strategy<Value = Step> {
    let order = prop_oneof![
        4 => Just(PageOrder::SIZE_4K),
        3 => Just(PageOrder::SIZE_2M),
        1 => Just(PageOrder::SIZE_1G),
    ];
    let shift = prop_oneof![5 => Just(0u64), 1 => Just(1u64 << 18), 1 => Just(3u64)];
    let rights = prop_oneof![5 => Just(Rights::ALL), 1 => Just(Rights::READ), 1 => Just(Rights::empty())];
    prop_oneof![
        3 => (frame(), rights.clone()).prop_map(|(gfn, rights)| Step::SetRights { gfn, rights }),
        6 => (frame(), order, shift, rights).prop_map(|(gfn, order, shift, rights)| Step::Map {
            gfn: gfn & !(order.pages() - 1),
            order,
            shift,
            rights,
        }),
        5 => frame().prop_map(|gfn| Step::Unmap { gfn }),
        1 => any::<bool>().prop_map(Step::Cpu),
    ]
}

type Model = BTreeMap<u64, (u64, Rights)>;

fn model_map(model: &mut Model, gfn: u64, order: PageOrder, shift: u64, rights: Rights) -> Result<(), MapError> {
    if !order.aligned(gfn + shift) {
        return Err(MapError::Unaligned);
    }
    if model.range(gfn..gfn + order.pages()).next().is_some() {
        return Err(MapError::Occupied);
    }
    model.extend((gfn..gfn + order.pages()).map(|at| (at, (at + shift, rights))));
    Ok(())
}

fn whole(model: &Model, gfn: u64, order: PageOrder) -> bool {
    let start = gfn & !(order.pages() - 1);
    let Some((first, rights)) = model.get(&start).copied() else { return false };
    order.aligned(first)
        && model.range(start..start + order.pages()).count() as u64 == order.pages()
        && model.range(start..start + order.pages()).all(|(at, entry)| *entry == (first + (at - start), rights))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn the_tables_say_what_a_plain_map_says(
        steps in prop::collection::vec(step(), 1..30),
        huge_pages in any::<bool>(),
    ) {
        let limits = TableLimits { address_bits: 40, huge_pages };
        let (space, mut pool) = tables(4096, limits);
        let mut model = Model::new();
        let mut visited = false;
        for step in steps {
            let touched = match step {
                Step::Map { gfn, order, shift, rights } => {
                    let mapping = Mapping { rights, ..ram(gfn + shift, order) };
                    let done = space.map(Gfn(gfn), mapping, &mut pool);
                    prop_assert_eq!(done, model_map(&mut model, gfn, order, shift, rights));
                    gfn
                }
                Step::Unmap { gfn } => {
                    let before = space.generation();
                    let taken = space.unmap(Gfn(gfn), &mut pool).unwrap();
                    prop_assert_eq!(taken.map(|found| (found.mfn.0, found.rights)), model.remove(&gfn));
                    prop_assert!(taken.is_none() || space.generation() > before);
                    gfn
                }
                Step::SetRights { gfn, rights } => {
                    let before = space.generation();
                    space.set_rights(Gfn(gfn), rights, &mut pool).unwrap();
                    if let Some(there) = model.get_mut(&gfn).filter(|there| there.1 != rights) {
                        there.1 = rights;
                        prop_assert!(space.generation() > before);
                    }
                    gfn
                }
                Step::Cpu(true) => { visited = true; space.residency().enter(CpuId(0)).unwrap(); continue }
                Step::Cpu(false) => { space.residency().leave(CpuId(0)); continue }
            };
            for gfn in touched.saturating_sub(2)..touched + 515 {
                let found = space.lookup(Gfn(gfn));
                prop_assert_eq!(found.map(|found| (found.mfn.0, found.rights)), model.get(&gfn).copied());
            }
            let order = space.lookup(Gfn(touched)).map_or(PageOrder::SIZE_4K, |found| found.order);
            if !visited {
                prop_assert_eq!(order >= PageOrder::SIZE_2M, whole(&model, touched, PageOrder::SIZE_2M));
                prop_assert_eq!(order == PageOrder::SIZE_1G, huge_pages && whole(&model, touched, PageOrder::SIZE_1G));
            }
        }
        space.residency().leave(CpuId(0));
        for gfn in model.keys() {
            prop_assert!(space.lookup(Gfn(*gfn)).is_some());
        }
        space.tear_down(&mut pool);
        prop_assert_eq!(pool.taken(), 0);
    }
}

#[test]
fn a_reader_always_sees_a_page_whose_rights_change() {
    let (space, mut pool) = tables(16, LIMITS);
    space.map(Gfn(0), ram(0x200, PageOrder::SIZE_2M), &mut pool).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (space, stop) = (&space, &stop);
        scope.spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(space.lookup(Gfn(5)).map(|found| found.mfn), Some(Mfn(0x205)));
            }
        });
        for _ in 0..20_000 {
            space.set_rights(Gfn(5), Rights::READ, &mut pool).unwrap();
            assert_eq!(space.lookup(Gfn(5)).map(|found| found.rights), Some(Rights::READ));
            space.set_rights(Gfn(5), Rights::ALL, &mut pool).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(space.lookup(Gfn(5)), Some(ram(0x205, PageOrder::SIZE_2M)), "it is one page again");
}

#[test]
fn a_reader_never_sees_a_frame_that_was_not_mapped_there() {
    // So few frames that a table which is taken out is soon another one.
    let (space, mut pool) = tables(6, LIMITS);
    let stop = AtomicBool::new(false);
    const SHIFT: u64 = 1 << 20;
    std::thread::scope(|scope| {
        for reader in 0..2u64 {
            let (space, stop) = (&space, &stop);
            scope.spawn(move || {
                let mut gfn = reader;
                while !stop.load(Ordering::Relaxed) {
                    gfn = (gfn * 5 + 3) & 0xfff;
                    if let Some(found) = space.lookup(Gfn(gfn)) {
                        assert_eq!(found.mfn, Mfn(gfn + SHIFT));
                    }
                }
            });
        }
        for round in 0..3000u64 {
            let base = (round % 4) * 0x200;
            let order = if round % 3 == 0 { PageOrder::SIZE_4K } else { PageOrder::SIZE_2M };
            space.map(Gfn(base), ram(base + SHIFT, order), &mut pool).unwrap();
            space.unmap(Gfn(base), &mut pool).unwrap();
            for gfn in base + 1..base + order.pages() {
                space.unmap(Gfn(gfn), &mut pool).unwrap();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(pool.taken(), 1);
}
