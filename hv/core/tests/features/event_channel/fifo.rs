//! The rules of the FIFO form, one by one.

use super::world::fifo_guest::{BUSY, LINKED, MASKED, PENDING, Queues};
use super::world::{Domain, FRAMES, world};
use xen_abi::virq::VIRQ_TIMER;
use xen_abi::{DomId, Errno, Gfn, Port, VcpuId};
use xenolith_core::components::event_channel::{
    EventDomain, Progress, ResetStart, alloc_unbound, bind_interdomain, bind_ipi, bind_vcpu, bind_virq, close,
    expand_array, init_control, is_pending, poll, raise_vcpu, reset, send, set_priority, teardown, unmask,
};

const V0: VcpuId = VcpuId(0);
const V1: VcpuId = VcpuId(1);

/// A domain with control blocks for both vCPUs and one page of event words.
fn fifo() -> Domain {
    let a = world(&[(2, u32::MAX)]).remove(0);
    assert_eq!(a.give_control_block(0), Ok(17));
    assert_eq!(a.give_control_block(1), Ok(17));
    a.give_array_page(0).unwrap();
    a
}

fn ipis(a: &Domain, vcpu: VcpuId, count: usize) -> Vec<Port> {
    (0..count).map(|_| bind_ipi(a, vcpu).unwrap()).collect()
}

#[test]
fn the_errors_of_init_control_come_in_xens_order() {
    let a = world(&[(1, 63)]).remove(0);
    assert_eq!(init_control(&a, V1, Gfn(FRAMES), 4096), Err(Errno::ENOENT));
    for offset in [4025, 4032, 4096, u32::MAX, 4, 1] {
        assert_eq!(init_control(&a, V0, Gfn(0), offset), Err(Errno::EINVAL), "offset {offset}");
    }
    assert_eq!(init_control(&a, V0, Gfn(FRAMES), 0), Err(Errno::EINVAL));
    assert!(!a.events().is_fifo());
    assert_eq!(a.pins(), 0);
    assert_eq!(init_control(&a, V0, Gfn(0), 4024), Ok(17));
    assert!(a.events().is_fifo());
    assert_eq!(init_control(&a, V0, Gfn(1), 0), Err(Errno::EINVAL));
    assert_eq!(a.pins(), 1);
}

#[test]
fn the_two_level_form_has_neither_an_array_nor_priorities() {
    let a = world(&[(1, 63)]).remove(0);
    let port = bind_ipi(&a, V0).unwrap();
    assert_eq!(expand_array(&a, Gfn(0)), Err(Errno::EOPNOTSUPP));
    assert_eq!(set_priority(&a, port, 0), Err(Errno::ENOSYS));
    assert_eq!(set_priority(&a, port, 99), Err(Errno::ENOSYS));
    assert_eq!(set_priority(&a, Port(64), 99), Err(Errno::EINVAL));
}

#[test]
fn the_event_array_has_128_pages() {
    let a = world(&[(1, 63)]).remove(0);
    a.give_control_block(0).unwrap();
    assert_eq!(expand_array(&a, Gfn(FRAMES)), Err(Errno::EINVAL));
    for slot in 0..128 {
        a.give_array_page(slot).unwrap();
    }
    assert_eq!(expand_array(&a, Gfn(FRAMES)), Err(Errno::ENOSPC));
    assert_eq!(a.pins(), 129);
}

#[test]
fn the_fifo_form_has_131072_ports() {
    let a = fifo();
    for port in 1..1 << 17 {
        assert_eq!(bind_ipi(&a, V0), Ok(Port(port)));
    }
    assert_eq!(bind_ipi(&a, V0), Err(Errno::ENOSPC));
}

#[test]
fn a_priority_is_one_of_sixteen_and_only_a_bound_port_has_one() {
    let a = fifo();
    let port = bind_ipi(&a, V0).unwrap();
    assert_eq!(set_priority(&a, port, 15), Ok(()));
    assert_eq!(set_priority(&a, port, 16), Err(Errno::EINVAL));
    assert_eq!(set_priority(&a, Port(5), 16), Err(Errno::EACCES));
    assert_eq!(set_priority(&a, Port(0), 0), Err(Errno::EACCES));
    assert_eq!(set_priority(&a, Port(64), 16), Err(Errno::EINVAL));
}

#[test]
fn events_come_in_the_order_in_which_they_were_sent() {
    let a = fifo();
    let ports = ipis(&a, V0, 5);
    for at in [3, 0, 4, 3, 1] {
        send(&a, ports[at]).unwrap();
    }
    assert_eq!(a.take_upcalls(), [0]);
    assert_eq!(a.handle_all(0, &mut Queues::default()), [4, 1, 5, 2]);
    send(&a, ports[2]).unwrap();
    assert_eq!(a.take_upcalls(), [0]);
    assert_eq!(a.handle_all(0, &mut Queues::default()), [3]);
}

