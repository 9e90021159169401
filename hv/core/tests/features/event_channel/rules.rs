//! The rules of event channels, one by one.

use super::world::{Domain, world};
use xen_abi::virq::{VIRQ_ARGO, VIRQ_CONSOLE, VIRQ_DOM_EXC, VIRQ_MCA, VIRQ_TIMER};
use xen_abi::{DomId, Errno, Port, VcpuId};
use xenolith_core::components::event_channel::{
    EventChannels, PORTS_PER_BUCKET, PortStatus, Progress, ResetStart, alloc_unbound, alloc_unbound_for_hypervisor,
    bind_interdomain, bind_ipi, bind_pirq, bind_vcpu, bind_virq, close, close_for_hypervisor, is_pending,
    mark_everything, may_reset, poll, raise_global, raise_pirq, raise_vcpu, reset, send, send_from_hypervisor, status,
    teardown, unmask,
};

const V0: VcpuId = VcpuId(0);
const V1: VcpuId = VcpuId(1);

fn one() -> Domain {
    world(&[(2, 1023)]).remove(0)
}

fn two() -> (Domain, Domain) {
    let mut domains = world(&[(2, 1023), (2, 1023)]);
    (domains.remove(0), domains.remove(0))
}

/// A channel from a port of the first domain's to one of the second's, with nothing pending.
fn channel(a: &Domain, b: &Domain) -> (Port, Port) {
    let there = alloc_unbound(b, a.id(), true).unwrap();
    let here = bind_interdomain(a, b.id(), there).unwrap();
    a.set_pending_bit(here, false);
    a.take_upcall(0);
    a.take_upcalls();
    (here, there)
}

fn kind(domain: &Domain, port: Port) -> Result<PortStatus, Errno> {
    status(domain, port, true).map(|(status, _)| status)
}

fn vcpu_of(domain: &Domain, port: Port) -> VcpuId {
    status(domain, port, true).unwrap().1
}

#[test]
fn ports_are_given_out_from_the_lowest_and_never_port_0() {
    let a = one();
    assert_eq!(bind_ipi(&a, V0), Ok(Port(1)));
    assert_eq!(alloc_unbound(&a, DomId(7), true), Ok(Port(2)));
    assert_eq!(bind_ipi(&a, V1), Ok(Port(3)));
    close(&a, Port(2)).unwrap();
    close(&a, Port(1)).unwrap();
    assert_eq!(bind_ipi(&a, V0), Ok(Port(1)));
    assert_eq!(bind_ipi(&a, V0), Ok(Port(2)));
    assert_eq!(bind_ipi(&a, V0), Ok(Port(4)));
}

#[test]
fn port_0_reads_closed_and_can_be_neither_closed_nor_sent_through() {
    let a = one();
    assert_eq!(kind(&a, Port(0)), Ok(PortStatus::Closed));
    assert_eq!(close(&a, Port(0)), Err(Errno::EINVAL));
    assert_eq!(send(&a, Port(0)), Err(Errno::EINVAL));
    assert_eq!(bind_vcpu(&a, Port(0), V0), Err(Errno::EINVAL));
    assert_eq!(unmask(&a, Port(0)), Ok(()));
}

#[test]
fn a_port_beyond_the_last_bucket_does_not_exist() {
    let a = one();
    let beyond = Port(PORTS_PER_BUCKET);
    assert_eq!(kind(&a, Port(PORTS_PER_BUCKET - 1)), Ok(PortStatus::Closed));
    for port in [beyond, Port(4096), Port(u32::MAX)] {
        assert_eq!(kind(&a, port), Err(Errno::EINVAL));
        assert_eq!(close(&a, port), Err(Errno::EINVAL));
        assert_eq!(send(&a, port), Err(Errno::EINVAL));
        assert_eq!(unmask(&a, port), Err(Errno::EINVAL));
        assert_eq!(bind_vcpu(&a, port, V0), Err(Errno::EINVAL));
        assert_eq!(is_pending(&a, port), Err(Errno::EINVAL));
    }
    for _ in 1..=PORTS_PER_BUCKET {
        bind_ipi(&a, V0).unwrap();
    }
    assert_eq!(kind(&a, beyond), Ok(PortStatus::Ipi));
    assert_eq!(kind(&a, Port(2 * PORTS_PER_BUCKET)), Err(Errno::EINVAL));
}

