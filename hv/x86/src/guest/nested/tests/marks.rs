//! Marks for populate-on-demand: they split and merge as pages do, give way to pages, and are nothing to a lookup.

use super::{LIMITS, SMALL, ram, tables};
use alloc::vec::Vec;
use xenolith_hal::{FrameSource, Gfn, MapError, NestedSpace, PageKind, PageOrder, mark};

const LARGE: PageOrder = PageOrder::SIZE_2M;
const HUGE: PageOrder = PageOrder::SIZE_1G;

#[test]
fn a_mark_is_found_as_a_mark_alone() {
    for limits in [LIMITS, SMALL] {
        let (space, mut pool) = tables(8, limits);
        let gfn = Gfn(3 << 18);
        space.map(gfn, mark(gfn, HUGE), &mut pool).unwrap();
        let order = if limits.huge_pages { HUGE } else { LARGE };
        assert_eq!(space.mark_at(Gfn(gfn.0 + 0x3_0005)), (true, order));
        assert_eq!(space.lookup(Gfn(gfn.0 + 5)), None);
        assert_eq!(space.mark_at(Gfn(gfn.0 - 1)), (false, HUGE));
        assert_eq!(space.mark_at(Gfn(u64::MAX)), (false, HUGE));
    }
}

#[test]
fn pages_take_the_place_of_marks_and_need_no_table_for_it() {
    let (space, mut pool) = tables(5, LIMITS);
    space.map(Gfn(0x400), mark(Gfn(0x400), LARGE), &mut pool).unwrap();
    let generation = space.generation();
    assert_eq!(
        space.map(Gfn(0x405), ram(9, PageOrder::SIZE_4K), &mut pool),
        Err(MapError::Occupied),
        "in a larger one"
    );
    assert_eq!(space.unmap(Gfn(0x405), &mut pool).unwrap().unwrap().kind, PageKind::OnDemand);
    let rest: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
    space.map(Gfn(0x405), ram(9, PageOrder::SIZE_4K), &mut pool).unwrap();
    space.map(Gfn(0x406), ram(7, PageOrder::SIZE_4K), &mut pool).unwrap();
    assert_eq!((space.mark_at(Gfn(0x404)), space.mark_at(Gfn(0x405)).0), ((true, PageOrder::SIZE_4K), false));
    assert_eq!(space.lookup(Gfn(0x405)).unwrap().mfn.0, 9);
    assert_eq!(space.map(Gfn(0x400), ram(0x200, LARGE), &mut pool), Err(MapError::Occupied), "pages are in the way");
    for gfn in [0x405, 0x406] {
        space.unmap(Gfn(gfn), &mut pool).unwrap();
    }
    space.map(Gfn(0x400), ram(0x200, LARGE), &mut pool).unwrap();
    assert_eq!(space.lookup(Gfn(0x405)), Some(ram(0x205, LARGE)), "in place of marks and holes, as one page again");
    assert!(space.generation() > generation && !rest.is_empty());
}

#[test]
fn marks_beside_each_other_become_one_and_are_taken_whole() {
    let (space, mut pool) = tables(8, LIMITS);
    for gfn in (0x400..0x600).map(Gfn) {
        space.map(gfn, mark(gfn, PageOrder::SIZE_4K), &mut pool).unwrap();
    }
    assert_eq!(space.mark_at(Gfn(0x4ff)), (true, LARGE));
    space.map(Gfn(0x600), ram(0x200, LARGE), &mut pool).unwrap();
    let (first, taken) = space.take_next(Gfn(0), &mut pool).unwrap();
    assert_eq!((first, taken.kind, taken.order), (Gfn(0x400), PageKind::OnDemand, LARGE));
    assert_eq!(space.take_next(Gfn(0), &mut pool), Some((Gfn(0x600), ram(0x200, LARGE))));
    space.tear_down(&mut pool);
    assert_eq!(pool.taken(), 0);
}

#[test]
fn a_frame_that_is_marked_again_while_writes_are_tracked_counts_as_written() {
    let (space, mut pool) = tables(8, LIMITS);
    space.map(Gfn(0x400), ram(0x200, LARGE), &mut pool).unwrap();
    space.set_tracked(0..0x800);
    while space.retrack(Gfn(0), &mut pool).is_some_and(|next| next < Gfn(0x600)) {}
    space.unmap(Gfn(0x403), &mut pool).unwrap();
    let _ = space.written(Gfn(0x400), true, &mut pool);
    space.map(Gfn(0x403), mark(Gfn(0x403), PageOrder::SIZE_4K), &mut pool).unwrap();
    assert_eq!(space.written(Gfn(0x400), false, &mut pool)[0], 1 << 3);
    space.set_tracked(0..0);
    while space.retrack(Gfn(0), &mut pool).is_some_and(|next| next < Gfn(0x600)) {}
    assert_eq!((space.lookup(Gfn(0x403)), space.mark_at(Gfn(0x403)).0), (None, true));
}
