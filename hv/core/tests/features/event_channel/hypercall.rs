//! `event_channel_op` from the caller's registers to the structure that it finds changed.

use xen_abi::event_channel::*;
use xen_abi::hypercall::{EVENT_CHANNEL_OP, EVENT_CHANNEL_OP_COMPAT};
use xen_abi::shared_info::SHARED_INFO_EVTCHN_PENDING;
use xen_abi::virq::VIRQ_TIMER;
use xen_abi::{DomId, Errno, Gfn, Port, VcpuId};
use xenolith_core::components::event_channel::{Progress, raise_vcpu, teardown};
use xenolith_core::lifecycle::event_domain::HostedDomain;
use xenolith_core::lifecycle::waking;
use xenolith_world::{Answer, GUEST_PAGES, SHARED_INFO, World, vectors};
use zerocopy::{FromBytes, Immutable, IntoBytes};

fn evtchn<T: FromBytes + IntoBytes + Immutable>(world: &World, caller: u16, op: u32, value: &mut T) -> Answer {
    world.call_with(caller, EVENT_CHANNEL_OP, op, value)
}

fn alloc_unbound(world: &World, caller: u16, dom: DomId, remote_dom: DomId) -> Result<Port, Errno> {
    let mut op = EvtchnAllocUnbound { dom, remote_dom, port: Port(99) };
    evtchn(world, caller, EVTCHNOP_ALLOC_UNBOUND, &mut op).map(|_| op.port)
}

fn status(world: &World, caller: u16, dom: DomId, port: Port) -> Result<EvtchnStatus, Errno> {
    let mut op = EvtchnStatus { dom, port, ..EvtchnStatus::default() };
    evtchn(world, caller, EVTCHNOP_STATUS, &mut op).map(|_| op)
}

fn bind_interdomain(world: &World, caller: u16, remote_dom: DomId, remote_port: Port) -> Result<Port, Errno> {
    let mut op = EvtchnBindInterdomain { remote_dom, remote_port, ..EvtchnBindInterdomain::default() };
    evtchn(world, caller, EVTCHNOP_BIND_INTERDOMAIN, &mut op).map(|_| op.local_port)
}

fn is_pending(world: &World, id: u16, port: Port) -> bool {
    world.page(id, SHARED_INFO).load_u64(SHARED_INFO_EVTCHN_PENDING).unwrap() >> port.0 & 1 != 0
}

#[test]
fn the_control_domain_sets_up_a_channel_for_another_and_connects_to_it() {
    let world = World::new(&[1, 1]);
    assert_eq!(alloc_unbound(&world, 0, DomId(1), DomId::SELF), Ok(Port(1)));
    let found = status(&world, 0, DomId(1), Port(1)).unwrap();
    assert_eq!((found.status, found.unbound()), (EVTCHNSTAT_UNBOUND, DomId(0)));
    assert_eq!(bind_interdomain(&world, 0, DomId(1), Port(1)), Ok(Port(1)));
    let found = status(&world, 1, DomId::SELF, Port(1)).unwrap();
    let peer = EvtchnPeer { dom: DomId(0), port: Port(1), ..EvtchnPeer::default() };
    assert_eq!((found.status, found.interdomain()), (EVTCHNSTAT_INTERDOMAIN, peer));
    assert_eq!(evtchn(&world, 1, EVTCHNOP_SEND, &mut EvtchnSend { port: Port(1) }), Ok(0));
    assert!(is_pending(&world, 0, Port(1)));
}

