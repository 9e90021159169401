//! What memory operations do to domains.

use crate::memory::world::{GFN_LIMIT, Machine, PAGES};
use xen_abi::Errno;
use xen_abi::physmap::*;
use xenolith_core::components::grant::{Limits, Part, World};
use xenolith_core::components::placing::place::{Item, place, release_memory, unplace};
use xenolith_core::memory::frames::ANYWHERE;
use xenolith_core::memory::populate::{Extent, populate_extent, remove_extent};
use xenolith_hal::{DomId, Gfn, NestedSpace, PageKind, PageOrder};

const HOLE: Gfn = Gfn(0x100);

fn machine() -> Machine {
    Machine::new(3, Limits { frames: 2, ..Limits::DEFAULT })
}

fn put(machine: &Machine, caller: u16, target: u16, item: Item, gfn: Gfn) -> Result<(), Errno> {
    place(machine, machine.dom(caller), machine.dom(target), item, gfn)
}

const fn item(space: u32, index: u64) -> Item {
    Item { space, index, foreign: DomId::INVALID }
}

const fn foreign(domain: u16, index: u64) -> Item {
    Item { space: XENMAPSPACE_GMFN_FOREIGN, index, foreign: DomId(domain) }
}

fn total(machine: &Machine, dom: u16) -> u32 {
    machine.frames.account(DomId(dom)).unwrap().total()
}

fn at(machine: &Machine, dom: u16, gfn: Gfn) -> Option<PageKind> {
    machine.dom(dom).space.lookup(gfn).map(|at| at.kind)
}

#[test]
fn the_shared_page_moves_and_frees_the_page_it_covers() {
    let machine = machine();
    put(&machine, 1, 1, item(XENMAPSPACE_SHARED_INFO, 0), Gfn(3)).unwrap();
    assert_eq!(machine.mfn(1, 3), machine.dom(1).shared_info);
    assert_eq!(total(&machine, 1), PAGES as u32 - 1, "the page that stood there is given up");
    put(&machine, 1, 1, item(XENMAPSPACE_SHARED_INFO, 0), HOLE).unwrap();
    assert_eq!((at(&machine, 1, Gfn(3)), at(&machine, 1, HOLE)), (None, Some(PageKind::Shared)));
    put(&machine, 1, 1, item(XENMAPSPACE_SHARED_INFO, 0), HOLE).unwrap();
    assert_eq!(at(&machine, 1, HOLE), Some(PageKind::Shared), "to where it is");
}

#[test]
fn a_page_of_the_hypervisors_is_found_where_the_domain_moved_it() {
    let machine = machine();
    for (shared, first) in [(item(XENMAPSPACE_SHARED_INFO, 0), 0x100), (item(XENMAPSPACE_GRANT_TABLE, 1), 0x200)] {
        put(&machine, 1, 1, shared, Gfn(first)).unwrap();
        put(&machine, 1, 1, item(XENMAPSPACE_GMFN, first), Gfn(first + 1)).unwrap();
        put(&machine, 1, 1, shared, Gfn(first + 2)).unwrap();
        let kinds = [0, 1, 2].map(|n| at(&machine, 1, Gfn(first + n)));
        assert_eq!(kinds, [None, None, Some(PageKind::Shared)], "at one place alone");
    }
}

#[test]
fn items_that_do_not_exist_are_invalid() {
    let machine = machine();
    for wrong in [
        item(XENMAPSPACE_SHARED_INFO, 1),
        item(XENMAPSPACE_GRANT_TABLE, 2),
        item(XENMAPSPACE_GRANT_TABLE, 0xffff_ffff),
        item(XENMAPSPACE_GRANT_TABLE, XENMAPIDX_GRANT_TABLE_STATUS),
        item(XENMAPSPACE_GMFN, 0x5000),
        item(XENMAPSPACE_DEV_MMIO, 0),
        item(77, 0),
    ] {
        assert_eq!(put(&machine, 1, 1, wrong, HOLE), Err(Errno::EINVAL), "{wrong:?}");
        assert_eq!(at(&machine, 1, HOLE), None);
    }
    assert_eq!(put(&machine, 1, 1, item(XENMAPSPACE_SHARED_INFO, 0), Gfn(GFN_LIMIT)), Err(Errno::ENOENT));
    assert_eq!(put(&machine, 1, 1, item(XENMAPSPACE_SHARED_INFO, 0), Gfn(u64::MAX)), Err(Errno::EINVAL));
}

