//! The registers of a domain that was taken apart. What the machine took for its vCPUs went back to the frames, so nothing
//! may read or write it any more.

use super::toolstack::*;
use xen_abi::domctl::*;
use xen_abi::guest_context::{GuestContextFlags, VcpuGuestContext};
use xen_abi::{DomId, Errno, GuestHandle, VcpuId};
use xenolith_core::components::grant::World as _;
use xenolith_core::domains::domain::Life;
use xenolith_core::memory::frames::PageRef;
use xenolith_hal::Gfn;
use xenolith_world::World;
use zerocopy::IntoBytes;

/// A domain that is dead and stays in the list, since somebody still has a page of its.
fn dead(world: &World) -> (DomId, PageRef) {
    let id = create(world);
    give_vcpus(world, id, 2).unwrap();
    give_memory(world, id, 8).unwrap();
    populate(world, id, 0, 8);
    domain(world, id).vcpus[0].bring_up();
    let held = world.hv.memory(&domain(world, id)).own_page(Gfn(5), true).unwrap();
    destroy(world, id).unwrap();
    settle(world);
    assert_eq!(domain(world, id).life(), Life::Dead);
    (id, held)
}

#[test]
fn registers_of_a_dead_domain_are_not_read() {
    let world = World::new(&[1]);
    let (id, _held) = dead(&world);
    let mut op = domctl(XEN_DOMCTL_GETVCPUCONTEXT, id);
    op.set_vcpucontext(DomctlVcpucontext {
        vcpu: VcpuId(0),
        ctxt: GuestHandle::new(address(FIRST_BUFFER)),
        ..DomctlVcpucontext::default()
    });
    let answer = call(&world, &mut op);
    assert!(answer.is_err(), "the registers of a freed control block were told: {answer:?}");
}

#[test]
fn the_state_of_a_dead_domain_is_not_saved() {
    let world = World::new(&[1]);
    let (id, _held) = dead(&world);
    let mut op = domctl(XEN_DOMCTL_GETHVMCONTEXT, id);
    op.set_hvmcontext(DomctlHvmcontext {
        size: 1 << 16,
        buffer: GuestHandle::new(address(Gfn(8))),
        ..DomctlHvmcontext::default()
    });
    let answer = call(&world, &mut op);
    assert_eq!(answer, Err(Errno::EINVAL), "a freed control block was saved");
}

#[test]
fn registers_of_a_dead_domain_are_not_written() {
    let world = World::new(&[1]);
    let (id, _held) = dead(&world);
    let context = VcpuGuestContext { flags: GuestContextFlags::ONLINE, ..VcpuGuestContext::default() };
    for (gfn, part) in (FIRST_BUFFER.0..).zip(context.as_bytes().chunks(4096)) {
        assert!(world.page(0, Gfn(gfn)).write_bytes(0, part));
    }
    let mut op = domctl(XEN_DOMCTL_SETVCPUCONTEXT, id);
    op.set_vcpucontext(DomctlVcpucontext {
        vcpu: VcpuId(0),
        ctxt: GuestHandle::new(address(FIRST_BUFFER)),
        ..DomctlVcpucontext::default()
    });
    let answer = call(&world, &mut op);
    assert!(answer.is_err(), "a freed control block was written: {answer:?}");
}
