//! Memory that is populated on demand: marks, the cache, and a guest that uses more than it has.

use crate::call_lists::{LIST, address, write_list};
use crate::domctl::toolstack::{destroy, settle};
use xen_abi::hypercall::MEMORY_OP;
use xen_abi::memory::*;
use xen_abi::physmap::*;
use xen_abi::{DomId, Errno, Gfn, GuestHandle, VcpuId};
use xenolith_core::components::grant::World as _;
use xenolith_core::domains::running::Running;
use xenolith_core::memory::frames::ANYWHERE;
use xenolith_core::memory::on_demand::{Demand, Reclaim};
use xenolith_core::memory::populate::{Extent, mark_extent, populate_extent, remove_extent};
use xenolith_core::outcome::{After, CrashReason};
use xenolith_core::x86::mmio;
use xenolith_hal::{Access, CpuId, Gpa, Machine, NestedSpace, PageKind, PageOrder};
use xenolith_world::{Answer, GUEST_PAGES, Plan, World};

const GUEST: DomId = DomId(1);
/// Where the guest's marks begin, at a multiple of 2 MiB.
const MARKED: u64 = 0x400;
const SMALL: PageOrder = PageOrder::SIZE_4K;
const LARGE: PageOrder = PageOrder::SIZE_2M;

/// A control domain and a guest, on a machine of 4096 frames.
fn world() -> World {
    World::planned(Plan { machine_pages: 4096, spare_pages: 2048, ..Plan::TESTS }, &[1, 1, 1])
}

fn extent(gfn: u64, order: PageOrder) -> Extent {
    Extent { gfn: Gfn(gfn), order }
}

fn mark(world: &World, gfn: u64, order: PageOrder) -> Result<(), Errno> {
    mark_extent(&world.hv.memory(&world.domain(1)), extent(gfn, order))
}

fn decrease(world: &World, gfn: u64) -> Result<(), Errno> {
    remove_extent(&world.hv.memory(&world.domain(1)), extent(gfn, SMALL))
}

fn target(world: &World, pages: u64) -> Answer {
    let mut op = PodTarget { target_pages: pages, domid: GUEST, ..PodTarget::default() };
    world.call_with(0, MEMORY_OP, XENMEM_SET_POD_TARGET, &mut op)
}

/// Returns how many pages the guest has in all, how many of them in its cache, and how many frames are marked.
fn pages(world: &World) -> [u64; 3] {
    let mut op = PodTarget { domid: GUEST, ..PodTarget::default() };
    assert_eq!(world.call_with(0, MEMORY_OP, XENMEM_GET_POD_TARGET, &mut op), Ok(0));
    [op.tot_pages, op.pod_cache_pages, op.pod_entries]
}

/// Lets the guest touch a frame, and its CPU pass the top of its loop before.
fn touch(world: &World, gfn: u64) -> After {
    world.hv.frames.quiet(CpuId(0));
    world.hv.machine.pass_ns(2_000_000);
    let _ = world.hv.frames.poll(&world.hv.machine, || true);
    let domain = world.domain(1);
    let vcpu = domain.vcpu(VcpuId(0)).unwrap();
    let mut core = vcpu.take_core().unwrap();
    let mut running = Running { hv: &world.hv, domain: &domain, vcpu, core: &mut core };
    let access = Access { write: true, execute: false, present: false, page_walk: false };
    let after = mmio::access(&mut running, Gpa::from_gfn(Gfn(gfn)), access);
    vcpu.put_core(core);
    after
}

/// Lets the guest touch a frame until it has memory there or is ended.
fn use_page(world: &World, gfn: u64) -> After {
    for _ in 0..200 {
        let after = touch(world, gfn);
        if after != After::Resume || is_ram(world, gfn) {
            return after;
        }
    }
    panic!("no end");
}

fn is_ram(world: &World, gfn: u64) -> bool {
    world.domain(1).space.lookup(Gfn(gfn)).is_some_and(|there| there.kind == PageKind::Ram)
}

/// Writes to all pages that the guest has, so that none is taken back.
fn soil(world: &World) {
    let domain = world.domain(1);
    for gfn in (0..MARKED + 1024).map(Gfn).filter(|gfn| is_ram(world, gfn.0)) {
        assert!(domain.space.lookup(gfn).is_some());
        world.page(1, gfn).store_u64(4088, 1).unwrap();
    }
}

