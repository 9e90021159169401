//! Calls for which memory is short end: with what is about to be free if it comes in time, without it otherwise. A call
//! that was made again and again for it would be all that the caller's vCPU ever does.
use xen_abi::hypercall::MEMORY_OP;
use xen_abi::memory::{MemoryReservation, XENMEM_INCREASE_RESERVATION, XENMEM_POPULATE_PHYSMAP};
use xen_abi::{DomId, Gfn, GuestHandle};
use xenolith_core::memory::frames::{ANYWHERE, OwnedFrame};
use xenolith_hal::{CpuId, Mfn, PageOrder};
use xenolith_world::{Answer, World};

const LIST: Gfn = Gfn(10);

/// Domain 1 asks for a page of its own at a frame.
fn populate(world: &World, at: u64) -> Answer {
    assert!(world.page(1, LIST).store_u64(0, at).is_some());
    let mut op = MemoryReservation {
        extent_start: GuestHandle::new(LIST.0 << 12),
        nr_extents: 1,
        domid: DomId::SELF,
        ..MemoryReservation::default()
    };
    world.call_with(1, MEMORY_OP, XENMEM_POPULATE_PHYSMAP, &mut op)
}

fn world(cpus: usize) -> World {
    let world = World::on_cpus(cpus, &[1, 1]);
    world.hv.frames.account(DomId(1)).unwrap().set_max(u32::MAX);
    world
}

/// Takes all memory, and gives back one frame, which waits.
fn all_but_one_that_waits(world: &World) {
    let frames = &world.hv.frames;
    let take = || frames.allocate(&world.hv.machine, DomId(1), PageOrder::SIZE_4K, ANYWHERE);
    let all: Vec<Mfn> = std::iter::from_fn(|| take().ok()).map(OwnedFrame::into_mapping).collect();
    assert!(frames.release(*all.last().unwrap(), DomId(1)));
    assert_eq!((frames.free_pages(), frames.waiting()), (0, 1));
}

#[test]
fn a_pool_that_pays_for_no_more_tables_is_no_shortage_that_passes() {
    let world = world(1);
    let domain = world.domain(1);
    domain.physmap.with_pool(|pool| pool.resize(pool.used())).unwrap();
    // Another GiB, which needs a table.
    assert_eq!(populate(&world, 5 << 18), Ok(0));
    domain.physmap.with_pool(|pool| pool.resize(pool.used() + 1)).unwrap();
    assert_eq!(populate(&world, 5 << 18), Ok(1));
}

#[test]
fn memory_that_waits_for_the_caller_alone_is_had_at_once() {
    let world = world(2);
    world.hv.frames.quiet(CpuId(0));
    all_but_one_that_waits(&world);
    assert_eq!(populate(&world, 0x100), Ok(1));
    assert_eq!(populate(&world, 0x101), Ok(0));
}

#[test]
fn memory_that_does_not_come_is_not_waited_for_without_end() {
    let world = world(2);
    // It holds something that it looked up, and does not come to its quiet point.
    world.hv.frames.quiet(CpuId(1));
    all_but_one_that_waits(&world);
    assert_eq!(populate(&world, 0x100), Ok(0));
    assert!(world.hv.machine.kicks(CpuId(1)) > 0, "it was made to hurry");
    let mut op = MemoryReservation { nr_extents: 1, domid: DomId::SELF, ..MemoryReservation::default() };
    assert_eq!(world.call_with(1, MEMORY_OP, XENMEM_INCREASE_RESERVATION, &mut op), Ok(0));
    world.hv.frames.quiet(CpuId(1));
    assert_eq!(populate(&world, 0x100), Ok(1));
}