#[test]
fn frames_of_the_grant_table_appear_and_move() {
    let machine = machine();
    put(&machine, 1, 1, item(XENMAPSPACE_GRANT_TABLE, 1), HOLE).unwrap();
    machine.dom(1).grants.with_shape(|shape| {
        assert_eq!(shape.part(Part::Entries)[1].frame.mfn(), machine.mfn(1, HOLE.0));
        assert_eq!(shape.part(Part::Entries)[1].mapped_at(&machine.memory(machine.dom(1))), Some(HOLE));
    });
    put(&machine, 1, 1, item(XENMAPSPACE_GRANT_TABLE, 1), Gfn(0x200)).unwrap();
    assert_eq!((at(&machine, 1, HOLE), at(&machine, 1, Gfn(0x200))), (None, Some(PageKind::Shared)));
    put(&machine, 1, 1, item(XENMAPSPACE_GRANT_TABLE, 0), Gfn(0x200)).unwrap();
    let memory = machine.memory(machine.dom(1));
    machine.dom(1).grants.with_shape(|shape| assert_eq!(shape.part(Part::Entries)[1].mapped_at(&memory), None));
}

#[test]
fn a_page_of_ones_own_moves_with_what_it_holds() {
    let machine = machine();
    let moved = machine.mfn(1, 2);
    put(&machine, 1, 1, item(XENMAPSPACE_GMFN, 2), Gfn(5)).unwrap();
    assert_eq!((machine.mfn(1, 5), at(&machine, 1, Gfn(2))), (moved, None));
    assert_eq!(total(&machine, 1), PAGES as u32 - 1);
    put(&machine, 1, 1, item(XENMAPSPACE_GMFN, 5), Gfn(5)).unwrap();
    assert_eq!(machine.mfn(1, 5), moved);
}

#[test]
fn the_control_domain_maps_foreign_pages_and_others_do_not() {
    let machine = machine();
    assert_eq!(put(&machine, 1, 1, foreign(2, 4), HOLE), Err(Errno::EPERM));
    assert_eq!(put(&machine, 0, 0, foreign(9, 4), HOLE), Err(Errno::ESRCH));
    assert_eq!(put(&machine, 0, 0, foreign(0, 4), HOLE), Err(Errno::EPERM), "itself");
    assert_eq!(put(&machine, 0, 0, foreign(DomId::SELF.0, 4), HOLE), Err(Errno::ESRCH));
    assert_eq!(put(&machine, 0, 0, foreign(DomId::XEN.0, 4), HOLE), Err(Errno::EINVAL));
    assert_eq!(put(&machine, 0, 0, foreign(2, 0x999), HOLE), Err(Errno::EINVAL));
    put(&machine, 0, 0, foreign(2, 4), HOLE).unwrap();
    let mfn = machine.mfn(2, 4);
    assert_eq!((machine.mfn(0, HOLE.0), at(&machine, 0, HOLE)), (mfn, Some(PageKind::Foreign)));
    assert_eq!(machine.frames.state(mfn).unwrap().references, 2);
    assert_eq!(put(&machine, 0, 0, foreign(2, 5), HOLE), Err(Errno::ENXIO), "over another one");
    assert_eq!(put(&machine, 0, 1, foreign(0, 0x100), HOLE), Err(Errno::EINVAL), "what is itself foreign");
    unplace(&machine, machine.dom(0), HOLE).unwrap();
    machine.settle();
    assert_eq!((machine.frames.state(mfn).unwrap().references, at(&machine, 0, HOLE)), (1, None));
    assert_eq!(unplace(&machine, machine.dom(0), HOLE), Err(Errno::ENOENT));
}

#[test]
fn a_foreign_page_outlives_its_owners_giving_it_up() {
    let machine = machine();
    put(&machine, 0, 0, foreign(2, 4), HOLE).unwrap();
    let mfn = machine.mfn(2, 4);
    remove_extent(&machine.memory(machine.dom(2)), Extent { gfn: Gfn(4), order: PageOrder(0) }).unwrap();
    machine.settle();
    assert_eq!((total(&machine, 2), machine.frames.state(mfn).unwrap().owner), (PAGES as u32, DomId(2)));
    unplace(&machine, machine.dom(0), HOLE).unwrap();
    machine.settle();
    assert_eq!(total(&machine, 2), PAGES as u32 - 1);
}