#[test]
fn higher_priorities_come_first() {
    let a = fifo();
    let ports = ipis(&a, V0, 4);
    for (port, priority) in ports.iter().zip([15, 0, 7, 0]) {
        set_priority(&a, *port, priority).unwrap();
    }
    for port in &ports {
        send(&a, *port).unwrap();
    }
    assert_eq!(a.ready_bits(0), 1 << 15 | 1 << 7 | 1);
    assert_eq!(a.take_upcalls(), [0]);
    assert_eq!(a.handle_all(0, &mut Queues::default()), [2, 4, 3, 1]);
}

#[test]
fn a_port_that_is_given_out_again_has_the_default_priority() {
    let a = fifo();
    let port = bind_ipi(&a, V0).unwrap();
    set_priority(&a, port, 0).unwrap();
    close(&a, port).unwrap();
    assert_eq!(bind_ipi(&a, V0), Ok(port));
    send(&a, port).unwrap();
    assert_eq!(a.ready_bits(0), 1 << 7);
}

#[test]
fn an_event_behind_one_that_waits_needs_no_second_upcall() {
    let a = fifo();
    let ports = ipis(&a, V0, 2);
    send(&a, ports[0]).unwrap();
    a.take_upcall(0);
    assert_eq!(a.take_upcalls(), [0]);
    send(&a, ports[1]).unwrap();
    assert!(a.take_upcalls().is_empty());
    assert_eq!(a.handle_all(0, &mut Queues::default()), [1, 2]);
}

#[test]
fn a_masked_event_is_queued_when_it_is_unmasked() {
    let a = fifo();
    let port = bind_ipi(&a, V1).unwrap();
    a.set_word(port, MASKED);
    send(&a, port).unwrap();
    assert_eq!(a.word(port), PENDING | MASKED);
    assert_eq!(is_pending(&a, port), Ok(true));
    assert!(a.take_upcalls().is_empty());
    unmask(&a, port).unwrap();
    assert_eq!(a.word(port), PENDING | LINKED);
    assert_eq!(a.take_upcalls(), [1]);
    assert_eq!(a.handle_all(1, &mut Queues::default()), [port.0]);
}

#[test]
fn unmasking_what_is_not_pending_queues_nothing() {
    let a = fifo();
    let port = bind_ipi(&a, V0).unwrap();
    a.set_word(port, MASKED);
    unmask(&a, port).unwrap();
    assert_eq!(a.word(port), 0);
    assert!(a.take_upcalls().is_empty());
}

#[test]
fn closing_clears_the_pending_bit_and_leaves_the_link_to_the_guest() {
    let a = fifo();
    let ports = ipis(&a, V0, 3);
    for port in &ports {
        send(&a, *port).unwrap();
    }
    close(&a, ports[1]).unwrap();
    assert_eq!(a.word(ports[1]) & PENDING, 0);
    assert_eq!(bind_ipi(&a, V0), Ok(Port(4)), "a port that is still in a queue is not given out");
    assert_eq!(a.handle_all(0, &mut Queues::default()), [1, 3]);
    assert_eq!(bind_ipi(&a, V0), Ok(ports[1]));
}

#[test]
fn a_moved_event_goes_to_the_new_vcpus_queue() {
    let a = fifo();
    let there = alloc_unbound(&a, a.id(), true).unwrap();
    let here = bind_interdomain(&a, a.id(), there).unwrap();
    assert_eq!(a.handle_all(0, &mut Queues::default()), [here.0]);
    send(&a, here).unwrap();
    bind_vcpu(&a, there, V1).unwrap();
    assert_eq!(a.handle_all(0, &mut Queues::default()), [there.0], "it was queued before it moved");
    send(&a, here).unwrap();
    assert!(a.handle_all(0, &mut Queues::default()).is_empty());
    assert_eq!(a.handle_all(1, &mut Queues::default()), [there.0]);
}

#[test]
fn the_tail_that_left_for_another_queue_is_not_appended_to() {
    let a = fifo();
    let ports = ipis(&a, V0, 2);
    send(&a, ports[0]).unwrap();
    assert_eq!(a.handle_all(0, &mut Queues::default()), [1]);
    // The first queue's tail is still port 1, which now enters another queue and is linked there.
    set_priority(&a, ports[0], 3).unwrap();
    send(&a, ports[0]).unwrap();
    send(&a, ports[1]).unwrap();
    assert_eq!(a.word(ports[0]), PENDING | LINKED, "nothing hangs on the moved event");
    assert_eq!(a.handle_all(0, &mut Queues::default()), [1, 2]);
}

#[test]
fn what_was_pending_in_the_two_level_form_is_raised_when_its_words_come() {
    let a = world(&[(1, 63)]).remove(0);
    let ports = ipis(&a, V0, 3);
    send(&a, ports[0]).unwrap();
    send(&a, ports[2]).unwrap();
    a.take_upcall(0);
    a.take_upcalls();
    a.give_control_block(0).unwrap();
    send(&a, ports[1]).unwrap();
    assert_eq!(is_pending(&a, ports[0]), Ok(false));
    a.give_array_page(0).unwrap();
    assert_eq!(a.take_upcalls(), [0]);
    assert_eq!(a.handle_all(0, &mut Queues::default()), [1, 2, 3]);
}

