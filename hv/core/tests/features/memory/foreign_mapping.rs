//! Pages of other domains in the control domain's translation: what mapping and unmapping them costs the other CPUs,
//! and what becomes of them when their owner goes.

use xen_abi::hvm_op::HVMOP_FLUSH_TLBS;
use xen_abi::hypercall::{HVM_OP, MEMORY_OP};
use xen_abi::memory::*;
use xen_abi::physmap::*;
use xen_abi::{DomId, Errno, Gfn, GuestHandle, VcpuId};
use xenolith_core::domains::vcpu::VcpuCore;
use xenolith_core::hypercalls::make;
use xenolith_core::outcome::Outcome;
use xenolith_fake::FakeMachine;
use xenolith_hal::{CpuId, Mfn, NestedSpace, PAGE_SIZE, PageKind, Time};
use xenolith_world::{GUEST_PAGES, World};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Where the structure and its lists lie.
const STRUCTURE: Gfn = Gfn(3);
const FRAMES: Gfn = Gfn(10);
const PLACES: Gfn = Gfn(11);
const ERRORS: Gfn = Gfn(12);
/// Guest frames of domain 0 where nothing is.
const HOLE: u64 = 0x200;
/// The other CPU, which is inside a guest of domain 0 all the time.
const OTHER: CpuId = CpuId(1);
/// The CPU that makes the calls.
const THIS: CpuId = CpuId(0);

const fn address(gfn: Gfn) -> u64 {
    gfn.0 * PAGE_SIZE as u64
}

/// Domain 0 with two vCPUs, the second of which runs on another CPU.
struct Busy {
    world: World,
    running: Option<Box<VcpuCore<FakeMachine>>>,
}

impl Busy {
    fn new() -> Self {
        let world = World::on_cpus(2, &[2, 1]);
        let domain = world.domain(0);
        let second = domain.vcpu(VcpuId(1)).unwrap();
        second.bring_up();
        let running = second.take_core();
        world.hv.frames.quiet(THIS);
        world.hv.frames.quiet(OTHER);
        Self { world, running }
    }

    /// Makes a call of domain 0 once, however it ends.
    fn once<T: FromBytes + IntoBytes + Immutable>(&self, op: u32, value: &mut T) -> Result<Outcome, Errno> {
        assert!(self.world.page(0, STRUCTURE).write_bytes(0, value.as_bytes()));
        let answer = self.world.with_call(0, |call| {
            call.args = [op.into(), address(STRUCTURE), 0, 0, 0, 0];
            make(MEMORY_OP.into(), call)
        });
        assert!(self.world.page(0, STRUCTURE).read_bytes(0, value.as_mut_bytes()));
        answer
    }

    /// Maps a frame of domain 1 as Debian's kernel does: a batch of one.
    fn map(&self, frame: u64, place: u64) -> Result<Outcome, Errno> {
        for (list, value) in [(FRAMES, frame), (PLACES, place)] {
            self.world.page(0, list).store_u64(0, value).unwrap();
        }
        let mut op = AddToPhysmapBatch {
            domid: DomId::SELF,
            space: XENMAPSPACE_GMFN_FOREIGN as u16,
            size: 1,
            foreign_domid: DomId(1),
            idxs: GuestHandle::new(address(FRAMES)),
            gpfns: GuestHandle::new(address(PLACES)),
            errs: GuestHandle::new(address(ERRORS)),
        };
        let answer = self.once(XENMEM_ADD_TO_PHYSMAP_BATCH, &mut op);
        if answer == Ok(Outcome::OK) {
            assert_eq!(self.world.page(0, ERRORS).load_u32(0), Some(0));
        }
        answer
    }

    fn unmap(&self, place: u64) -> Result<Outcome, Errno> {
        let mut op = RemoveFromPhysmap { domid: DomId::SELF, gpfn: Gfn(place), ..RemoveFromPhysmap::default() };
        self.once(XENMEM_REMOVE_FROM_PHYSMAP, &mut op)
    }

    fn kicks(&self) -> u64 {
        self.world.hv.machine.kicks(THIS) + self.world.hv.machine.kicks(OTHER)
    }

    fn kind_at(&self, place: u64) -> Option<PageKind> {
        self.world.domain(0).space.lookup(Gfn(place)).map(|at| at.kind)
    }
}

#[test]
fn a_flush_of_all_translations_is_over_when_each_cpu_has_left_the_guest() {
    let busy = Busy::new();
    let call = |args| {
        busy.world.with_call(0, |call| {
            call.args = args;
            make(HVM_OP.into(), call)
        })
    };
    let generation = || busy.world.domain(0).space.generation();
    let before = generation();
    assert_eq!(call([HVMOP_FLUSH_TLBS.into(), 1, 0, 0, 0, 0]), Err(Errno::EINVAL));
    assert_eq!(generation(), before);
    let Ok(Outcome::Again(args)) = call([HVMOP_FLUSH_TLBS.into(), 0, 0, 0, 0, 0]) else { panic!("a CPU runs") };
    assert_eq!((generation(), busy.kicks()), (before + 1, 1));
    assert_eq!(call(args), Ok(Outcome::Again(args)), "the other CPU has not looked yet");
    busy.world.hv.frames.quiet(OTHER);
    assert_eq!(call(args), Ok(Outcome::OK));
    assert_eq!((generation(), busy.kicks()), (before + 1, 1));
}