#[test]
fn a_domain_gets_no_port_past_its_limit() {
    let a = world(&[(1, 70)]).remove(0);
    for port in 1..=70 {
        assert_eq!(bind_ipi(&a, V0), Ok(Port(port)));
    }
    assert_eq!(bind_ipi(&a, V0), Err(Errno::ENOSPC));
    close(&a, Port(33)).unwrap();
    assert_eq!(bind_ipi(&a, V0), Ok(Port(33)));
    assert_eq!(bind_ipi(&a, V0), Err(Errno::ENOSPC));
}

#[test]
fn the_two_level_form_has_4096_ports() {
    let a = world(&[(1, u32::MAX)]).remove(0);
    for port in 1..4096 {
        assert_eq!(bind_ipi(&a, V0), Ok(Port(port)));
    }
    assert_eq!(bind_ipi(&a, V0), Err(Errno::ENOSPC));
}

#[test]
fn a_domain_cannot_have_more_vcpus_than_a_port_can_name() {
    assert!(matches!(EventChannels::new(DomId(1), 8193, 10), Err(Errno::EINVAL)));
}

#[test]
fn a_connected_pair_knows_each_other() {
    let (a, b) = two();
    let (here, there) = channel(&a, &b);
    assert_eq!(kind(&a, here), Ok(PortStatus::Interdomain { remote: b.id(), port: there }));
    assert_eq!(kind(&b, there), Ok(PortStatus::Interdomain { remote: a.id(), port: here }));
}

#[test]
fn a_third_domain_cannot_bind() {
    let domains = world(&[(1, 63), (1, 63), (1, 63)]);
    let there = alloc_unbound(&domains[0], DomId(1), true).unwrap();
    assert_eq!(bind_interdomain(&domains[2], DomId(0), there), Err(Errno::EINVAL));
    assert_eq!(kind(&domains[0], there), Ok(PortStatus::Unbound { remote: DomId(1) }));
    assert_eq!(bind_interdomain(&domains[1], DomId(0), there), Ok(Port(1)));
    assert_eq!(bind_interdomain(&domains[1], DomId(0), there), Err(Errno::EINVAL));
}

#[test]
fn binding_to_a_domain_or_a_port_that_is_not_there_fails() {
    let (a, b) = two();
    assert_eq!(bind_interdomain(&a, DomId(9), Port(1)), Err(Errno::ESRCH));
    assert_eq!(bind_interdomain(&a, b.id(), Port(1)), Err(Errno::EINVAL));
    assert_eq!(bind_interdomain(&a, b.id(), Port(9999)), Err(Errno::EINVAL));
    assert_eq!(kind(&a, Port(1)), Ok(PortStatus::Closed));
}

#[test]
fn a_full_table_is_found_before_a_wrong_remote_port() {
    let domains = world(&[(1, 1), (1, 63)]);
    bind_ipi(&domains[0], V0).unwrap();
    assert_eq!(bind_interdomain(&domains[0], DomId(1), Port(9999)), Err(Errno::ENOSPC));
    assert_eq!(bind_interdomain(&domains[0], DomId(9), Port(9999)), Err(Errno::ESRCH));
    assert_eq!(alloc_unbound(&domains[0], DomId(1), false), Err(Errno::ENOSPC));
}

#[test]
fn the_binder_finds_its_port_pending() {
    let (a, b) = two();
    let there = alloc_unbound(&b, a.id(), true).unwrap();
    let here = bind_interdomain(&a, DomId(1), there).unwrap();
    assert!(a.pending_bit(here));
    assert!(!b.pending_bit(there));
    assert_eq!(a.take_upcalls(), [0]);
    assert!(b.take_upcalls().is_empty());
}

#[test]
fn a_domain_can_connect_to_itself_by_either_name() {
    let a = one();
    let there = alloc_unbound(&a, a.id(), true).unwrap();
    let here = bind_interdomain(&a, DomId::SELF, there).unwrap();
    assert_eq!(kind(&a, here), Ok(PortStatus::Interdomain { remote: a.id(), port: there }));
    send(&a, here).unwrap();
    assert!(a.pending_bit(there));
    close(&a, here).unwrap();
    assert_eq!(kind(&a, there), Ok(PortStatus::Unbound { remote: a.id() }));
    assert_eq!(kind(&a, here), Ok(PortStatus::Closed));
}

