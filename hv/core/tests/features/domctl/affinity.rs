//! Where vCPUs may run.

use super::toolstack::*;
use xen_abi::domctl::*;
use xen_abi::hypercall::CtlBitmap;
use xen_abi::{DomId, Errno, GuestHandle, VcpuId};
use xenolith_hal::{CpuId, PAGE_SIZE};
use xenolith_world::World;

const fn map(at: u64, nr_bits: u32) -> CtlBitmap {
    CtlBitmap { bitmap: GuestHandle::new(at), nr_bits, pad: [0; 4] }
}

fn affinity(world: &World, cmd: u32, domain: DomId, vcpu: u32, flags: AffinityFlags, bits: u32) -> Result<u64, Errno> {
    let mut op = domctl(cmd, domain);
    op.set_vcpuaffinity(DomctlVcpuaffinity {
        vcpu: VcpuId(vcpu),
        flags,
        cpumap_hard: map(address(FIRST_BUFFER), bits),
        cpumap_soft: map(address(SECOND_BUFFER), bits),
    });
    call(world, &mut op)
}

fn write(world: &World, hard: u64, soft: u64) {
    world.page(0, FIRST_BUFFER).store_u64(0, hard);
    world.page(0, SECOND_BUFFER).store_u64(0, soft);
}

fn read(world: &World) -> (u64, u64) {
    let first = |page| world.page(0, page).load_u64(0).unwrap();
    (first(FIRST_BUFFER), first(SECOND_BUFFER))
}

const BOTH: AffinityFlags = AffinityFlags(AffinityFlags::HARD.0 | AffinityFlags::SOFT.0);
const SET: u32 = XEN_DOMCTL_SETVCPUAFFINITY;
const GET: u32 = XEN_DOMCTL_GETVCPUAFFINITY;

fn world() -> (World, DomId) {
    let world = World::on_cpus(4, &[1]);
    let id = create(&world);
    give_vcpus(&world, id, 2).unwrap();
    (world, id)
}

#[test]
fn a_new_vcpu_may_run_everywhere() {
    let (world, id) = world();
    write(&world, u64::MAX, u64::MAX);
    assert_eq!(affinity(&world, GET, id, 1, BOTH, 64), Ok(0));
    assert_eq!(read(&world), (0xf, 0xf));
}

#[test]
fn what_is_set_is_told_as_far_as_it_counts_and_kept_whole() {
    let (world, id) = world();
    write(&world, 0b1110, 0b0111);
    assert_eq!(affinity(&world, SET, id, 0, BOTH, 64), Ok(0));
    assert_eq!(read(&world), (0b1110, 0b0110));
    assert_eq!(affinity(&world, GET, id, 0, BOTH, 64), Ok(0));
    assert_eq!(read(&world), (0b1110, 0b0111));
    let settings = domain(&world, id).vcpus[0].schedule.effective();
    assert!(!settings.allows(CpuId(0)) && settings.allows(CpuId(3)));
}

#[test]
fn only_the_map_that_is_asked_for_is_touched() {
    let (world, id) = world();
    write(&world, 0b0001, 0xaaaa);
    assert_eq!(affinity(&world, SET, id, 0, AffinityFlags::HARD, 64), Ok(0));
    assert_eq!(read(&world), (1, 0xaaaa));
    write(&world, 0x5555, 0b1000);
    assert_eq!(affinity(&world, SET, id, 0, AffinityFlags::SOFT, 64), Ok(0));
    assert_eq!(read(&world), (0x5555, 0));
}

#[test]
fn a_place_without_a_cpu_is_refused_and_nothing_changes() {
    let (world, id) = world();
    write(&world, 0xf0, 0xf);
    assert_eq!(affinity(&world, SET, id, 0, BOTH, 64), Err(Errno::EINVAL));
    assert_eq!(affinity(&world, GET, id, 0, BOTH, 64), Ok(0));
    assert_eq!(read(&world), (0xf, 0xf));
}

#[test]
fn a_cpu_that_runs_no_guests_counts_as_not_there() {
    let world = World::sparing_cpu0(3, &[1]);
    let id = create(&world);
    give_vcpus(&world, id, 2).unwrap();
    write(&world, 0b001, 0b111);
    assert_eq!(affinity(&world, SET, id, 0, BOTH, 64), Err(Errno::EINVAL));
    write(&world, 0b011, 0b111);
    assert_eq!(affinity(&world, SET, id, 0, BOTH, 64), Ok(0));
    assert_eq!(read(&world), (0b010, 0b010));
}

#[test]
fn arguments_without_meaning_are_refused() {
    let (world, id) = world();
    write(&world, 1, 1);
    assert_eq!(affinity(&world, SET, id, 2, BOTH, 64), Err(Errno::EINVAL));
    assert_eq!(affinity(&world, GET, id, 0, AffinityFlags::empty(), 64), Err(Errno::EINVAL));
    let unmade = create(&world);
    assert_eq!(affinity(&world, GET, unmade, 0, BOTH, 64), Err(Errno::ESRCH));
    let mut op = domctl(GET, id);
    op.set_vcpuaffinity(DomctlVcpuaffinity { flags: AffinityFlags::HARD, ..DomctlVcpuaffinity::default() });
    assert_eq!(call(&world, &mut op), Err(Errno::EINVAL));
}

