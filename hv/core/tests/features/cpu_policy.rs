//! The policy of CPUID that the toolstack gives a domain.

use xen_abi::cpu_policy::{CpuidLeaf, MsrEntry, XEN_CPUID_NO_SUBLEAF};
use xen_abi::domctl::DomctlCpuPolicy;
use xen_abi::{Errno, Gfn, GuestHandle, VcpuId};
use xenolith_core::domains::running::Running;
use xenolith_core::hypercalls::domctl::cpu_policy::{get_cpu_policy, set_cpu_policy};
use xenolith_core::x86::guest_cpuid;
use xenolith_hal::{CpuidRegisters, PAGE_SIZE};
use xenolith_world::World;
use zerocopy::{FromZeros, IntoBytes};

const LEAVES: Gfn = Gfn(10);
const MSRS: Gfn = Gfn(14);
const NOWHERE: u64 = 0x100_0000;

fn leaf(leaf: u32, subleaf: u32, [a, b, c, d]: [u32; 4]) -> CpuidLeaf {
    CpuidLeaf { leaf, subleaf, a, b, c, d }
}

fn request(leaves: u32, msrs: u32) -> DomctlCpuPolicy {
    DomctlCpuPolicy {
        nr_leaves: leaves,
        nr_msrs: msrs,
        leaves: GuestHandle::new(LEAVES.0 * PAGE_SIZE as u64),
        msrs: GuestHandle::new(MSRS.0 * PAGE_SIZE as u64),
        ..DomctlCpuPolicy::default()
    }
}

/// Domain 0 sets leaves and MSRs of domain 1; gives the answer with the leaf, subleaf and MSR that are wrong.
fn set(world: &World, leaves: &[CpuidLeaf], msrs: &[MsrEntry]) -> (Result<(), Errno>, [u32; 3]) {
    assert!(world.page(0, LEAVES).write_bytes(0, leaves.as_bytes()));
    assert!(world.page(0, MSRS).write_bytes(0, msrs.as_bytes()));
    let mut op = request(leaves.len() as u32, msrs.len() as u32);
    let answer = world.with_call(0, |call| set_cpu_policy(call, &world.domain(1), &mut op));
    (answer, [op.err_leaf, op.err_subleaf, op.err_msr])
}

const NOTHING_WRONG: [u32; 3] = [u32::MAX; 3];

/// What domain 1 sees.
fn seen(world: &World, leaf: u32) -> CpuidRegisters {
    let domain = world.domain(1);
    let vcpu = domain.vcpu(VcpuId(0)).unwrap();
    vcpu.with_core(|core| guest_cpuid::read(&Running { hv: &world.hv, domain: &domain, vcpu, core }, leaf, 0)).unwrap()
}

fn listed(world: &World) -> Vec<CpuidLeaf> {
    let mut op = request(120, 2);
    world.with_call(0, |call| get_cpu_policy(call, &world.domain(1), &mut op)).unwrap();
    let mut leaves = vec![CpuidLeaf::new_zeroed(); op.nr_leaves as usize];
    assert!(world.page(0, LEAVES).read_bytes(0, leaves.as_mut_bytes()));
    leaves
}

#[test]
fn what_the_toolstack_read_and_wrote_back_is_what_the_guest_sees() {
    let world = World::new(&[1, 1]);
    let mut leaves = Vec::new();
    world
        .hv
        .default_policy()
        .each_listed(|leaf| -> Result<(), ()> {
            leaves.push(leaf);
            Ok(())
        })
        .unwrap();
    assert_eq!(set(&world, &leaves, &[]), (Ok(()), NOTHING_WRONG));
    assert_eq!(listed(&world), leaves);
    assert_eq!(seen(&world, 0).eax, 0xd);
    assert_eq!(seen(&world, 0x8000_0001).ecx, 1);
    assert_eq!(seen(&world, 0x4000_0000).eax, 0x4000_0005, "the hypervisor's leaves are made at run time");
    assert_eq!(seen(&world, 0x4000_0004).ecx, 1);
}

#[test]
fn the_toolstack_may_take_features_away_and_describe_the_package() {
    let world = World::new(&[1, 1]);
    let mut leaves = Vec::new();
    world
        .hv
        .default_policy()
        .each_listed(|leaf| -> Result<(), ()> {
            leaves.push(leaf);
            Ok(())
        })
        .unwrap();
    // As libxenguest does: twice the processors, and the word that there are several. And no SSE3, no x2APIC.
    leaves[1].b = leaves[1].b & 0xff00_ffff | 4 << 16;
    leaves[1].d |= 1 << 28;
    leaves[1].c &= !(1 | 1 << 21);
    assert_eq!(set(&world, &leaves, &[]), (Ok(()), NOTHING_WRONG));
    let first = seen(&world, 1);
    assert_eq!((first.ebx, first.edx & 1 << 28, first.ecx & (1 | 1 << 21)), (4 << 16 | 0x800, 1 << 28, 0));
    assert_eq!(listed(&world)[1], leaves[1]);
}

