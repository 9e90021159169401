//! `memory_op` from the caller's registers to what it finds afterwards.

use crate::call_lists::{LIST, SECOND_LIST, SLOW, address, looks, read_list, write_list};
use xen_abi::grant_table::GNTTABOP_TRANSFER;
use xen_abi::hypercall::{GRANT_TABLE_OP, MEMORY_OP};
use xen_abi::memory::*;
use xen_abi::memory_access::MemAccessOp;
use xen_abi::memory_map::*;
use xen_abi::physmap::*;
use xen_abi::{DomId, Errno, Gfn, GuestHandle};
use xenolith_core::components::grant::Part;
use xenolith_hal::{Machine, NestedSpace, PageKind};
use xenolith_world::{Answer, GUEST_PAGES, Plan, SHARED_INFO, World};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const THIRD_LIST: Gfn = Gfn(18);
const HOLE: u64 = 0x100;

fn memory<T: FromBytes + IntoBytes + Immutable>(world: &World, caller: u16, op: u32, value: &mut T) -> Answer {
    world.call_with(caller, MEMORY_OP, op, value)
}

fn total(world: &World, dom: u16) -> u64 {
    memory(world, dom, XENMEM_CURRENT_RESERVATION, &mut MemoryDomain { domid: DomId::SELF }).unwrap()
}

fn reservation(domid: DomId, count: u64, order: u32) -> MemoryReservation {
    MemoryReservation {
        extent_start: GuestHandle::new(address(LIST)),
        nr_extents: count,
        extent_order: order,
        domid,
        ..MemoryReservation::default()
    }
}

fn kind_at(world: &World, dom: u16, gfn: u64) -> Option<PageKind> {
    world.domain(dom).space.lookup(Gfn(gfn)).map(|at| at.kind)
}

#[test]
fn a_long_list_is_given_up_and_populated_in_parts() {
    let world = World::new(&[1, 1]);
    world.hv.machine.set_pace(SLOW);
    let frames: Vec<u64> = (15..GUEST_PAGES).collect();
    write_list(&world, 1, LIST, &frames);
    let count = frames.len() as u64;
    assert_eq!(memory(&world, 1, XENMEM_DECREASE_RESERVATION, &mut reservation(DomId::SELF, count, 0)), Ok(count));
    assert_eq!(looks(&world), 3, "in two parts");
    assert_eq!(total(&world, 1), GUEST_PAGES - count);
    assert!(frames.iter().all(|gfn| kind_at(&world, 1, *gfn).is_none()));
    assert_eq!(memory(&world, 1, XENMEM_POPULATE_PHYSMAP, &mut reservation(DomId::SELF, count, 0)), Ok(count));
    assert_eq!(total(&world, 1), GUEST_PAGES);
    assert!(frames.iter().all(|gfn| kind_at(&world, 1, *gfn) == Some(PageKind::Ram)));
}

#[test]
fn an_extent_of_the_control_domain_is_given_up_in_pieces_of_2_mib() {
    let world = World::planned(Plan { machine_pages: 4096, guest_pages: 3072, ..Plan::TESTS }, &[1]);
    world.hv.machine.set_pace(SLOW);
    write_list(&world, 0, LIST, &[1024_u64, 2048]);
    assert_eq!(memory(&world, 0, XENMEM_DECREASE_RESERVATION, &mut reservation(DomId::SELF, 2, 10)), Ok(2));
    assert_eq!(looks(&world), 4 + 3, "in four parts");
    assert_eq!(total(&world, 0), 1024);
    assert!((1024..3072).all(|gfn| kind_at(&world, 0, gfn).is_none()));
}

#[test]
fn a_large_extent_is_given_up_as_far_as_it_is_there_and_does_not_count() {
    let world = World::planned(Plan { machine_pages: 4096, guest_pages: 3072, ..Plan::TESTS }, &[1]);
    world.hv.machine.set_pace(SLOW);
    write_list(&world, 0, LIST, &[2200_u64]);
    assert_eq!(memory(&world, 0, XENMEM_DECREASE_RESERVATION, &mut reservation(DomId::SELF, 1, 0)), Ok(1));
    write_list(&world, 0, LIST, &[100_u64, 1500]);
    assert_eq!(memory(&world, 0, XENMEM_DECREASE_RESERVATION, &mut reservation(DomId::SELF, 2, 10)), Ok(1));
    let there: Vec<u64> = (0..3072).filter(|gfn| kind_at(&world, 0, *gfn).is_some()).collect();
    let expected: Vec<u64> = (0..100).chain(1124..1500).chain(2201..3072).collect();
    assert_eq!(there, expected);
}