#[test]
fn what_is_touched_gets_a_page_of_zeros_out_of_the_cache() {
    let world = world();
    assert_eq!(mark(&world, MARKED, LARGE), Ok(()));
    assert_eq!(pages(&world), [GUEST_PAGES, 0, 512]);
    assert_eq!(target(&world, GUEST_PAGES + 100), Ok(0));
    assert_eq!(pages(&world), [GUEST_PAGES + 100, 100, 512]);
    assert_eq!(touch(&world, MARKED + 7), After::Resume);
    assert!(is_ram(&world, MARKED + 7) && !is_ram(&world, MARKED + 6));
    assert_eq!(world.page(1, Gfn(MARKED + 7)).load_u64(0), Some(0));
    assert_eq!(pages(&world), [GUEST_PAGES + 100, 99, 511]);
}

#[test]
fn two_mib_are_populated_at_once_while_the_cache_has_plenty() {
    let world = world();
    mark(&world, MARKED, LARGE).unwrap();
    mark(&world, MARKED + 512, LARGE).unwrap();
    assert_eq!(target(&world, GUEST_PAGES + 600), Ok(0));
    assert_eq!(touch(&world, MARKED + 700), After::Resume);
    assert!(is_ram(&world, MARKED + 512) && is_ram(&world, MARKED + 1023) && !is_ram(&world, MARKED));
    assert_eq!(pages(&world), [GUEST_PAGES + 600, 88, 512]);
}

#[test]
fn a_target_is_bounded_by_the_marks_and_never_takes_from_the_cache() {
    let world = world();
    assert_eq!(target(&world, GUEST_PAGES + 5), Ok(0));
    assert_eq!(pages(&world), [GUEST_PAGES, 0, 0], "a guest without marks needs no cache");
    mark(&world, MARKED, SMALL).unwrap();
    mark(&world, MARKED + 1, SMALL).unwrap();
    assert_eq!(target(&world, GUEST_PAGES + 5), Ok(0));
    assert_eq!(pages(&world), [GUEST_PAGES + 2, 2, 2]);
    assert_eq!(target(&world, 1), Ok(0));
    assert_eq!(pages(&world), [GUEST_PAGES + 2, 2, 2], "that is for the balloon driver");
    assert_eq!(target(&world, 1 << 31), Err(Errno::EINVAL));
    mark(&world, MARKED, PageOrder(12)).unwrap();
    world.hv.frames.account(GUEST).unwrap().set_max(1 << 20);
    assert_eq!(target(&world, GUEST_PAGES + 4000), Err(Errno::ENOMEM));
    assert_eq!(pages(&world), [GUEST_PAGES + 2, 2, 4096]);
}

#[test]
fn what_is_kept_for_a_domain_is_nobody_elses() {
    let world = world();
    let free = world.hv.frames.free_pages();
    mark(&world, MARKED, PageOrder(12)).unwrap();
    world.hv.frames.account(GUEST).unwrap().set_max(1 << 20);
    assert_eq!(target(&world, GUEST_PAGES + free - 3), Ok(0));
    assert_eq!((world.hv.frames.free_pages(), world.hv.frames.claimed_pages()), (3, 0));
    let other = world.domain(2);
    let more = |gfn| populate_extent(&world.hv.memory(&other), extent(gfn, SMALL), ANYWHERE);
    assert_eq!([1, 2, 3].map(|at| more(MARKED + at)), [Ok(()), Ok(()), Ok(())]);
    assert_eq!(more(MARKED), Err(Errno::ENOMEM));
    assert_eq!(touch(&world, MARKED), After::Resume);
    assert!(is_ram(&world, MARKED));
}

#[test]
fn memory_is_not_marked_and_marks_are_marked_again() {
    let world = world();
    assert_eq!(mark(&world, 0, SMALL), Err(Errno::EBUSY));
    mark(&world, MARKED + 3, SMALL).unwrap();
    assert_eq!(mark(&world, MARKED, LARGE), Ok(()));
    assert_eq!(mark(&world, MARKED + 5, SMALL), Ok(()));
    assert_eq!(pages(&world)[2], 512);
    assert_eq!(mark(&world, u64::MAX - 2, LARGE), Err(Errno::EINVAL));
    world.hv.frames.account(GUEST).unwrap().set_max(0);
    assert_eq!(mark(&world, MARKED + 512, SMALL), Err(Errno::EPERM));
}