#[test]
fn an_early_event_of_a_closed_port_does_not_reach_its_next_user() {
    let a = world(&[(1, 63)]).remove(0);
    a.give_control_block(0).unwrap();
    let port = bind_ipi(&a, V0).unwrap();
    send(&a, port).unwrap();
    close(&a, port).unwrap();
    assert_eq!(bind_ipi(&a, V0), Ok(port));
    a.give_array_page(0).unwrap();
    assert!(a.handle_all(0, &mut Queues::default()).is_empty());
}

#[test]
fn an_event_for_a_vcpu_without_a_control_block_is_dropped() {
    let a = world(&[(2, 63)]).remove(0);
    a.give_control_block(0).unwrap();
    a.give_array_page(0).unwrap();
    let port = bind_ipi(&a, V1).unwrap();
    send(&a, port).unwrap();
    assert_eq!(a.word(port), 0);
    assert!(a.take_upcalls().is_empty());
}

#[test]
fn a_virq_is_queued_on_its_vcpu_and_wakes_its_poller() {
    let a = fifo();
    let port = bind_virq(&a, VIRQ_TIMER, V1).unwrap();
    poll::begin(&a, V0);
    poll::narrow(&a, V0, port);
    raise_vcpu(&a, V1, VIRQ_TIMER);
    raise_vcpu(&a, V1, VIRQ_TIMER);
    assert_eq!(a.take_wakes(), [0]);
    assert_eq!(a.take_upcalls(), [1]);
    assert_eq!(a.handle_all(1, &mut Queues::default()), [port.0]);
}

#[test]
fn reset_returns_to_the_two_level_form_and_gives_every_page_back() {
    let a = fifo();
    let ports = ipis(&a, V0, 3);
    send(&a, ports[1]).unwrap();
    assert_eq!(reset(&a, ResetStart::Fresh, || false), Ok(Progress::Done));
    assert!(!a.events().is_fifo());
    assert_eq!(a.pins(), 0);
    let port = bind_ipi(&a, V0).unwrap();
    send(&a, port).unwrap();
    assert!(a.pending_bit(port));
    for gfn in 0..20 {
        a.frame(gfn).clear();
    }
    close(&a, port).unwrap();
    assert_eq!(a.give_control_block(0), Ok(17));
    a.give_array_page(0).unwrap();
    let ports = ipis(&a, V0, 2);
    for port in &ports {
        send(&a, *port).unwrap();
    }
    assert_eq!(a.handle_all(0, &mut Queues::default()), [1, 2]);
}

#[test]
fn an_ended_domain_gives_every_page_back() {
    let a = fifo();
    ipis(&a, V0, 70);
    while teardown(&a, || true) == Progress::Again {}
    assert_eq!(a.pins(), 0);
}

#[test]
fn a_guest_that_keeps_its_tail_busy_loses_only_its_own_event() {
    let a = fifo();
    let ports = ipis(&a, V0, 3);
    send(&a, ports[0]).unwrap();
    a.set_word(ports[0], a.word(ports[0]) | BUSY);
    send(&a, ports[1]).unwrap();
    assert_eq!(a.word(ports[0]), PENDING | LINKED | ports[1].0, "linking clears the bit");
}

#[test]
fn links_to_nowhere_are_written_over_and_not_followed() {
    let a = fifo();
    let ports = ipis(&a, V0, 3);
    send(&a, ports[0]).unwrap();
    a.set_word(ports[0], u32::MAX);
    send(&a, ports[1]).unwrap();
    a.set_word(ports[1], LINKED | 0x1_ffff);
    a.frame(0).store_u32(8 + 28, 0x1_ffff).unwrap();
    send(&a, ports[2]).unwrap();
    assert_eq!(a.word(ports[1]), LINKED | ports[2].0);
    assert_eq!(a.frame(0).load_u32(8 + 28), Some(0x1_ffff));
}

#[test]
fn a_domain_in_the_fifo_form_talks_to_one_in_the_two_level_form() {
    let mut domains = world(&[(1, 63), (1, 63)]);
    let (a, b) = (domains.remove(0), domains.remove(0));
    a.give_control_block(0).unwrap();
    a.give_array_page(0).unwrap();
    let there = alloc_unbound(&b, DomId(0), true).unwrap();
    let here = bind_interdomain(&a, b.id(), there).unwrap();
    send(&a, here).unwrap();
    assert!(b.pending_bit(there));
    a.handle_all(0, &mut Queues::default());
    send(&b, there).unwrap();
    assert_eq!(a.handle_all(0, &mut Queues::default()), [here.0]);
}