#[test]
fn reservations_say_only_how_far_they_came() {
    let world = World::new(&[1, 1, 1]);
    write_list(&world, 1, LIST, &[30_u64, HOLE, 31]);
    let decrease = |op: &mut MemoryReservation| memory(&world, 1, XENMEM_DECREASE_RESERVATION, op);
    assert_eq!(decrease(&mut reservation(DomId(2), 3, 0)), Ok(0), "not the caller's");
    assert_eq!(decrease(&mut reservation(DomId(77), 3, 0)), Ok(0), "nobody");
    assert_eq!(decrease(&mut reservation(DomId::SELF, 3, 10)), Ok(0), "too large");
    assert_eq!(decrease(&mut reservation(DomId::SELF, 0, 0)), Ok(0));
    assert_eq!(decrease(&mut reservation(DomId::SELF, 1 << 26, 0)), Ok(0), "too many");
    assert_eq!(decrease(&mut reservation(DomId::SELF, 3, 0)), Ok(1), "up to the hole");
    assert_eq!(total(&world, 1), GUEST_PAGES - 1);
    let nowhere = (GUEST_PAGES + 5) << 12;
    assert_eq!(world.call(1, MEMORY_OP, [1, nowhere, 0, 0, 0, 0]), Ok(0));
    let args = [u64::from(XENMEM_DECREASE_RESERVATION) | 7 << MEMOP_EXTENT_SHIFT, nowhere, 0, 0, 0, 0];
    assert_eq!(world.call(1, MEMORY_OP, args), Ok(7), "progress comes back");
}

#[test]
fn a_domain_does_not_grow_past_its_maximum_and_not_on_demand_by_itself() {
    let world = World::new(&[1, 1]);
    write_list(&world, 1, LIST, &[HOLE]);
    assert_eq!(memory(&world, 1, XENMEM_POPULATE_PHYSMAP, &mut reservation(DomId::SELF, 1, 0)), Ok(0));
    world.hv.frames.account(DomId(1)).unwrap().set_max(100);
    let mut on_demand = reservation(DomId::SELF, 1, 0);
    on_demand.mem_flags = MemFlags::POPULATE_ON_DEMAND;
    assert_eq!(memory(&world, 1, XENMEM_POPULATE_PHYSMAP, &mut on_demand), Ok(0));
    write_list(&world, 0, LIST, &[HOLE]);
    on_demand.domid = DomId(1);
    assert_eq!(memory(&world, 0, XENMEM_POPULATE_PHYSMAP, &mut on_demand), Ok(1));
    assert_eq!(total(&world, 1), GUEST_PAGES, "a mark is no memory");
    world.hv.frames.account(DomId(1)).unwrap().set_max(GUEST_PAGES as u32);
    write_list(&world, 0, LIST, &[HOLE + 1]);
    on_demand.mem_flags = MemFlags::default();
    assert_eq!(memory(&world, 0, XENMEM_POPULATE_PHYSMAP, &mut on_demand), Ok(0), "not past its maximum");
    world.hv.frames.account(DomId(1)).unwrap().set_max(100);
    let mut elsewhere = reservation(DomId::SELF, 1, 0);
    elsewhere.mem_flags = MemFlags::from_bits_retain(6 << 8 | MemFlags::EXACT_NODE_REQUEST.bits());
    assert_eq!(memory(&world, 1, XENMEM_POPULATE_PHYSMAP, &mut elsewhere), Ok(0), "there is one node");
    let mut low = reservation(DomId::SELF, 1, 0);
    low.mem_flags = MemFlags::from_bits_retain(12);
    assert_eq!(memory(&world, 1, XENMEM_POPULATE_PHYSMAP, &mut low), Ok(0), "no frame is that low");
    assert_eq!(memory(&world, 1, XENMEM_INCREASE_RESERVATION, &mut reservation(DomId::SELF, 2, 1)), Ok(2));
    assert_eq!(total(&world, 1), GUEST_PAGES + 4);
}

#[test]
fn what_is_free_is_cleared_bit_by_bit_before_a_large_block_is_taken() {
    let world = World::new(&[1]);
    write_list(&world, 0, LIST, &[HOLE]);
    world.hv.frames.account(DomId(0)).unwrap().set_max(4096);
    assert!(world.hv.frames.scrub_pending() > 500);
    let mut op = reservation(DomId::SELF, 1, 10);
    assert_eq!(memory(&world, 0, XENMEM_POPULATE_PHYSMAP, &mut op), Ok(0), "there is no such block");
    assert_eq!(world.hv.frames.scrub_pending(), 0);
}