#[test]
fn an_ordinary_domain_works_on_itself_alone() {
    let world = World::new(&[1, 1, 1]);
    assert_eq!(alloc_unbound(&world, 1, DomId(2), DomId::SELF), Err(Errno::EPERM));
    assert_eq!(alloc_unbound(&world, 1, DomId(0), DomId::SELF), Err(Errno::EPERM));
    assert_eq!(alloc_unbound(&world, 1, DomId(9), DomId::SELF), Err(Errno::ESRCH));
    assert_eq!(alloc_unbound(&world, 1, DomId(1), DomId(2)), Ok(Port(1)));
    assert_eq!(status(&world, 1, DomId(2), Port(0)).err(), Some(Errno::EPERM));
    assert_eq!(status(&world, 1, DomId(2), Port(64)).err(), Some(Errno::EINVAL));
    assert_eq!(status(&world, 1, DomId::IDLE, Port(0)).err(), Some(Errno::ESRCH));
    let reset = |caller, dom| evtchn(&world, caller, EVTCHNOP_RESET, &mut EvtchnReset { dom });
    assert_eq!(reset(1, DomId(2)), Err(Errno::EPERM));
    assert_eq!(reset(0, DomId(1)), Err(Errno::EINVAL), "it is not paused");
    waking::pause_all(&world.hv, &world.domain(1));
    assert_eq!(reset(0, DomId(1)), Ok(0));
    assert_eq!(status(&world, 0, DomId(1), Port(1)).unwrap().status, EVTCHNSTAT_CLOSED);
}

#[test]
fn a_failed_operation_leaves_its_structure_as_it_was() {
    let world = World::new(&[1]);
    let mut op = EvtchnBindVirq { virq: 24, vcpu: VcpuId(0), port: Port(77) };
    assert_eq!(evtchn(&world, 0, EVTCHNOP_BIND_VIRQ, &mut op), Err(Errno::EINVAL));
    assert_eq!(op, EvtchnBindVirq { virq: 24, vcpu: VcpuId(0), port: Port(77) });
}

#[test]
fn a_status_keeps_what_the_guest_had_in_the_union_and_the_padding() {
    let world = World::new(&[1]);
    let mut bind = EvtchnBindIpi { vcpu: VcpuId(0), port: Port(0) };
    assert_eq!(evtchn(&world, 0, EVTCHNOP_BIND_IPI, &mut bind), Ok(0));
    let mut op = EvtchnStatus { dom: DomId::SELF, port: bind.port, pad: [3; 2], ..EvtchnStatus::default() };
    op.u.0 = [0xa5; 8];
    assert_eq!(evtchn(&world, 0, EVTCHNOP_STATUS, &mut op), Ok(0));
    assert_eq!((op.status, op.pad, op.u.0), (EVTCHNSTAT_IPI, [3; 2], [0xa5; 8]));
}

#[test]
fn a_pointer_to_nowhere_is_a_fault_and_a_port_that_cannot_be_told_stays_bound() {
    let world = World::new(&[1]);
    let nowhere = (GUEST_PAGES + 5) << 12;
    for op in (EVTCHNOP_BIND_INTERDOMAIN..=EVTCHNOP_SET_PRIORITY).chain([EVTCHNOP_RESET_CONT]) {
        let answer = world.call(0, EVENT_CHANNEL_OP, [op.into(), nowhere, 0, 0, 0, 0]);
        assert_eq!(answer, Err(Errno::EFAULT), "operation {op}");
    }
    assert_eq!(alloc_unbound(&world, 0, DomId::SELF, DomId(3)), Ok(Port(1)));
}

#[test]
fn operations_that_do_not_exist_are_refused_before_their_pointer_is_looked_at() {
    let world = World::new(&[1]);
    for op in [15, 100, u64::from(u32::MAX)] {
        assert_eq!(world.call(0, EVENT_CHANNEL_OP, [op, 0xdead_0000, 0, 0, 0, 0]), Err(Errno::ENOSYS));
    }
    assert_eq!(world.call(0, EVENT_CHANNEL_OP_COMPAT, [0; 6]), Err(Errno::ENOSYS));
    let mut reset = EvtchnReset { dom: DomId::SELF };
    assert_eq!(evtchn(&world, 0, EVTCHNOP_RESET_CONT, &mut reset), Err(Errno::EBUSY));
}

#[test]
fn only_the_low_half_of_the_operations_number_counts() {
    let world = World::new(&[1]);
    let mut op = EvtchnBindIpi { vcpu: VcpuId(0), port: Port(0) };
    assert_eq!(evtchn(&world, 0, EVTCHNOP_BIND_IPI, &mut op), Ok(0));
    let args = [1 << 32 | u64::from(EVTCHNOP_CLOSE), 0x3000 + 4, 0, 0, 0, 0];
    assert_eq!(world.call(0, EVENT_CHANNEL_OP, args), Ok(0));
}

