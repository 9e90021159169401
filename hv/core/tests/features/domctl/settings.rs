//! What the toolstack sets of a domain, and reads back.

use super::toolstack::*;
use xen_abi::domctl::*;
use xen_abi::{DomId, Errno, GuestHandle};
use xenolith_world::World;

#[test]
fn the_most_memory_is_counted_in_whole_pages() {
    let world = World::new(&[1]);
    let id = create(&world);
    let mut op = domctl(XEN_DOMCTL_MAX_MEM, id);
    for (kib, pages) in [(0, 0), (3, 0), (0x40400, 0x10100), (u64::MAX, u64::from(u32::MAX))] {
        op.set_max_mem(DomctlMaxMem { max_memkb: kib });
        assert_eq!(call(&world, &mut op), Ok(0));
        assert_eq!(info(&world, id).unwrap().max_pages, pages);
    }
}

fn set_pool(world: &World, id: DomId, size: u64) -> Result<u64, Errno> {
    let mut op = domctl(XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE, id);
    op.set_paging_mempool(DomctlPagingMempool { size });
    call(world, &mut op)
}

fn pool(world: &World, id: DomId) -> u64 {
    let mut op = domctl(XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE, id);
    assert_eq!(call(world, &mut op), Ok(0));
    op.paging_mempool().size
}

#[test]
fn the_pool_is_a_number_of_pages_and_never_below_what_is_in_use() {
    let world = World::new(&[1]);
    let id = create(&world);
    assert_eq!(pool(&world, id), 1 << 20);
    assert_eq!(set_pool(&world, id, 0x20_0000), Ok(0));
    assert_eq!(pool(&world, id), 0x20_0000);
    for wrong in [1, 0xfff, 1 << 45, u64::MAX] {
        assert_eq!(set_pool(&world, id, wrong), Err(Errno::EINVAL));
    }
    assert_eq!(give_memory(&world, id, 4), Ok(0));
    populate(&world, id, 0, 1);
    let used = domain(&world, id).physmap.with_pool(|pool| pool.used());
    assert!(used > 0);
    assert_eq!(set_pool(&world, id, u64::from(used - 1) << 12), Err(Errno::ENOMEM));
    assert_eq!(set_pool(&world, id, u64::from(used) << 12), Ok(0));
    assert_eq!(pool(&world, id), u64::from(used) << 12);
}

#[test]
fn the_old_way_to_the_pool_counts_in_mebibytes() {
    let world = World::new(&[1]);
    let id = create(&world);
    let shadow = |op, mb| {
        let mut domctl = domctl(XEN_DOMCTL_SHADOW_OP, id);
        domctl.set_shadow_op(DomctlShadowOp { op, mb, ..DomctlShadowOp::default() });
        call(&world, &mut domctl).map(|_| domctl.shadow_op().mb)
    };
    assert_eq!(shadow(XEN_DOMCTL_SHADOW_OP_OFF, 0), Err(Errno::EINVAL), "without vCPUs");
    give_vcpus(&world, id, 2).unwrap();
    assert_eq!(shadow(XEN_DOMCTL_SHADOW_OP_OFF, 0), Ok(0));
    assert_eq!(shadow(XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION, 3), Ok(3));
    assert_eq!(shadow(XEN_DOMCTL_SHADOW_OP_GET_ALLOCATION, 0), Ok(3));
    assert_eq!(shadow(XEN_DOMCTL_SHADOW_OP_SET_ALLOCATION, u32::MAX), Err(Errno::EINVAL));
    assert_eq!(shadow(XEN_DOMCTL_SHADOW_OP_CLEAN, 0), Err(Errno::EINVAL));
    assert_eq!(shadow(77, 0), Err(Errno::EINVAL));
    assert_eq!(plain(&world, XEN_DOMCTL_SHADOW_OP, DomId(0)), Err(Errno::EINVAL));
}

#[test]
fn the_uuid_can_be_changed() {
    let world = World::new(&[1]);
    let id = create(&world);
    let mut op = domctl(XEN_DOMCTL_SETDOMAINHANDLE, id);
    op.set_setdomainhandle(DomctlSetdomainhandle { handle: [9; 16] });
    assert_eq!(call(&world, &mut op), Ok(0));
    assert_eq!((info(&world, id).unwrap().handle, domain(&world, id).handle()), ([9; 16], [9; 16]));
}

#[test]
fn a_debugger_shows() {
    let world = World::new(&[1]);
    let id = create(&world);
    let mut op = domctl(XEN_DOMCTL_SETDEBUGGING, id);
    op.set_setdebugging(DomctlSetdebugging { enable: 1 });
    assert_eq!(call(&world, &mut op), Ok(0));
    assert!(flags(&world, id).contains(DomainFlags::DEBUGGED));
    assert_eq!(plain(&world, XEN_DOMCTL_SETDEBUGGING, DomId(0)), Err(Errno::EINVAL));
}

