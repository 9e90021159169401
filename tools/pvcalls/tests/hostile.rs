//! Guests that do not keep to the protocol, or want more than they may have.
#![forbid(unsafe_code)]

mod front;

use std::net::{SocketAddr, SocketAddrV4, TcpListener};

use front::{Machine, order, policy};
use rings::Shared;
use xen_abi::io::pvcalls::PvcallsSocket;
use xenolith_pvcalls::Limits;

fn listener() -> (TcpListener, SocketAddrV4) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(at) = listener.local_addr().unwrap() else { panic!("no IPv4") };
    (listener, at)
}

#[test]
fn an_index_that_makes_no_sense_closes_the_device() {
    let mut machine = Machine::new();
    let (_listener, at) = listener();
    assert_eq!((machine.socket(1), machine.connect(1, at, order(0))), (0, 0));
    machine.ring_page.store_u32(0, 5000);
    assert!(machine.device.turn(std::time::Duration::ZERO).is_err());
    machine.ring_page.store_u32(0, 2);
    assert!(machine.device.turn(std::time::Duration::ZERO).is_err(), "for good");
    let Machine { world, device, .. } = machine;
    let (records, _) = device.close();
    assert_eq!(records.last().map(|record| (record.call, record.bytes)), Some(("close", Some((0, 0)))));
    assert_eq!((world.borrow().mapped(), world.borrow().bound()), (0, 0));
}

#[test]
fn a_data_ring_that_makes_no_sense_ends_its_connection_alone() {
    let mut machine = Machine::new();
    let (_listener, at) = listener();
    for id in 1..=2 {
        assert_eq!((machine.socket(id), machine.connect(id, at, order(0))), (0, 0));
    }
    machine.lines[&1].indexes.store_u32(68, 999_999);
    machine.notify(1);
    machine.turn();
    assert_eq!((machine.lines[&1].in_error(), machine.lines[&1].out_error()), (-5, -5));
    assert_eq!(machine.device.counters().broken_rings, 1);
    machine.lines[&1].indexes.store_u32(68, 0);
    assert_eq!((machine.write(2, b"well"), machine.release(1)), (4, 0));
    machine.turn();
    machine.until("the other is served", |machine| machine.device.counters().sent == 4);
    assert_eq!(machine.release(2), 0);
    machine.assert_empty();
}

#[test]
fn what_cannot_be_is_answered_by_an_error_and_leaves_nothing() {
    let mut machine = Machine::new();
    let (_listener, at) = listener();
    assert_eq!((machine.socket(1), machine.socket(1)), (0, -17), "a name that is taken");
    assert_eq!((machine.release(2), machine.listen(2, 1), machine.bind(2, at)), (-9, -9, -9));
    for (domain, kind, protocol) in [(10, 1, 0), (2, 2, 0), (2, 1, 17)] {
        let told = PvcallsSocket { id: 3, domain, kind, protocol, ..PvcallsSocket::default() };
        let request = machine.send(0, |request| request.set_socket(told));
        assert_eq!(machine.answer(request), -97);
    }
    let request = machine.send(7, |_| ());
    assert_eq!(machine.answer(request), -524);
    let request = machine.send(u32::MAX, |_| ());
    assert_eq!(machine.answer(request), -524);
    let poll = machine.begin_poll(1);
    assert_eq!(machine.answer(poll), -22, "it does not listen");
    let line = machine.line(order(0));
    let accept = machine.begin_accept(1, 5, line);
    assert_eq!(machine.answer(accept), -22);
    // Rings that are not granted, too long, or whose port is not offered.
    let mut line = machine.line(order(0));
    line.grant = 99_999;
    let connect = machine.begin_connect(1, at, line);
    assert_eq!(machine.answer(connect), -14);
    let line = machine.line(order(1));
    line.indexes.store_u32(136, 99_999);
    let connect = machine.begin_connect(1, at, line);
    assert_eq!(machine.answer(connect), -14);
    let line = machine.line(order(0));
    line.indexes.store_u32(128, 10);
    let connect = machine.begin_connect(1, at, line);
    assert_eq!(machine.answer(connect), -22);
    let mut line = machine.line(order(0));
    line.port = 99_999;
    let connect = machine.begin_connect(1, at, line);
    assert_eq!(machine.answer(connect), -22);
    machine.lines.clear();
    assert_eq!(machine.release(1), 0);
    machine.assert_empty();
    let text = machine.device.counters().text("x", 1, machine.device.usage());
    assert!(text.contains("call=\"unknown\",outcome=\"error\"} 2"), "{text}");
}

#[test]
fn a_budget_is_kept_and_given_back() {
    let limits = Limits { sockets: 4, connections: 2, pages: 5, bytes: 100, order: order(2), ..Limits::default() };
    let mut machine = Machine::of(policy(&["allow=127.0.0.1"], &[]), limits);
    let (_listener, at) = listener();
    (1..=4).for_each(|id| assert_eq!(machine.socket(id), 0));
    assert_eq!(machine.socket(5), -24);
    assert_eq!(machine.connect(1, at, order(3)), -22, "a larger ring than was offered");
    assert_eq!(machine.connect(1, at, order(2)), 0);
    assert_eq!(machine.connect(2, at, order(0)), -105, "no pages are left");
    machine.lines.remove(&2);
    assert_eq!((machine.release(1), machine.connect(2, at, order(0)), machine.connect(3, at, order(0))), (0, 0, 0));
    assert_eq!(machine.connect(4, at, order(0)), -105, "no connections are left");
    assert_eq!(machine.device.counters().refused_by_budget, 3);
    machine.lines.remove(&4);
    (2..=4).for_each(|id| assert_eq!(machine.release(id), 0));
    machine.assert_empty();
}