#[test]
fn a_thousand_foreign_pages_are_unmapped_without_interrupting_any_cpu() {
    let busy = Busy::new();
    for n in 0..1000 {
        assert_eq!(busy.map(n % GUEST_PAGES, HOLE + n), Ok(Outcome::OK));
    }
    for n in 0..1000 {
        assert_eq!(busy.unmap(HOLE + n), Ok(Outcome::OK));
    }
    assert_eq!(busy.kicks(), 0);
    // Memory is to come back at some time, so after a while the other CPU is asked once to look around.
    for _ in 0..5 {
        busy.world.hv.machine.pass_ns(2_000_000);
        busy.world.hv.frames.poll(&busy.world.hv.machine, || false);
    }
    assert!(busy.kicks() <= 4, "each CPU once for each place where references wait: {}", busy.kicks());
}

#[test]
fn a_new_page_is_not_mapped_where_another_cpu_may_still_see_the_old_one() {
    let busy = Busy::new();
    for n in 0..100 {
        assert_eq!(busy.map(1, HOLE + n), Ok(Outcome::OK));
    }
    (0..100).for_each(|n| assert_eq!(busy.unmap(HOLE + n), Ok(Outcome::OK)));
    assert!(matches!(busy.map(2, HOLE), Ok(Outcome::Again(_))));
    assert!(matches!(busy.map(2, HOLE), Ok(Outcome::Again(_))), "the other CPU has not looked yet");
    assert_eq!((busy.kind_at(HOLE), busy.kicks()), (None, 1));
    busy.world.hv.frames.quiet(OTHER);
    for n in 0..100 {
        assert_eq!(busy.map(2, HOLE + n), Ok(Outcome::OK));
    }
    assert_eq!(busy.kicks(), 1, "one for all hundred");
}

#[test]
fn nobody_waits_for_a_vcpu_that_does_not_run() {
    let mut busy = Busy::new();
    assert_eq!(busy.map(1, HOLE), Ok(Outcome::OK));
    assert_eq!(busy.unmap(HOLE), Ok(Outcome::OK));
    busy.world.domain(0).vcpu(VcpuId(1)).unwrap().put_core(busy.running.take().unwrap());
    assert_eq!(busy.map(2, HOLE), Ok(Outcome::OK));
    assert_eq!(busy.kicks(), 0);
}

#[test]
fn memory_that_was_given_up_is_not_populated_again_before_every_cpu_has_dropped_it() {
    let busy = Busy::new();
    busy.world.page(0, FRAMES).store_u64(0, 20).unwrap();
    let mut op = MemoryReservation {
        extent_start: GuestHandle::new(address(FRAMES)),
        nr_extents: 1,
        domid: DomId::SELF,
        ..MemoryReservation::default()
    };
    assert_eq!(busy.once(XENMEM_DECREASE_RESERVATION, &mut op), Ok(Outcome::Done(1)));
    assert!(matches!(busy.once(XENMEM_POPULATE_PHYSMAP, &mut op), Ok(Outcome::Again(_))));
    assert_eq!(busy.kind_at(20), None);
    busy.world.hv.frames.quiet(OTHER);
    assert_eq!(busy.once(XENMEM_POPULATE_PHYSMAP, &mut op), Ok(Outcome::Done(1)));
    assert_eq!(busy.kind_at(20), Some(PageKind::Ram));
}

#[test]
fn a_page_of_a_domain_that_is_gone_stays_until_it_is_unmapped() {
    let world = World::new(&[1, 1]);
    let hv = &world.hv;
    let map = |frame: u64, place: u64| {
        for (list, value) in [(FRAMES, frame), (PLACES, place)] {
            world.page(0, list).store_u64(0, value).unwrap();
        }
        let mut op = AddToPhysmapBatch {
            domid: DomId::SELF,
            space: XENMAPSPACE_GMFN_FOREIGN as u16,
            size: 1,
            foreign_domid: DomId(1),
            idxs: GuestHandle::new(address(FRAMES)),
            gpfns: GuestHandle::new(address(PLACES)),
            errs: GuestHandle::new(address(ERRORS)),
        };
        assert_eq!(world.call_with(0, MEMORY_OP, XENMEM_ADD_TO_PHYSMAP_BATCH, &mut op), Ok(0));
        assert_eq!(world.page(0, ERRORS).load_u32(0), Some(0));
    };
    map(5, HOLE);
    map(5, HOLE + 1);
    world.page(1, Gfn(5)).store_u64(0, 0x5eed).unwrap();
    let dead = world.domain(1);
    assert_eq!(hv.frames.release_strays(dead.id, Mfn(0), 1 << 20), None);
    let settle = || {
        for _ in 0..3 {
            hv.frames.quiet(CpuId(0));
            hv.frames.poll_with(&hv.machine, false, || Time(0), |_| ());
        }
    };
    settle();
    assert_eq!(world.page(0, Gfn(HOLE)).load_u64(0), Some(0x5eed), "it is still there");
    assert_eq!(hv.frames.account(DomId(1)).unwrap().total(), 1, "and counts as the dead domain's");
    for place in [HOLE, HOLE + 1] {
        let mut op = RemoveFromPhysmap { domid: DomId::SELF, gpfn: Gfn(place), ..RemoveFromPhysmap::default() };
        assert_eq!(world.call_with(0, MEMORY_OP, XENMEM_REMOVE_FROM_PHYSMAP, &mut op), Ok(0));
        settle();
    }
    assert_eq!(hv.frames.account(DomId(1)).unwrap().total(), 0);
}