#[test]
fn the_counter_is_told_as_it_was_set() {
    let world = World::new(&[1]);
    let id = create(&world);
    let set = |tsc_mode, incarnation| {
        let mut op = domctl(XEN_DOMCTL_SETTSCINFO, id);
        op.set_tsc_info(DomctlTscInfo { tsc_mode, incarnation, ..DomctlTscInfo::default() });
        call(&world, &mut op)
    };
    let get = || {
        let mut op = domctl(XEN_DOMCTL_GETTSCINFO, id);
        assert_eq!(call(&world, &mut op), Ok(0));
        op.tsc_info()
    };
    assert_eq!(set(0, 0), Ok(0));
    let told = get();
    assert_eq!((told.tsc_mode, told.incarnation, told.gtsc_khz), (0, 1, 1_000_000));
    assert_eq!(set(2, 4), Ok(0));
    assert_eq!(get(), DomctlTscInfo { tsc_mode: 2, incarnation: 5, ..DomctlTscInfo::default() });
    assert_eq!(set(3, 0), Err(Errno::EINVAL));
    assert_eq!(plain(&world, XEN_DOMCTL_SETTSCINFO, DomId(0)), Err(Errno::EINVAL));
    assert_eq!(plain(&world, XEN_DOMCTL_GETTSCINFO, DomId(0)), Err(Errno::EINVAL));
}

#[test]
fn weight_and_cap_are_kept() {
    let world = World::new(&[1]);
    let id = create(&world);
    let adjust = |sched_id, cmd, weight, cap| {
        let mut op = domctl(XEN_DOMCTL_SCHEDULER_OP, id);
        let mut wanted = DomctlSchedulerOp { sched_id, cmd, ..DomctlSchedulerOp::default() };
        wanted.set_credit2(DomctlSchedCredit2 { weight, cap });
        op.set_scheduler_op(wanted);
        call(&world, &mut op).map(|_| op.scheduler_op().credit2())
    };
    let (credit2, get, put) = (XEN_SCHEDULER_CREDIT2, XEN_DOMCTL_SCHEDOP_GETINFO, XEN_DOMCTL_SCHEDOP_PUTINFO);
    assert_eq!(adjust(credit2, get, 1, 1), Ok(DomctlSchedCredit2 { weight: 256, cap: 0 }));
    adjust(credit2, put, 512, 50).unwrap();
    assert_eq!(adjust(credit2, get, 0, 0), Ok(DomctlSchedCredit2 { weight: 512, cap: 50 }));
    adjust(credit2, put, 0, 0).unwrap();
    assert_eq!(adjust(credit2, get, 0, 0), Ok(DomctlSchedCredit2 { weight: 512, cap: 0 }));
    assert_eq!(adjust(XEN_SCHEDULER_CREDIT, get, 0, 0), Err(Errno::EINVAL));
    assert_eq!(adjust(credit2, XEN_DOMCTL_SCHEDOP_GETVCPUINFO, 0, 0), Err(Errno::EINVAL));
}

#[test]
fn kinds_of_pages_are_put_in_the_place_of_their_frames() {
    let world = World::new(&[1]);
    let id = create(&world);
    give_memory(&world, id, 8).unwrap();
    populate(&world, id, 16, 2);
    let page = world.page(0, FIRST_BUFFER);
    let frames = [16, 17, 18, u64::MAX];
    for (index, frame) in frames.iter().enumerate() {
        page.store_u64(index * 8, *frame);
    }
    let mut op = domctl(XEN_DOMCTL_GETPAGEFRAMEINFO3, id);
    let array = GuestHandle::new(address(FIRST_BUFFER));
    op.set_getpageframeinfo3(DomctlGetpageframeinfo3 { num: 4, array });
    assert_eq!(call(&world, &mut op), Ok(0));
    let none = u64::from(XEN_DOMCTL_PFINFO_XTAB);
    assert_eq!([0, 8, 16, 24].map(|at| page.load_u64(at).unwrap()), [0, 0, none, none]);
    op.set_getpageframeinfo3(DomctlGetpageframeinfo3 { num: 1025, array });
    assert_eq!(call(&world, &mut op), Err(Errno::E2BIG));
    op.set_getpageframeinfo3(DomctlGetpageframeinfo3 { num: 1, array: GuestHandle::new(NOWHERE) });
    assert_eq!(call(&world, &mut op), Err(Errno::EFAULT));
}

#[test]
fn a_long_list_of_frames_is_answered_in_parts_and_wholly() {
    let world = World::new(&[1]);
    let id = create(&world);
    give_memory(&world, id, 1).unwrap();
    populate(&world, id, 5, 1);
    let page = world.page(0, FIRST_BUFFER);
    for index in 0..512 {
        page.store_u64(index * 8, 5);
    }
    // The clock moves at each look, so that every look finds the time used up.
    world.hv.machine.set_pace(10_000_000);
    let mut op = domctl(XEN_DOMCTL_GETPAGEFRAMEINFO3, id);
    op.set_getpageframeinfo3(DomctlGetpageframeinfo3 { num: 512, array: GuestHandle::new(address(FIRST_BUFFER)) });
    assert_eq!(call(&world, &mut op), Ok(0));
    assert!(page.words().iter().all(|word| word.load(std::sync::atomic::Ordering::Relaxed) == 0));
}
