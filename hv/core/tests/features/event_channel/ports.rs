//! Which port is given out next, and what it costs to find it: the domain's lock is held meanwhile.
use super::world::fifo_guest::LINKED;
use super::world::{Domain, world};
use xen_abi::{Errno, Port, VcpuId};
use xenolith_core::components::event_channel::{Progress, ResetStart, bind_ipi, close, reset};

const V0: VcpuId = VcpuId(0);
/// How many ports that linger in a queue are looked at when a port is wanted, twice over: some may be met when the lowest
/// free one is looked for.
const MOST_LOOKS: u64 = 128;

fn fifo(ports: u32) -> Domain {
    let a = world(&[(1, u32::MAX)]).remove(0);
    a.give_control_block(0).unwrap();
    for page in 0..=u64::from(ports / 1024) {
        a.give_array_page(page).unwrap();
    }
    a
}

/// Makes a guest that bound this many ports, and closed each while its word said that it is in a queue.
fn lingering(ports: u32) -> Domain {
    let a = fifo(ports + 1024);
    for port in 1..=ports {
        assert_eq!(bind_ipi(&a, V0), Ok(Port(port)));
    }
    for port in (1..=ports).map(Port) {
        a.set_word(port, LINKED);
        close(&a, port).unwrap();
    }
    a.take_page_looks();
    a
}

#[test]
fn a_port_is_found_in_a_constant_number_of_looks_however_many_linger_in_queues() {
    let a = lingering(20_000);
    for port in 20_001..20_200 {
        assert_eq!(bind_ipi(&a, V0), Ok(Port(port)));
        let looks = a.take_page_looks();
        assert!(looks <= MOST_LOOKS, "{looks} looks at the guest's pages with the lock held");
    }
}

#[test]
fn a_guest_that_says_of_free_ports_that_they_are_in_a_queue_costs_no_more() {
    let a = fifo(20_000);
    for port in 1..20_000 {
        assert_eq!(bind_ipi(&a, V0), Ok(Port(port)));
    }
    for port in (1..20_000).map(Port) {
        close(&a, port).unwrap();
        a.set_word(port, LINKED);
    }
    a.take_page_looks();
    for _ in 0..200 {
        let _: Result<Port, Errno> = bind_ipi(&a, V0);
        assert!(a.take_page_looks() <= MOST_LOOKS);
    }
    (1..20_000).for_each(|port| a.set_word(Port(port), 0));
    assert_eq!(bind_ipi(&a, V0).map(|port| port.0 < 20_000), Ok(true), "it left the queues, and is served again");
}

#[test]
fn ports_that_left_their_queues_are_given_out_from_the_lowest() {
    let a = lingering(60);
    assert_eq!(bind_ipi(&a, V0), Ok(Port(61)));
    [17, 5, 40].into_iter().for_each(|port| a.set_word(Port(port), 0));
    assert_eq!([5, 17, 40, 62].map(|_| bind_ipi(&a, V0).unwrap().0), [5, 17, 40, 62]);
    // Where the last look ended does not matter.
    a.set_word(Port(3), 0);
    assert_eq!(bind_ipi(&a, V0), Ok(Port(3)));
}

#[test]
fn every_port_that_left_its_queue_comes_back_in_the_end() {
    let a = lingering(3000);
    (1..=3000).for_each(|port| a.set_word(Port(port), 0));
    let mut got: Vec<u32> = (1..=3000).map(|_| bind_ipi(&a, V0).unwrap().0).collect();
    got.sort_unstable();
    assert!(got.iter().copied().eq(1..=3000), "{got:?}");
}

#[test]
fn after_a_reset_there_are_no_queues_to_linger_in() {
    let a = lingering(200);
    assert_eq!(reset(&a, ResetStart::Fresh, || false), Ok(Progress::Done));
    assert_eq!([1, 2, 3].map(|_| bind_ipi(&a, V0).unwrap().0), [1, 2, 3]);
}

#[test]
fn a_port_that_was_closed_and_is_in_no_queue_is_the_next_whatever_lies_above_it() {
    let a = fifo(5000);
    (1..5000).for_each(|port| assert_eq!(bind_ipi(&a, V0), Ok(Port(port))));
    for port in [4999, 1, 2500, 64, 4096].map(Port) {
        close(&a, port).unwrap();
        assert_eq!(bind_ipi(&a, V0), Ok(port));
    }
    assert_eq!(bind_ipi(&a, V0), Ok(Port(5000)));
}