#[test]
fn questions_about_others_are_the_control_domains() {
    let world = World::new(&[1, 1]);
    for (op, mine) in
        [(XENMEM_CURRENT_RESERVATION, GUEST_PAGES), (XENMEM_MAXIMUM_RESERVATION, GUEST_PAGES), (XENMEM_MAXIMUM_GPFN, 0)]
    {
        let ask = |caller, domid| memory(&world, caller, op, &mut MemoryDomain { domid });
        assert_eq!(ask(1, DomId::SELF), Ok(mine));
        assert_eq!(ask(0, DomId(1)), Ok(mine));
        assert_eq!(ask(1, DomId(0)), Err(Errno::EPERM));
        assert_eq!(ask(0, DomId(9)), Err(Errno::ESRCH));
        assert_eq!(world.call(1, MEMORY_OP, [u64::from(op) | 1 << 6, 0, 0, 0, 0, 0]), Err(Errno::EINVAL));
    }
    assert_eq!(world.call(1, MEMORY_OP, [XENMEM_MAXIMUM_RAM_PAGE.into(), 0, 0, 0, 0, 0]), Ok(1024));
}

#[test]
fn operations_that_a_translated_guest_does_not_have_are_refused() {
    let world = World::new(&[1]);
    for op in [XENMEM_MACHINE_MEMORY_MAP, XENMEM_MACHPHYS_MAPPING, 8, 29, 63] {
        assert_eq!(world.call(0, MEMORY_OP, [op.into(), 0xdead_0000, 0, 0, 0, 0]), Err(Errno::ENOSYS));
    }
    for op in [XENMEM_GET_SHARING_FREED_PAGES, XENMEM_GET_SHARING_SHARED_PAGES] {
        assert_eq!(world.call(0, MEMORY_OP, [op.into(), 0, 0, 0, 0, 0]), Ok(0));
    }
    for op in [GNTTABOP_TRANSFER, 13, 14, 100].map(|op| op as u64) {
        assert_eq!(world.call(0, GRANT_TABLE_OP, [op, 0xdead_0000, 1, 0, 0, 0]), Err(Errno::ENOSYS));
    }
    let compat = [XENMEM_MACHPHYS_COMPAT_MFN_LIST.into(), 0, 0, 0, 0, 0];
    assert_eq!(world.call(0, MEMORY_OP, compat), Err(Errno::EOPNOTSUPP));
    let mut watch = MemAccessOp { domid: DomId(0), ..MemAccessOp::default() };
    assert_eq!(memory(&world, 0, XENMEM_ACCESS_OP, &mut watch), Err(Errno::EPERM));
    let high = u64::from(u32::MAX);
    assert_eq!(world.call(0, GRANT_TABLE_OP, [high, 0xdead_0000, 1, 0, 0, 0]), Err(Errno::ENOSYS));
}

#[test]
fn a_domain_reads_the_memory_map_that_the_toolstack_set() {
    let world = World::new(&[1, 1]);
    let entries = [MemmapEntry::new(0, 0xa0000, E820_RAM), MemmapEntry::new(1 << 32, 1 << 20, E820_RESERVED)];
    let ask = |room| {
        let mut op = MemoryMap { nr_entries: room, buffer: GuestHandle::new(address(LIST)), ..MemoryMap::default() };
        memory(&world, 1, XENMEM_MEMORY_MAP, &mut op).map(|_| op.nr_entries)
    };
    assert_eq!(ask(8), Err(Errno::ENOSYS));
    write_list(&world, 0, LIST, &entries);
    let map = MemoryMap { nr_entries: 2, buffer: GuestHandle::new(address(LIST)), ..MemoryMap::default() };
    let set = |caller, domid, nr_entries| {
        let map = MemoryMap { nr_entries, ..map };
        memory(
            &world,
            caller,
            XENMEM_SET_MEMORY_MAP,
            &mut ForeignMemoryMap { domid, map, ..ForeignMemoryMap::default() },
        )
    };
    assert_eq!(set(0, DomId(1), 129), Err(Errno::EINVAL));
    assert_eq!(set(0, DomId(9), 2), Err(Errno::ESRCH));
    assert_eq!(set(1, DomId(0), 2), Err(Errno::EPERM));
    assert_eq!(set(0, DomId(1), 2), Ok(0));
    assert_eq!((ask(1), ask(8)), (Ok(1), Ok(2)));
    assert_eq!(read_list::<MemmapEntry>(&world, 1, LIST, 2), entries);
}