#[test]
fn sending_sets_the_other_end_pending_and_interrupts_its_vcpu_once() {
    let (a, b) = two();
    let (here, there) = channel(&a, &b);
    bind_vcpu(&b, there, V1).unwrap();
    send(&a, here).unwrap();
    send(&a, here).unwrap();
    assert!(b.pending_bit(there));
    assert!(b.upcall_flag(1));
    assert_eq!(b.selector(1), 1);
    assert_eq!(b.take_upcalls(), [1]);
    assert!(!a.pending_bit(here));
}

#[test]
fn a_vcpu_that_has_not_taken_its_upcall_is_not_interrupted_again() {
    let a = one();
    let ports = [bind_ipi(&a, V0).unwrap(), bind_ipi(&a, V0).unwrap()];
    for port in ports {
        send(&a, port).unwrap();
    }
    assert_eq!(a.take_upcalls(), [0]);
}

#[test]
fn sending_through_an_unconnected_port_does_nothing() {
    let (a, b) = two();
    let port = alloc_unbound(&a, b.id(), true).unwrap();
    assert_eq!(send(&a, port), Ok(()));
    assert!(!a.pending_bit(port));
}

#[test]
fn nothing_can_be_sent_through_a_virq_or_a_pirq() {
    let a = one();
    let virq = bind_virq(&a, VIRQ_TIMER, V0).unwrap();
    let pirq = bind_pirq(&a, 3).unwrap();
    assert_eq!(send(&a, virq), Err(Errno::EINVAL));
    assert_eq!(send(&a, pirq), Err(Errno::EINVAL));
}

#[test]
fn a_masked_port_becomes_pending_without_an_upcall() {
    let a = one();
    let port = bind_ipi(&a, V1).unwrap();
    a.set_mask_bit(port, true);
    send(&a, port).unwrap();
    assert!(a.pending_bit(port));
    assert!(!a.upcall_flag(1));
    unmask(&a, port).unwrap();
    assert!(!a.mask_bit(port));
    assert_eq!(a.take_upcalls(), [1]);
}

#[test]
fn unmasking_what_is_not_masked_or_not_pending_interrupts_nobody() {
    let a = one();
    let port = bind_ipi(&a, V0).unwrap();
    a.set_pending_bit(port, true);
    unmask(&a, port).unwrap();
    a.set_pending_bit(port, false);
    a.set_mask_bit(port, true);
    unmask(&a, port).unwrap();
    assert!(!a.mask_bit(port));
    assert!(a.take_upcalls().is_empty());
}

#[test]
fn unmasking_a_closed_port_leaves_its_mask_alone() {
    let a = one();
    a.set_mask_bit(Port(5), true);
    assert_eq!(unmask(&a, Port(5)), Ok(()));
    assert!(a.mask_bit(Port(5)));
}

#[test]
fn closing_clears_the_pending_bit_and_the_vcpu() {
    let a = one();
    let port = alloc_unbound(&a, DomId(1), true).unwrap();
    bind_vcpu(&a, port, V1).unwrap();
    a.set_pending_bit(port, true);
    close(&a, port).unwrap();
    assert!(!a.pending_bit(port));
    assert_eq!(status(&a, port, true), Ok((PortStatus::Closed, V0)));
    assert_eq!(close(&a, port), Err(Errno::EINVAL));
}

#[test]
fn closing_one_end_leaves_the_other_waiting_for_the_same_domain() {
    let (a, b) = two();
    let (here, there) = channel(&a, &b);
    bind_vcpu(&b, there, V1).unwrap();
    b.set_pending_bit(there, true);
    close(&a, here).unwrap();
    assert_eq!(status(&b, there, true), Ok((PortStatus::Unbound { remote: a.id() }, V1)));
    assert!(b.pending_bit(there));
    assert_eq!(bind_interdomain(&a, b.id(), there), Ok(here));
}