#[test]
fn a_map_that_is_too_short_gets_what_fits_and_a_long_one_is_filled_with_zeros() {
    let (world, id) = world();
    write(&world, u64::MAX, u64::MAX);
    assert_eq!(affinity(&world, GET, id, 0, BOTH, 2), Ok(0));
    assert_eq!(read(&world).0, !0xff | 0xf);
    world.page(0, FIRST_BUFFER).store_u64(504, u64::MAX);
    assert_eq!(affinity(&world, GET, id, 0, AffinityFlags::HARD, 4096), Ok(0));
    assert_eq!(world.page(0, FIRST_BUFFER).load_u64(504), Some(0));
    assert_eq!(affinity(&world, GET, id, 0, AffinityFlags::HARD, u32::MAX), Err(Errno::E2BIG));
}

#[test]
fn a_soft_map_that_cannot_be_read_leaves_the_hard_one_as_it_was() {
    let (world, id) = world();
    write(&world, 0b0010, 0);
    let mut op = domctl(SET, id);
    let (cpumap_hard, cpumap_soft) = (map(address(FIRST_BUFFER), 64), map(NOWHERE, 64));
    op.set_vcpuaffinity(DomctlVcpuaffinity { vcpu: VcpuId(0), flags: BOTH, cpumap_hard, cpumap_soft });
    assert_eq!(call(&world, &mut op), Err(Errno::EFAULT));
    assert!(domain(&world, id).vcpus[0].schedule.effective().allows(CpuId(0)));
}

#[test]
fn a_vcpu_that_pinned_itself_is_left_there_unless_forced() {
    let (world, id) = world();
    let domain = domain(&world, id);
    let vcpu = &domain.vcpus[0];
    world.hv.scheduler.pin(&world.hv.machine, &domain, vcpu, Some(CpuId(2)));
    write(&world, 0b0001, 0);
    assert_eq!(affinity(&world, SET, id, 0, AffinityFlags::HARD, 64), Err(Errno::EBUSY));
    assert!(vcpu.schedule.effective().allows(CpuId(2)));
    assert_eq!(affinity(&world, SET, id, 0, AffinityFlags::HARD | AffinityFlags::FORCE, 64), Ok(0));
    assert!(vcpu.schedule.effective().allows(CpuId(0)) && !vcpu.schedule.effective().allows(CpuId(2)));
}

#[test]
fn where_a_vcpu_runs_says_nothing_about_its_share() {
    let (world, id) = world();
    let domain = domain(&world, id);
    let mut op = domctl(XEN_DOMCTL_SCHEDULER_OP, id);
    let mut share = DomctlSchedulerOp { sched_id: XEN_SCHEDULER_CREDIT2, ..DomctlSchedulerOp::default() };
    share.set_credit2(DomctlSchedCredit2 { weight: 512, cap: 60 });
    op.set_scheduler_op(share);
    assert_eq!(call(&world, &mut op), Ok(0));
    write(&world, 0b0010, 0b0010);
    assert_eq!(affinity(&world, SET, id, 0, BOTH, 64), Ok(0));
    let settings = domain.vcpus[0].schedule.settings();
    // Both vCPUs together may use 60 percent.
    assert_eq!((settings.weight(), settings.cap_percent()), (512, 30));
}

#[test]
fn there_is_one_node() {
    let (world, id) = world();
    let node = |cmd, at, bits| {
        let mut op = domctl(cmd, id);
        op.set_nodeaffinity(DomctlNodeaffinity { nodemap: map(at, bits) });
        call(&world, &mut op)
    };
    write(&world, u64::MAX, 0);
    assert_eq!(node(XEN_DOMCTL_SETNODEAFFINITY, address(FIRST_BUFFER), 64), Ok(0));
    assert_eq!(node(XEN_DOMCTL_GETNODEAFFINITY, address(FIRST_BUFFER), 64), Ok(0));
    assert_eq!(read(&world).0, 1);
    write(&world, 2, 0);
    assert_eq!(node(XEN_DOMCTL_SETNODEAFFINITY, address(FIRST_BUFFER), 64), Err(Errno::EINVAL));
    assert_eq!(node(XEN_DOMCTL_SETNODEAFFINITY, NOWHERE, 64), Err(Errno::EFAULT));
    // A map that ends at the end of what is mapped is not read past that.
    let last = address(xen_abi::Gfn(xenolith_world::GUEST_PAGES + 1)) - 8;
    world.page(0, xenolith_world::SHARED_INFO).store_u64(PAGE_SIZE - 8, 1);
    assert_eq!(node(XEN_DOMCTL_SETNODEAFFINITY, last, 64), Ok(0));
}