#[test]
fn each_page_of_a_batch_has_an_errno_of_its_own() {
    let world = World::new(&[1, 1]);
    world.hv.machine.set_pace(SLOW);
    let count = 40;
    let frames: Vec<u64> = (0..count).map(|n| if n == 17 { 0x999 } else { n % GUEST_PAGES }).collect();
    write_list(&world, 0, LIST, &frames);
    write_list(&world, 0, SECOND_LIST, &(0..count).map(|n| HOLE + n).collect::<Vec<u64>>());
    let mut op = AddToPhysmapBatch {
        domid: DomId::SELF,
        space: XENMAPSPACE_GMFN_FOREIGN as u16,
        size: count as u16,
        foreign_domid: DomId(1),
        idxs: GuestHandle::new(address(LIST)),
        gpfns: GuestHandle::new(address(SECOND_LIST)),
        errs: GuestHandle::new(address(THIRD_LIST)),
    };
    assert_eq!(memory(&world, 0, XENMEM_ADD_TO_PHYSMAP_BATCH, &mut op), Ok(0));
    let errors: Vec<i32> = read_list(&world, 0, THIRD_LIST, count as usize);
    assert!(errors.iter().enumerate().all(|(n, error)| *error == if n == 17 { -22 } else { 0 }), "{errors:?}");
    assert_eq!(kind_at(&world, 0, HOLE), Some(PageKind::Foreign));
    op.space = XENMAPSPACE_GMFN_RANGE as u16;
    assert_eq!(memory(&world, 0, XENMEM_ADD_TO_PHYSMAP_BATCH, &mut op), Err(Errno::EOPNOTSUPP));
    let remove = |gfn| {
        let mut op = RemoveFromPhysmap { domid: DomId::SELF, gpfn: Gfn(gfn), ..RemoveFromPhysmap::default() };
        memory(&world, 0, XENMEM_REMOVE_FROM_PHYSMAP, &mut op)
    };
    assert_eq!((remove(HOLE), remove(HOLE)), (Ok(0), Err(Errno::ENOENT)));
}

#[test]
fn a_range_moves_in_parts_and_the_shared_page_by_itself() {
    let world = World::new(&[1]);
    world.hv.machine.set_pace(SLOW);
    let mut op = AddToPhysmap { domid: DomId::SELF, size: 20, space: XENMAPSPACE_GMFN_RANGE, idx: 12, gpfn: Gfn(HOLE) };
    assert_eq!(memory(&world, 0, XENMEM_ADD_TO_PHYSMAP, &mut op), Ok(0));
    assert!(
        (0..20).all(|n| kind_at(&world, 0, HOLE + n) == Some(PageKind::Ram) && kind_at(&world, 0, 12 + n).is_none())
    );
    let place = |space, idx| {
        let mut op = AddToPhysmap { domid: DomId::SELF, size: 0, space, idx, gpfn: Gfn(HOLE + 40) };
        memory(&world, 0, XENMEM_ADD_TO_PHYSMAP, &mut op)
    };
    assert_eq!(place(XENMAPSPACE_GMFN_FOREIGN, 0), Err(Errno::ENOSYS));
    assert_eq!(place(XENMAPSPACE_SHARED_INFO, 1), Err(Errno::EINVAL));
    assert_eq!(place(XENMAPSPACE_SHARED_INFO, 0), Ok(0));
    assert_eq!(kind_at(&world, 0, SHARED_INFO.0), Some(PageKind::Shared), "it was placed by the builder");
    assert_eq!(place(XENMAPSPACE_GRANT_TABLE, 1 << 32), Ok(0), "counted in 32 bits");
}