#[test]
fn taking_ram_out_of_the_translation_does_not_give_it_up() {
    let machine = machine();
    let mfn = machine.mfn(1, 2);
    unplace(&machine, machine.dom(1), Gfn(2)).unwrap();
    assert_eq!((total(&machine, 1), machine.frames.state(mfn).unwrap().owner), (PAGES as u32, DomId(1)));
}

#[test]
fn new_pages_are_put_where_the_caller_says_and_come_cleared() {
    let machine = machine();
    let memory = machine.memory(machine.dom(1));
    populate_extent(&memory, Extent { gfn: HOLE, order: PageOrder(3) }, ANYWHERE).unwrap();
    assert_eq!(total(&machine, 1), PAGES as u32 + 8);
    assert!((0..8).all(|n| at(&machine, 1, Gfn(HOLE.0 + n)) == Some(PageKind::Ram)));
    assert_eq!(machine.dom(1).physmap.highest(), Gfn(HOLE.0 + 7));
    let over = populate_extent(&memory, Extent { gfn: Gfn(GFN_LIMIT - 4), order: PageOrder(3) }, ANYWHERE);
    assert_eq!(over, Err(Errno::EINVAL));
    assert_eq!(total(&machine, 1), PAGES as u32 + 8, "what could not be mapped is given up");
    machine.frames.account(DomId(1)).unwrap().set_max(20);
    let much = populate_extent(&memory, Extent { gfn: Gfn(0x300), order: PageOrder(3) }, ANYWHERE);
    assert_eq!(much, Err(Errno::EPERM));
}

#[test]
fn populating_does_not_push_out_a_foreign_page() {
    let machine = machine();
    put(&machine, 0, 0, foreign(2, 4), Gfn(HOLE.0 + 1)).unwrap();
    let memory = machine.memory(machine.dom(0));
    assert_eq!(populate_extent(&memory, Extent { gfn: HOLE, order: PageOrder(1) }, ANYWHERE), Err(Errno::EINVAL));
    assert_eq!((at(&machine, 0, HOLE), total(&machine, 0)), (None, PAGES as u32));
}

#[test]
fn pages_that_are_given_up_are_free_for_others() {
    let machine = machine();
    let free = machine.frames.free_pages();
    let memory = machine.memory(machine.dom(1));
    assert_eq!(remove_extent(&memory, Extent { gfn: Gfn(0), order: PageOrder(3) }), Ok(()));
    assert_eq!(total(&machine, 1), 0);
    machine.settle();
    assert_eq!(machine.frames.free_pages(), free + 8);
    assert_eq!(remove_extent(&memory, Extent { gfn: Gfn(0), order: PageOrder(0) }), Err(Errno::ENOENT));
    put(&machine, 0, 0, foreign(2, 4), HOLE).unwrap();
    let foreign_page = remove_extent(&machine.memory(machine.dom(0)), Extent { gfn: HOLE, order: PageOrder(0) });
    assert_eq!(foreign_page, Err(Errno::ENXIO));
}

#[test]
fn all_memory_of_a_dead_domain_comes_back() {
    let machine = machine();
    let dom = machine.dom(1);
    put(&machine, 1, 1, item(XENMAPSPACE_SHARED_INFO, 0), HOLE).unwrap();
    unplace(&machine, dom, Gfn(2)).unwrap();
    put(&machine, 0, 1, foreign(2, 4), Gfn(0x80)).unwrap();
    let mut from = Some(Gfn(0));
    while let Some(gfn) = from {
        from = release_memory(&machine, dom, gfn, 7);
    }
    assert_eq!(total(&machine, 1), 1, "one page stands nowhere");
    let mut from = Some(xenolith_hal::Mfn(0));
    while let Some(mfn) = from {
        from = machine.frames.release_strays(DomId(1), mfn, 100);
    }
    machine.settle();
    assert_eq!(total(&machine, 1), 0);
    assert_eq!(machine.frames.state(machine.mfn(2, 4)).unwrap().references, 1);
}