#[test]
fn whoever_reaches_a_marked_frame_finds_memory() {
    let world = world();
    mark(&world, MARKED, LARGE).unwrap();
    target(&world, GUEST_PAGES + 100).unwrap();
    // A copy by the hypervisor, out and in.
    let mut op = MemoryDomain { domid: DomId::SELF };
    world.with_call(1, |call| {
        call.memory().write(GuestHandle::new(address(Gfn(MARKED + 1)) - 8), &[1_u64, 2]).unwrap();
        assert_eq!(call.memory().read(GuestHandle::<u64>::new(address(Gfn(MARKED + 9)))), Ok(0));
    });
    assert_eq!(world.page(1, Gfn(MARKED + 1)).load_u64(0), Some(2));
    // Another domain's mapping.
    write_list(&world, 0, LIST, &[MARKED + 20]);
    let mut foreign = AddToPhysmapBatch {
        domid: DomId(0),
        space: XENMAPSPACE_GMFN_FOREIGN as u16,
        size: 1,
        foreign_domid: GUEST,
        idxs: GuestHandle::new(address(LIST)),
        gpfns: GuestHandle::new(address(Gfn(LIST.0 + 1))),
        errs: GuestHandle::new(address(Gfn(LIST.0 + 2))),
    };
    write_list(&world, 0, Gfn(LIST.0 + 1), &[0x900_u64]);
    assert_eq!(world.call_with(0, MEMORY_OP, XENMEM_ADD_TO_PHYSMAP_BATCH, &mut foreign), Ok(0));
    assert_eq!(world.page(0, Gfn(LIST.0 + 2)).load_u32(0), Some(0));
    // A reference, as for a grant.
    let page = world.hv.memory(&world.domain(1)).own_page(Gfn(MARKED + 30), true).unwrap();
    world.hv.frames.put(page);
    // Moving a frame takes its memory along; the mark at the other end is gone.
    let mut moved =
        AddToPhysmap { domid: DomId::SELF, size: 0, space: XENMAPSPACE_GMFN, idx: MARKED + 40, gpfn: Gfn(MARKED + 41) };
    assert_eq!(world.call_with(1, MEMORY_OP, XENMEM_ADD_TO_PHYSMAP, &mut moved), Ok(0));
    let there: Vec<u64> = (MARKED..MARKED + 512).filter(|gfn| is_ram(&world, *gfn)).collect();
    assert_eq!(there, [0, 1, 9, 20, 30, 41].map(|at| MARKED + at));
    assert_eq!(pages(&world), [GUEST_PAGES + 100, 94, 512 - 7]);
    assert_eq!(world.call_with(1, MEMORY_OP, XENMEM_CURRENT_RESERVATION, &mut op), Ok(GUEST_PAGES + 100));
}

#[test]
fn a_saved_guest_is_populated_as_its_frames_are_asked_for() {
    use xen_abi::domctl::*;
    let world = world();
    mark(&world, MARKED, SMALL).unwrap();
    target(&world, GUEST_PAGES + 1).unwrap();
    write_list(&world, 0, LIST, &[MARKED, MARKED + 1]);
    let mut op = Domctl {
        cmd: XEN_DOMCTL_GETPAGEFRAMEINFO3,
        interface_version: XEN_DOMCTL_INTERFACE_VERSION,
        domain: GUEST,
        ..Domctl::default()
    };
    op.set_getpageframeinfo3(DomctlGetpageframeinfo3 { num: 2, array: GuestHandle::new(address(LIST)) });
    assert_eq!(crate::domctl::toolstack::call_by(&world, 0, &mut op), Ok(0));
    let kinds = [0, 8].map(|at| world.page(0, LIST).load_u64(at).unwrap());
    assert_eq!(kinds, [XEN_DOMCTL_PFINFO_NOTAB, XEN_DOMCTL_PFINFO_XTAB].map(u64::from));
    assert!(is_ram(&world, MARKED));
}

#[test]
fn the_balloon_driver_pays_with_marks_and_with_memory() {
    let world = world();
    mark(&world, MARKED, LARGE).unwrap();
    target(&world, GUEST_PAGES + 100).unwrap();
    for gfn in MARKED..MARKED + 400 {
        assert_eq!(decrease(&world, gfn), Ok(()));
    }
    assert_eq!(pages(&world), [GUEST_PAGES + 100, 100, 112]);
    assert_eq!(decrease(&world, MARKED), Err(Errno::ENOENT));
    // Memory goes to the cache while there are more marks than pages in it.
    for gfn in 20..30 {
        assert_eq!(decrease(&world, gfn), Ok(()));
    }
    settle(&world);
    assert_eq!(pages(&world), [GUEST_PAGES + 100, 110, 112]);
    for gfn in MARKED + 400..MARKED + 402 {
        assert_eq!(decrease(&world, gfn), Ok(()));
    }
    // From here on there is enough, and the rest is free.
    assert_eq!(decrease(&world, 30), Ok(()));
    assert_eq!(decrease(&world, MARKED + 402), Ok(()));
    settle(&world);
    assert_eq!(pages(&world), [GUEST_PAGES + 98, 109, 109]);
    for gfn in MARKED + 403..MARKED + 512 {
        assert_eq!(touch(&world, gfn), After::Resume);
        assert!(is_ram(&world, gfn));
    }
    assert_eq!(pages(&world), [GUEST_PAGES + 98, 0, 0]);
}