#[test]
fn no_guest_gets_what_the_machine_or_the_hypervisor_does_not_have() {
    let world = World::new(&[1, 1]);
    let all = [u32::MAX; 4];
    let wishes = [
        leaf(1, XEN_CPUID_NO_SUBLEAF, all),
        leaf(7, 0, [0, !0, !0, !0]),
        leaf(0xd, 0, [7, 832, 832, 0]),
        leaf(0xd, 1, all),
        leaf(0x8000_0001, XEN_CPUID_NO_SUBLEAF, all),
        leaf(0x8000_0007, XEN_CPUID_NO_SUBLEAF, all),
        leaf(0x8000_0008, XEN_CPUID_NO_SUBLEAF, all),
        leaf(0x8000_000a, XEN_CPUID_NO_SUBLEAF, all),
        leaf(0x8000_0021, XEN_CPUID_NO_SUBLEAF, all),
        leaf(5, XEN_CPUID_NO_SUBLEAF, all),
        leaf(0xa, XEN_CPUID_NO_SUBLEAF, all),
    ];
    assert_eq!(set(&world, &wishes, &[]), (Ok(()), NOTHING_WRONG));
    assert_eq!(seen(&world, 1).ecx, 0x8020_2001);
    assert_eq!(seen(&world, 1).edx, 0x078b_fbfd | 1 << 28);
    assert_eq!(seen(&world, 0x8000_0001).ecx, 3, "no SVM");
    assert_eq!(seen(&world, 0x8000_0001).edx & 1 << 27, 0, "no RDTSCP");
    assert_eq!(seen(&world, 0x8000_0008).eax, 0x3028);
    assert_eq!((seen(&world, 0x8000_0021).eax, seen(&world, 0x8000_0021).ecx), (4, 0));
    for gone in [5, 7, 0xa, 0xd, 0x8000_0007, 0x8000_000a] {
        assert_eq!(seen(&world, gone), CpuidRegisters::default(), "{gone:#x}");
    }
}

#[test]
fn more_leaves_than_the_machine_has_are_refused_with_the_leaf_that_says_so() {
    let world = World::new(&[1, 1]);
    let before = listed(&world);
    let none = XEN_CPUID_NO_SUBLEAF;
    let wrong = |wish| set(&world, &[wish], &[]);
    let nothing = u32::MAX;
    assert_eq!(wrong(leaf(0, none, [0xe, 0, 0, 0])), (Err(Errno::EINVAL), [0, none, nothing]));
    assert_eq!(wrong(leaf(7, 0, [1, 0, 0, 0])), (Err(Errno::EINVAL), [7, 0, nothing]));
    let beyond = leaf(0x8000_0000, none, [0x8000_0022, 0, 0, 0]);
    assert_eq!(wrong(beyond), (Err(Errno::EINVAL), [0x8000_0000, none, nothing]));
    for (number, subleaf) in [(0xe, none), (0x8000_0022, none), (0x4000_0001, none), (1, 0), (7, 3), (4, 6), (0xb, 2)] {
        assert_eq!(wrong(leaf(number, subleaf, [0; 4])), (Err(Errno::ERANGE), [number, subleaf, nothing]));
    }
    assert_eq!(listed(&world), before, "nothing was changed");
}

#[test]
fn msrs_are_checked_and_lists_that_are_too_long_or_not_there_are_refused() {
    let world = World::new(&[1, 1]);
    let msr = |idx, flags, val| set(&world, &[], &[MsrEntry { idx, flags, val }]);
    let nothing = u32::MAX;
    assert_eq!(msr(0xce, 0, 1 << 31), (Ok(()), NOTHING_WRONG));
    assert_eq!(msr(0x10a, 0, 0), (Ok(()), NOTHING_WRONG));
    assert_eq!(msr(0xce, 1, 0), (Err(Errno::EINVAL), [nothing, nothing, 0xce]));
    assert_eq!(msr(0xce, 0, 1), (Err(Errno::EINVAL), [nothing, nothing, 0xce]));
    assert_eq!(msr(0xce, 0, 1 << 32), (Err(Errno::EOVERFLOW), [nothing, nothing, 0xce]));
    assert_eq!(msr(0x10a, 0, 1), (Err(Errno::EINVAL), [nothing, nothing, 0x10a]));
    assert_eq!(msr(0x1b, 0, 0), (Err(Errno::ERANGE), [nothing, nothing, 0x1b]));
    let attempt = |mut op| world.with_call(0, |call| set_cpu_policy(call, &world.domain(1), &mut op));
    assert_eq!(attempt(request(121, 0)), Err(Errno::E2BIG));
    assert_eq!(attempt(request(0, 3)), Err(Errno::E2BIG));
    assert_eq!(attempt(DomctlCpuPolicy { leaves: GuestHandle::new(NOWHERE), ..request(1, 0) }), Err(Errno::EFAULT));
    let short = |mut op| world.with_call(0, |call| get_cpu_policy(call, &world.domain(1), &mut op));
    assert_eq!(short(request(5, 2)), Err(Errno::ENOBUFS));
    assert_eq!(short(request(120, 1)), Err(Errno::ENOBUFS));
    let mut sizes = DomctlCpuPolicy::default();
    assert_eq!(world.with_call(0, |call| get_cpu_policy(call, &world.domain(1), &mut sizes)), Ok(()));
    assert_eq!((sizes.nr_leaves, sizes.nr_msrs), (120, 2));
}