#[test]
fn a_virq_is_bound_once_for_each_vcpu() {
    let a = one();
    let port = bind_virq(&a, VIRQ_TIMER, V0).unwrap();
    assert_eq!(bind_virq(&a, VIRQ_TIMER, V0), Err(Errno::EEXIST));
    let other = bind_virq(&a, VIRQ_TIMER, V1).unwrap();
    assert_eq!(status(&a, other, true), Ok((PortStatus::Virq(VIRQ_TIMER), V1)));
    close(&a, port).unwrap();
    assert_eq!(bind_virq(&a, VIRQ_TIMER, V0), Ok(port));
}

#[test]
fn a_global_virq_is_bound_on_vcpu_0_alone() {
    let a = one();
    for virq in [VIRQ_CONSOLE, VIRQ_ARGO, VIRQ_MCA, 5, 14, 23] {
        assert_eq!(bind_virq(&a, virq, V1), Err(Errno::EINVAL));
        assert_eq!(bind_virq(&a, virq, VcpuId(99)), Err(Errno::EINVAL));
        assert!(bind_virq(&a, virq, V0).is_ok());
    }
}

#[test]
fn the_errors_of_bind_virq_come_in_xens_order() {
    let a = one();
    assert_eq!(bind_virq(&a, 24, VcpuId(99)), Err(Errno::EINVAL));
    assert_eq!(bind_virq(&a, u32::MAX, V0), Err(Errno::EINVAL));
    assert_eq!(bind_virq(&a, VIRQ_TIMER, VcpuId(2)), Err(Errno::ENOENT));
    assert_eq!(bind_virq(&a, VIRQ_TIMER, VcpuId(u32::MAX)), Err(Errno::ENOENT));
}

#[test]
fn an_ipi_wants_a_vcpu_that_exists() {
    assert_eq!(bind_ipi(&one(), VcpuId(2)), Err(Errno::ENOENT));
}

#[test]
fn a_raised_virq_reaches_the_vcpu_that_bound_it() {
    let a = one();
    let port = bind_virq(&a, VIRQ_TIMER, V1).unwrap();
    raise_vcpu(&a, V0, VIRQ_TIMER);
    assert!(!a.pending_bit(port));
    raise_vcpu(&a, V1, VIRQ_TIMER);
    assert!(a.pending_bit(port));
    assert_eq!(a.take_upcalls(), [1]);
}

#[test]
fn a_global_virq_follows_its_port_to_another_vcpu() {
    let a = one();
    let port = bind_virq(&a, VIRQ_DOM_EXC, V0).unwrap();
    bind_vcpu(&a, port, V1).unwrap();
    raise_global(&a, VIRQ_DOM_EXC);
    assert_eq!(a.take_upcalls(), [1]);
    assert_eq!(bind_virq(&a, VIRQ_DOM_EXC, V0), Err(Errno::EEXIST));
}

#[test]
fn raising_what_nobody_bound_does_nothing() {
    let a = one();
    raise_global(&a, VIRQ_DOM_EXC);
    raise_vcpu(&a, V1, VIRQ_TIMER);
    raise_vcpu(&a, VcpuId(77), VIRQ_TIMER);
    raise_global(&a, 4000);
    let port = bind_virq(&a, VIRQ_DOM_EXC, V0).unwrap();
    close(&a, port).unwrap();
    raise_global(&a, VIRQ_DOM_EXC);
    assert!(a.take_upcalls().is_empty());
    assert!(!a.pending_bit(port));
}

#[test]
fn ipis_and_a_vcpus_own_virqs_do_not_move() {
    let a = one();
    let ipi = bind_ipi(&a, V0).unwrap();
    let timer = bind_virq(&a, VIRQ_TIMER, V0).unwrap();
    let pirq = bind_pirq(&a, 1).unwrap();
    assert_eq!(bind_vcpu(&a, ipi, V1), Err(Errno::EINVAL));
    assert_eq!(bind_vcpu(&a, timer, V1), Err(Errno::EINVAL));
    assert_eq!(bind_vcpu(&a, Port(60), V1), Err(Errno::EINVAL));
    assert_eq!(bind_vcpu(&a, Port(60000), VcpuId(2)), Err(Errno::ENOENT));
    assert_eq!(bind_vcpu(&a, pirq, V1), Ok(()));
    assert_eq!(vcpu_of(&a, pirq), V1);
}