#[test]
fn memory_that_is_mapped_or_populated_takes_the_place_of_marks() {
    let world = world();
    mark(&world, MARKED, LARGE).unwrap();
    target(&world, GUEST_PAGES + 4).unwrap();
    let domain = world.domain(1);
    let memory = world.hv.memory(&domain);
    assert_eq!(populate_extent(&memory, extent(MARKED + 5, SMALL), ANYWHERE), Ok(()));
    assert_eq!(pages(&world), [GUEST_PAGES + 5, 4, 511]);
    assert_eq!(populate_extent(&memory, extent(MARKED, LARGE), ANYWHERE), Ok(()));
    assert_eq!(pages(&world), [GUEST_PAGES + 517, 4, 0]);
}

#[test]
fn pages_of_zeros_are_taken_back_when_the_cache_is_empty() {
    let world = world();
    mark(&world, MARKED, LARGE).unwrap();
    target(&world, GUEST_PAGES + 10).unwrap();
    soil(&world);
    for gfn in MARKED..MARKED + 10 {
        assert_eq!(use_page(&world, gfn), After::Resume);
    }
    // The last four of them are written to, one of the others only at its end.
    for gfn in [MARKED + 3, MARKED + 6, MARKED + 7, MARKED + 8, MARKED + 9] {
        world.page(1, Gfn(gfn)).store_u64(4088, gfn).unwrap();
    }
    for gfn in MARKED + 100..MARKED + 105 {
        assert_eq!(use_page(&world, gfn), After::Resume);
        assert_eq!(world.page(1, Gfn(gfn)).load_u64(4088), Some(0));
        world.page(1, Gfn(gfn)).store_u64(4088, gfn).unwrap();
    }
    let there: Vec<u64> = (MARKED..MARKED + 512).filter(|gfn| is_ram(&world, *gfn)).map(|gfn| gfn - MARKED).collect();
    assert_eq!(there, [3, 6, 7, 8, 9, 100, 101, 102, 103, 104]);
    settle(&world);
    assert_eq!(pages(&world), [GUEST_PAGES + 10, 0, 502]);
    // It uses all that it has.
    assert_eq!(use_page(&world, MARKED + 200), After::Crash(CrashReason::OutOfMemory));
    let said = world.hv.machine.logged().join("\n");
    assert!(said.contains("out of PoD memory") && said.contains("502 more"), "{said}");
}

#[test]
fn a_page_that_is_written_to_or_shared_meanwhile_is_put_back() {
    let world = world();
    mark(&world, MARKED, LARGE).unwrap();
    target(&world, GUEST_PAGES + 11).unwrap();
    soil(&world);
    let domain = world.domain(1);
    let memory = world.hv.memory(&domain);
    for gfn in [0, 1, 2, 50, 51, 52, 53, 54, 55, 56, 57].map(|at| Gfn(MARKED + at)) {
        assert_eq!(memory.meet(gfn), Demand::Met);
        if gfn.0 >= MARKED + 50 {
            world.page(1, gfn).store_u64(0, 1).unwrap();
        }
    }
    let [first, second, third] = [0, 1, 2].map(|at| domain.space.lookup(Gfn(MARKED + at)).unwrap().mfn);
    assert_eq!(memory.meet(Gfn(MARKED + 9)), Demand::Short);
    assert!(matches!(memory.reclaim(|_| false), Reclaim::After(_, true)));
    assert!(!is_ram(&world, MARKED) && !is_ram(&world, MARKED + 1) && !is_ram(&world, MARKED + 2));
    // A CPU that has it in its TLB writes to the first; the second is touched; somebody takes a reference to the third.
    world.hv.machine.page(first).unwrap().store_u64(8, 5).unwrap();
    assert_eq!(memory.meet(Gfn(MARKED + 1)), Demand::Met);
    assert_eq!(domain.space.lookup(Gfn(MARKED + 1)).unwrap().mfn, second);
    let held = world.hv.frames.reference(third, GUEST).unwrap();
    assert!(matches!(memory.reclaim(|_| false), Reclaim::After(_, false)), "until every CPU has flushed it");
    assert_eq!(memory.reclaim(|_| true), Reclaim::Goes);
    assert_eq!(domain.space.lookup(Gfn(MARKED)).unwrap().mfn, first);
    assert_eq!(domain.space.lookup(Gfn(MARKED + 2)).unwrap().mfn, third);
    world.hv.frames.put(held);
    // A frame that is given up while its page is aside takes the page along.
    world.page(1, Gfn(MARKED + 1)).store_u64(0, 1).unwrap();
    while !matches!(memory.reclaim(|_| false), Reclaim::After(_, true)) {}
    assert!(!is_ram(&world, MARKED + 2));
    decrease(&world, MARKED + 2).unwrap();
    assert_eq!(memory.reclaim(|_| true), Reclaim::Goes);
    settle(&world);
    assert_eq!(pages(&world), [GUEST_PAGES + 10, 0, 501]);
}