#[test]
fn an_event_raises_the_vector_that_the_guest_chose_and_wakes_the_vcpu() {
    let world = World::new(&[2]);
    let domain = world.domain(0);
    let vcpu = domain.vcpu(VcpuId(1)).unwrap();
    vcpu.bring_up();
    vcpu.upcall_vector.store(0xf3, std::sync::atomic::Ordering::SeqCst);
    vcpu.block();
    let mut op = EvtchnBindVirq { virq: VIRQ_TIMER, vcpu: VcpuId(1), port: Port(0) };
    assert_eq!(evtchn(&world, 0, EVTCHNOP_BIND_VIRQ, &mut op), Ok(0));
    raise_vcpu(&HostedDomain::new(&world.hv, &domain), VcpuId(1), VIRQ_TIMER);
    assert!(!vcpu.is_blocked());
    let mut raised = Vec::new();
    raised.extend(vectors(vcpu.requests.take()));
    assert_eq!(raised, [0xf3]);
    assert!(vcpu.upcall_pending(&world.hv.machine));
}

#[test]
fn fifo_pages_are_referenced_until_the_form_is_left() {
    let world = World::new(&[1]);
    let init = |gfn| {
        let mut op = EvtchnInitControl { control_gfn: Gfn(gfn), ..EvtchnInitControl::default() };
        evtchn(&world, 0, EVTCHNOP_INIT_CONTROL, &mut op).map(|_| op.link_bits)
    };
    let expand = |gfn| evtchn(&world, 0, EVTCHNOP_EXPAND_ARRAY, &mut EvtchnExpandArray { array_gfn: gfn });
    let references = |gfn| {
        let mapping = xenolith_hal::NestedSpace::lookup(&world.domain(0).space, Gfn(gfn)).unwrap();
        world.hv.frames.state(mapping.mfn).unwrap().references
    };
    let before = references(7);
    assert_eq!(init(1 << 52), Err(Errno::EINVAL));
    assert_eq!(init(GUEST_PAGES + 5), Err(Errno::EINVAL));
    assert_eq!(init(6), Ok(17));
    assert_eq!(expand(Gfn(7)), Ok(0));
    assert_eq!(expand(Gfn(7)), Ok(0));
    assert_eq!(expand(SHARED_INFO), Ok(0));
    assert_eq!(expand(Gfn(u64::MAX)), Err(Errno::EINVAL));
    assert_eq!(references(7), before + 2);
    assert_eq!(evtchn(&world, 0, EVTCHNOP_RESET, &mut EvtchnReset { dom: DomId(0) }), Ok(0));
    assert_eq!(references(7), before);
    assert_eq!(references(6), before);
}

#[test]
fn a_reset_closes_the_ports_of_every_bucket() {
    let world = World::new(&[1]);
    for _ in 0..200 {
        alloc_unbound(&world, 0, DomId::SELF, DomId(5)).unwrap();
    }
    assert_eq!(evtchn(&world, 0, EVTCHNOP_RESET, &mut EvtchnReset { dom: DomId::SELF }), Ok(0));
    for port in 1..=200 {
        assert_eq!(status(&world, 0, DomId::SELF, Port(port)).unwrap().status, EVTCHNSTAT_CLOSED);
    }
}

#[test]
fn ending_a_domain_unbinds_the_other_ends() {
    let world = World::new(&[1, 1]);
    let there = alloc_unbound(&world, 1, DomId::SELF, DomId(0)).unwrap();
    let here = bind_interdomain(&world, 0, DomId(1), there).unwrap();
    assert_eq!(teardown(&HostedDomain::of(&world.hv, world.domain(1)), || false), Progress::Done);
    assert_eq!(status(&world, 0, DomId::SELF, here).unwrap().status, EVTCHNSTAT_UNBOUND);
    assert_eq!(alloc_unbound(&world, 0, DomId(1), DomId::SELF), Err(Errno::EINVAL));
}