#[test]
fn a_physical_interrupt_has_one_port() {
    let a = one();
    let port = bind_pirq(&a, 15).unwrap();
    assert_eq!(bind_pirq(&a, 15), Err(Errno::EEXIST));
    assert_eq!(bind_pirq(&a, 16), Err(Errno::EINVAL));
    assert_eq!(bind_pirq(&a, u32::MAX), Err(Errno::EINVAL));
    assert!(raise_pirq(&a, 15));
    assert!(a.pending_bit(port));
    close(&a, port).unwrap();
    assert!(!raise_pirq(&a, 15));
    assert_eq!(bind_pirq(&a, 15), Ok(port));
}

#[test]
fn status_names_the_missing_port_before_the_missing_right() {
    let a = one();
    let port = bind_ipi(&a, V0).unwrap();
    assert_eq!(status(&a, port, false), Err(Errno::EPERM));
    assert_eq!(status(&a, Port(999), false), Err(Errno::EINVAL));
}

#[test]
fn the_hypervisors_port_is_out_of_its_domains_reach() {
    let (a, b) = two();
    let port = alloc_unbound_for_hypervisor(&a, V1, b.id()).unwrap();
    let there = bind_interdomain(&b, a.id(), port).unwrap();
    assert_eq!(close(&a, port), Err(Errno::EINVAL));
    assert_eq!(send(&a, port), Err(Errno::EINVAL));
    assert_eq!(bind_vcpu(&a, port, V0), Err(Errno::EINVAL));
    assert_eq!(status(&a, port, false), Err(Errno::EACCES));
    send(&b, there).unwrap();
    assert_eq!(a.take_hypervisor_events(), [(1, port.0)]);
    assert!(!a.pending_bit(port));
    b.set_pending_bit(there, false);
    send_from_hypervisor(&a, port);
    assert!(b.pending_bit(there));
    close_for_hypervisor(&a, port).unwrap();
    assert_eq!(kind(&b, there), Ok(PortStatus::Unbound { remote: a.id() }));
}

#[test]
fn reset_closes_everything_but_the_hypervisors_ports() {
    let (a, b) = two();
    let (here, there) = channel(&a, &b);
    let mine = alloc_unbound_for_hypervisor(&a, V0, b.id()).unwrap();
    bind_virq(&a, VIRQ_TIMER, V1).unwrap();
    assert_eq!(reset(&a, ResetStart::Fresh, || false), Ok(Progress::Done));
    assert_eq!(kind(&a, here), Ok(PortStatus::Closed));
    assert_eq!(kind(&b, there), Ok(PortStatus::Unbound { remote: a.id() }));
    assert_eq!(kind(&a, mine), Err(Errno::EACCES));
    assert!(bind_virq(&a, VIRQ_TIMER, V1).is_ok());
}

#[test]
fn a_reset_that_gives_way_is_continued_and_excludes_another() {
    let a = one();
    for _ in 0..200 {
        bind_ipi(&a, V0).unwrap();
    }
    assert_eq!(reset(&a, ResetStart::Continued, || true), Err(Errno::EBUSY));
    assert_eq!(reset(&a, ResetStart::Fresh, || true), Ok(Progress::Again));
    assert_eq!(kind(&a, Port(1)), Ok(PortStatus::Closed));
    assert_eq!(kind(&a, Port(200)), Ok(PortStatus::Ipi));
    assert_eq!(reset(&a, ResetStart::Fresh, || true), Err(Errno::EBUSY));
    while reset(&a, ResetStart::Continued, || true) == Ok(Progress::Again) {}
    assert_eq!(kind(&a, Port(200)), Ok(PortStatus::Closed));
    assert_eq!(reset(&a, ResetStart::Fresh, || false), Ok(Progress::Done));
}

#[test]
fn a_port_that_is_bound_during_a_reset_makes_it_fail() {
    let a = one();
    for _ in 0..200 {
        bind_ipi(&a, V0).unwrap();
    }
    let mut late = None;
    let give_way = || {
        late.get_or_insert_with(|| bind_ipi(&a, V0));
        false
    };
    assert_eq!(reset(&a, ResetStart::Fresh, give_way), Err(Errno::EAGAIN));
    assert_eq!(late, Some(Ok(Port(1))));
}