#[test]
fn frames_of_a_guest_that_nothing_is_kept_for_end_it() {
    let world = world();
    mark(&world, MARKED, LARGE).unwrap();
    soil(&world);
    assert_eq!(use_page(&world, MARKED), After::Crash(CrashReason::OutOfMemory));
    let write = world.with_call(1, |call| call.memory().write(GuestHandle::new(address(Gfn(MARKED))), &1_u64));
    assert_eq!(write, Err(Errno::EFAULT));
    assert_eq!(touch(&world, MARKED + 512 * 4), After::Resume, "elsewhere there is nothing, as ever");
}

#[test]
fn a_guest_that_is_destroyed_in_any_state_leaves_nothing() {
    for state in 0..5 {
        let world = world();
        let free = settle(&world);
        let total = u64::from(world.hv.frames.account(GUEST).unwrap().total());
        mark(&world, MARKED, LARGE).unwrap();
        mark(&world, 1 << 18, PageOrder::SIZE_1G).unwrap();
        target(&world, GUEST_PAGES + 40).unwrap();
        let domain = world.domain(1);
        if state > 0 {
            soil(&world);
            touch(&world, MARKED);
        }
        if state > 1 {
            decrease(&world, MARKED + 9).unwrap();
            decrease(&world, 20).unwrap();
        }
        if state > 2 {
            for gfn in MARKED + 100..MARKED + 139 {
                use_page(&world, gfn);
            }
            while !matches!(world.hv.memory(&domain).reclaim(|_| false), Reclaim::After(..)) {}
        }
        if state > 3 {
            world.hv.memory(&domain).reclaim(|_| true);
        }
        drop(domain);
        assert_eq!(destroy(&world, GUEST), Ok(0), "{state}");
        // Its shared page and what else it had went too.
        assert!(settle(&world) >= free + total, "{state}");
        assert_eq!(world.hv.frames.account(GUEST).unwrap().cached(), 0);
        assert_eq!(world.hv.frames.claimed_pages(), 0);
    }
}

#[test]
fn cpus_that_touch_the_same_frames_take_each_page_once() {
    let world = world();
    for part in 0..2 {
        mark(&world, MARKED + part * 512, LARGE).unwrap();
    }
    target(&world, GUEST_PAGES + 700).unwrap();
    let domain = world.domain(1);
    std::thread::scope(|scope| {
        for start in 0..4_u64 {
            let (world, domain) = (&world, &domain);
            scope.spawn(move || {
                for step in 0..600 {
                    let gfn = MARKED + (start * 31 + step) % 640;
                    let memory = world.hv.memory(domain);
                    let met = memory.meet(Gfn(gfn));
                    assert!(matches!(met, Demand::Met | Demand::NotMarked | Demand::Wait), "{met:?} at {gfn:#x}");
                    if step % 97 == start {
                        let _ = remove_extent(&memory, extent(gfn, SMALL));
                    }
                }
            });
        }
    });
    settle(&world);
    let [total, cached, marks] = pages(&world);
    let there = (0..MARKED + 1024).filter(|gfn| is_ram(&world, *gfn)).count() as u64;
    assert_eq!(total, there + cached);
    let marked = (MARKED..MARKED + 1024).filter(|gfn| domain.space.mark_at(Gfn(*gfn)).0).count() as u64;
    assert_eq!(marks, marked);
}