#[test]
fn the_toolstack_maps_a_grant_table_and_writes_into_it() {
    let world = World::new(&[1, 1]);
    let acquire = |caller, change: fn(&mut MemAcquireResource)| {
        let mut op = MemAcquireResource {
            domid: DomId(1),
            kind: XENMEM_RESOURCE_GRANT_TABLE,
            nr_frames: 1,
            frame_list: GuestHandle::new(address(LIST)),
            ..MemAcquireResource::default()
        };
        change(&mut op);
        memory(&world, caller, XENMEM_ACQUIRE_RESOURCE, &mut op).map(|_| op.nr_frames)
    };
    write_list(&world, 0, LIST, &[HOLE]);
    assert_eq!(acquire(1, |op| op.domid = DomId(0)), Err(Errno::EACCES));
    assert_eq!(acquire(1, |op| op.domid = DomId(9)), Err(Errno::EACCES), "before it is looked for");
    assert_eq!(acquire(0, |op| op.domid = DomId::SELF), Err(Errno::ESRCH));
    assert_eq!(acquire(0, |op| op.domid = DomId(0)), Err(Errno::EPERM));
    assert_eq!(acquire(0, |op| op.domid = DomId(9)), Err(Errno::ESRCH));
    assert_eq!(acquire(0, |op| op.padding = 1), Err(Errno::EINVAL));
    assert_eq!(acquire(0, |op| op.frame = 1 << 32), Err(Errno::EINVAL));
    assert_eq!(acquire(0, |op| op.frame = 64), Err(Errno::EINVAL));
    assert_eq!(acquire(0, |op| op.id = 2), Err(Errno::EINVAL));
    let asks_size = |op: &mut MemAcquireResource| (op.frame_list, op.nr_frames) = (GuestHandle::NULL, 0);
    assert_eq!(acquire(0, asks_size), Ok(64));
    assert_eq!(acquire(0, |_| ()), Ok(1));
    world.page(0, Gfn(HOLE)).store_u64(8, 0x1234).unwrap();
    let table = world.domain(1).grants.with_shape(|shape| shape.part(Part::Entries)[0].frame.mfn());
    assert_eq!(world.hv.machine.page(table).unwrap().load_u64(8), Some(0x1234));
}

#[test]
fn claims_and_targets_are_checked() {
    let world = World::new(&[1, 1]);
    let claim = |caller, domid, change: fn(&mut MemoryReservation)| {
        let mut op = MemoryReservation { nr_extents: 50, domid, ..MemoryReservation::default() };
        change(&mut op);
        memory(&world, caller, XENMEM_CLAIM_PAGES, &mut op)
    };
    world.hv.frames.account(DomId(1)).unwrap().set_max(100_000);
    assert_eq!(claim(0, DomId(1), |op| op.extent_order = 1), Err(Errno::EINVAL));
    assert_eq!(claim(0, DomId::SELF, |_| ()), Err(Errno::EINVAL));
    assert_eq!(claim(1, DomId(0), |_| ()), Err(Errno::EPERM));
    assert_eq!(claim(0, DomId(1), |op| op.nr_extents = 90_000), Err(Errno::ENOMEM));
    assert_eq!(claim(0, DomId(1), |_| ()), Ok(0));
    assert_eq!(claim(0, DomId(1), |op| op.nr_extents = 0), Ok(0));
    let mut target = PodTarget { target_pages: 100_001, domid: DomId(1), ..PodTarget::default() };
    assert_eq!(memory(&world, 0, XENMEM_SET_POD_TARGET, &mut target), Err(Errno::EINVAL));
    target.target_pages = 5;
    assert_eq!(memory(&world, 1, XENMEM_SET_POD_TARGET, &mut target), Err(Errno::EPERM));
    assert_eq!(memory(&world, 0, XENMEM_SET_POD_TARGET, &mut target), Ok(0));
    assert_eq!(target.tot_pages, GUEST_PAGES);
    let mut numa = VnumaTopologyInfo { domid: DomId::SELF, ..VnumaTopologyInfo::default() };
    assert_eq!(memory(&world, 1, XENMEM_GET_VNUMAINFO, &mut numa), Err(Errno::EOPNOTSUPP));
}

#[test]
fn an_exchange_is_checked_and_refused() {
    let world = World::new(&[1]);
    let exchange = |change: fn(&mut MemoryExchange)| {
        let side = MemoryReservation { nr_extents: 2, domid: DomId::SELF, ..MemoryReservation::default() };
        let mut op = MemoryExchange { input: side, output: side, nr_exchanged: 0 };
        change(&mut op);
        memory(&world, 0, XENMEM_EXCHANGE, &mut op)
    };
    assert_eq!(exchange(|_| ()), Err(Errno::EOPNOTSUPP));
    assert_eq!(exchange(|op| op.input.extent_order = 19), Err(Errno::EPERM));
    assert_eq!(exchange(|op| op.output.domid = DomId(3)), Err(Errno::EINVAL));
    assert_eq!(exchange(|op| op.output.nr_extents = 3), Err(Errno::EINVAL));
    assert_eq!(exchange(|op| op.input.nr_extents = u64::MAX), Err(Errno::EINVAL));
}