#[test]
fn only_a_paused_domain_may_be_reset_by_another() {
    assert_eq!(may_reset(DomId(0), DomId(1), false, true), Err(Errno::EPERM));
    assert_eq!(may_reset(DomId(0), DomId(1), true, false), Err(Errno::EINVAL));
    assert_eq!(may_reset(DomId(0), DomId(1), true, true), Ok(()));
    assert_eq!(may_reset(DomId(1), DomId(1), true, false), Ok(()));
}

#[test]
fn an_ended_domain_has_no_ports_and_gets_none() {
    let (a, b) = two();
    let (_, there) = channel(&a, &b);
    alloc_unbound_for_hypervisor(&a, V0, b.id()).unwrap();
    for _ in 0..100 {
        bind_ipi(&a, V1).unwrap();
    }
    let mut rounds = 0;
    while teardown(&a, || true) == Progress::Again {
        rounds += 1;
    }
    assert_eq!(rounds, 2);
    assert_eq!(bind_ipi(&a, V0), Err(Errno::EINVAL));
    assert_eq!(alloc_unbound(&a, DomId(1), true), Err(Errno::EINVAL));
    assert_eq!(kind(&b, there), Ok(PortStatus::Unbound { remote: a.id() }));
    for port in 0..102 {
        assert_eq!(kind(&a, Port(port)), Ok(PortStatus::Closed));
    }
    assert_eq!(bind_interdomain(&b, a.id(), Port(1)), Err(Errno::EINVAL));
}

#[test]
fn an_event_wakes_the_vcpus_that_poll_for_it() {
    let a = one();
    let ports = [bind_ipi(&a, V0).unwrap(), bind_ipi(&a, V0).unwrap()];
    poll::begin(&a, V0);
    poll::begin(&a, V1);
    poll::narrow(&a, V1, ports[1]);
    send(&a, ports[0]).unwrap();
    assert_eq!(a.take_wakes(), [0]);
    assert!(!poll::is_polling(&a, V0));
    assert!(poll::is_polling(&a, V1));
    send(&a, ports[1]).unwrap();
    assert_eq!(a.take_wakes(), [1]);
    assert!(!poll::end(&a, V1));
}

#[test]
fn a_masked_event_wakes_a_poller_too() {
    let a = one();
    let port = bind_ipi(&a, V0).unwrap();
    a.set_mask_bit(port, true);
    poll::begin(&a, V1);
    send(&a, port).unwrap();
    assert_eq!(a.take_wakes(), [1]);
    assert_eq!(is_pending(&a, port), Ok(true));
    assert!(a.take_upcalls().is_empty());
}

#[test]
fn only_a_bound_port_can_be_polled_for() {
    let a = one();
    let port = bind_ipi(&a, V0).unwrap();
    assert_eq!(is_pending(&a, port), Ok(false));
    assert_eq!(is_pending(&a, Port(0)), Err(Errno::EINVAL));
    assert_eq!(is_pending(&a, Port(40)), Err(Errno::EINVAL));
    let mine = alloc_unbound_for_hypervisor(&a, V0, DomId(1)).unwrap();
    assert_eq!(is_pending(&a, mine), Err(Errno::EINVAL));
}

#[test]
fn a_poller_that_was_woken_before_it_slept_can_tell() {
    let a = one();
    let port = bind_ipi(&a, V0).unwrap();
    assert!(!poll::was_woken(&a, V1));
    poll::begin(&a, V1);
    assert!(!poll::was_woken(&a, V1));
    send(&a, port).unwrap();
    assert!(poll::was_woken(&a, V1));
    assert!(!poll::is_polling(&a, V1));
    assert!(!poll::end(&a, V1));
    assert!(!poll::was_woken(&a, V1));
}

#[test]
fn a_poll_that_ended_by_its_timer_is_woken_by_nothing() {
    let a = one();
    let port = bind_ipi(&a, V0).unwrap();
    poll::begin(&a, V0);
    assert!(poll::end(&a, V0));
    send(&a, port).unwrap();
    assert!(a.take_wakes().is_empty());
}

#[test]
fn a_moved_vcpu_info_starts_with_everything_pending() {
    let a = one();
    mark_everything(&a, V1);
    assert!(a.upcall_flag(1));
    assert_eq!(a.selector(1), u64::MAX);
    assert_eq!(a.take_upcalls(), [1]);
    mark_everything(&a, VcpuId(9));
}
