//! What CPUID tells a domain, and which virtual interrupts of the machine it handles.

use super::toolstack::*;
use xen_abi::cpu_policy::{CpuidLeaf, XEN_CPUID_NO_SUBLEAF};
use xen_abi::domctl::*;
use xen_abi::event_channel::{EVTCHNOP_BIND_VIRQ, EvtchnBindVirq};
use xen_abi::hypercall::EVENT_CHANNEL_OP;
use xen_abi::virq::{VIRQ_CON_RING, VIRQ_DOM_EXC, VIRQ_TIMER};
use xen_abi::{DomId, Errno, GuestHandle};
use xenolith_core::components::event_channel::is_pending;
use xenolith_core::lifecycle::event_domain::{HostedDomain, raise_for_handler};
use xenolith_world::World;
use zerocopy::IntoBytes;

/// Sets one leaf; gives the answer with the leaf that is wrong.
fn set_leaf(world: &World, id: DomId, leaf: u32, a: u32) -> (Result<u64, Errno>, u32) {
    let entry = CpuidLeaf { leaf, subleaf: XEN_CPUID_NO_SUBLEAF, a, ..CpuidLeaf::default() };
    assert!(world.page(0, FIRST_BUFFER).write_bytes(0, entry.as_bytes()));
    let mut op = domctl(XEN_DOMCTL_SET_CPU_POLICY, id);
    let leaves = GuestHandle::new(address(FIRST_BUFFER));
    op.set_cpu_policy(DomctlCpuPolicy { nr_leaves: 1, leaves, ..DomctlCpuPolicy::default() });
    let answer = call(world, &mut op);
    (answer, op.cpu_policy().err_leaf)
}

#[test]
fn the_policy_is_set_until_the_domain_is_let_go() {
    let world = World::new(&[1]);
    let id = create(&world);
    assert_eq!(set_leaf(&world, id, 0, 7), (Ok(0), 0), "only failures come back");
    assert_eq!(domain(&world, id).cpuid.table().leaf(0, 0).eax, 7);
    assert_eq!(set_leaf(&world, id, 0, 99), (Err(Errno::EINVAL), 0));
    assert_eq!(set_leaf(&world, id, 0x8000_0030, 0), (Err(Errno::ERANGE), 0x8000_0030));
    assert_eq!(set_leaf(&world, DomId(0), 0, 7).0, Err(Errno::EINVAL), "not the caller's own");
    assert_eq!(plain(&world, XEN_DOMCTL_UNPAUSEDOMAIN, id), Ok(0));
    assert_eq!(set_leaf(&world, id, 0, 6).0, Err(Errno::EEXIST));
    assert_eq!(plain(&world, XEN_DOMCTL_PAUSEDOMAIN, id), Ok(0));
    assert_eq!(set_leaf(&world, id, 0, 6).0, Err(Errno::EEXIST), "it has run");
}

#[test]
fn the_length_of_a_policy_is_told_without_lists() {
    let world = World::new(&[1]);
    let mut op = domctl(XEN_DOMCTL_GET_CPU_POLICY, create(&world));
    assert_eq!(call(&world, &mut op), Ok(0));
    assert_eq!((op.cpu_policy().nr_leaves, op.cpu_policy().nr_msrs), (0x78, 2));
}

fn choose_handler(world: &World, id: DomId, virq: u32) -> Result<u64, Errno> {
    let mut op = domctl(XEN_DOMCTL_SET_VIRQ_HANDLER, id);
    op.set_set_virq_handler(DomctlSetVirqHandler { virq });
    call(world, &mut op)
}

#[test]
fn the_machines_interrupts_go_to_the_domain_that_handles_them() {
    let world = World::new(&[1, 1]);
    let bind = |caller: u16| {
        let mut op = EvtchnBindVirq { virq: VIRQ_CON_RING, ..EvtchnBindVirq::default() };
        assert_eq!(world.call_with(caller, EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, &mut op), Ok(0));
        op.port
    };
    let ports = [bind(0), bind(1)];
    let pending = |id: u16| {
        let hosted = HostedDomain::of(&world.hv, world.domain(id));
        is_pending(&hosted, ports[usize::from(id)]).unwrap()
    };
    assert_eq!(choose_handler(&world, DomId(1), VIRQ_TIMER), Err(Errno::EINVAL));
    assert_eq!(choose_handler(&world, DomId(9), VIRQ_CON_RING), Err(Errno::ESRCH));
    assert_eq!(choose_handler(&world, DomId(1), VIRQ_CON_RING), Ok(0));
    raise_for_handler(&world.hv, VIRQ_CON_RING);
    assert!(pending(1) && !pending(0));
    assert_eq!(destroy(&world, DomId(1)), Ok(0));
    raise_for_handler(&world.hv, VIRQ_CON_RING);
    assert!(pending(0), "the control domain's again");
    assert_eq!(world.hv.global_virqs.handler(VIRQ_DOM_EXC), DomId::DOM0);
}
