//! The engine between a front end and real sockets on the loopback.
#![forbid(unsafe_code)]

mod front;

use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Duration;

use front::{Machine, order, policy};
use rustix::net::{AddressFamily, SocketType, sockopt};
use xenolith_pvcalls::Limits;

fn listener() -> (TcpListener, SocketAddrV4) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(at) = listener.local_addr().unwrap() else { panic!("no IPv4") };
    (listener, at)
}

/// A port on which nobody listens.
fn free_port() -> SocketAddrV4 {
    listener().1
}

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length).map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ seed).collect()
}

fn connected(machine: &mut Machine, id: u64, number: u32) -> TcpStream {
    let (listener, at) = listener();
    assert_eq!((machine.socket(id), machine.connect(id, at, order(number))), (0, 0));
    listener.accept().unwrap().0
}

#[test]
fn megabytes_go_both_ways_at_once_through_a_small_ring() {
    const LENGTH: usize = 4 << 20;
    let mut machine = Machine::new();
    for number in [0, 4] {
        let peer = connected(&mut machine, 7, number);
        let mut also = peer.try_clone().unwrap();
        let reading = std::thread::spawn(move || {
            let mut bytes = vec![0; LENGTH];
            also.read_exact(&mut bytes).unwrap();
            bytes
        });
        let writing = std::thread::spawn(move || (&peer).write_all(&pattern(LENGTH, 1)).map(|()| peer).unwrap());
        let (sent, mut done, mut received) = (pattern(LENGTH, 2), 0, Vec::new());
        machine.until("all is moved", |machine| {
            done += machine.write(7, &sent[done..]);
            received.extend(machine.read(7));
            done == LENGTH && received.len() >= LENGTH
        });
        // What stands in the ring still goes out while the guest closes.
        assert_eq!(machine.release(7), 0);
        machine.until("the reader has all", |_| reading.is_finished());
        assert!(received == pattern(LENGTH, 1) && reading.join().unwrap() == sent);
        drop(writing.join().unwrap());
        let close = machine.records.iter().rfind(|record| record.call == "close").unwrap();
        assert_eq!(close.bytes.map(|bytes| bytes.0), Some(LENGTH as u64));
        machine.until("the last bytes are out", |machine| machine.device.usage().bytes == 0);
    }
    assert_eq!((machine.device.counters().received, machine.device.counters().lost), (2 * LENGTH as u64, 0));
    machine.assert_empty();
}

#[test]
fn a_peer_that_does_not_read_stops_the_guest_and_no_more_is_taken() {
    let mut machine = Machine::new();
    let mut peer = connected(&mut machine, 1, 0);
    let mut sent = 0;
    let mut quiet = 0;
    machine.until("the guest has to wait", |machine| {
        let now = machine.write(1, &[5; 2048]);
        sent += now;
        quiet = if now == 0 { quiet + 1 } else { 0 };
        quiet > 50
    });
    let mut bytes = vec![0; sent];
    let reading = std::thread::spawn(move || peer.read_exact(&mut bytes).map(|()| bytes).unwrap());
    machine.until("all has come", |_| reading.is_finished());
    assert!(reading.join().unwrap().iter().all(|byte| *byte == 5));
}

#[test]
fn a_refused_connection_says_so_and_the_socket_can_be_tried_again() {
    let mut machine = Machine::new();
    assert_eq!((machine.socket(1), machine.connect(1, free_port(), order(0))), (0, -111));
    assert_eq!(machine.world.borrow().mapped(), 1, "the rings are unmapped");
    let (_listener, at) = listener();
    assert_eq!((machine.connect(1, at, order(0)), machine.connect(1, at, order(0))), (0, -106));
    machine.lines.remove(&1);
    assert_eq!(machine.release(1), 0);
    machine.assert_empty();
    assert_eq!(machine.device.counters().calls("connect"), (1, 2));
}

#[test]
fn a_connection_under_way_keeps_nobody_waiting_and_ends_with_its_socket() {
    // Two connections fill a queue of one, and Linux leaves the next without an answer.
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&socket, &SocketAddrV4::new([127, 0, 0, 1].into(), 0)).unwrap();
    rustix::net::listen(&socket, 0).unwrap();
    let at: SocketAddrV4 = rustix::net::getsockname(&socket).unwrap().try_into().unwrap();
    let mut machine = Machine::new();
    let mut under_way = Vec::new();
    for id in 1..5 {
        assert_eq!(machine.socket(id), 0);
        let line = machine.line(order(0));
        under_way.push((id, machine.begin_connect(id, at, line)));
    }
    (0..50).for_each(|_| machine.turn());
    under_way.retain(|(_, request)| machine.answered(*request).is_none());
    assert!(!under_way.is_empty(), "all were answered at once");
    let (_other, at) = listener();
    assert_eq!((machine.socket(9), machine.connect(9, at, order(0))), (0, 0), "others are served");
    let (id, request) = under_way[0];
    let line = machine.line(order(0));
    let kept = machine.lines.remove(&id).unwrap();
    let again = machine.begin_connect(id, at, line);
    assert_eq!(machine.answer(again), -114, "already under way");
    machine.lines.insert(id, kept);
    assert_eq!((machine.release(id), machine.answer(request)), (0, -125));
    for id in (1..5).filter(|other| *other != id).chain([9]) {
        assert_eq!(machine.release(id), 0);
    }
    for (_, request) in &under_way[1..] {
        assert_eq!(machine.answer(*request), -125);
    }
    machine.assert_empty();
}

#[test]
fn the_end_of_the_peers_stream_leaves_the_guest_its_own() {
    let mut machine = Machine::new();
    let mut peer = connected(&mut machine, 1, 1);
    peer.write_all(b"the last words").unwrap();
    peer.shutdown(std::net::Shutdown::Write).unwrap();
    machine.until("the end", |machine| machine.lines[&1].in_error() != 0);
    assert_eq!((machine.lines[&1].in_error(), machine.lines[&1].out_error()), (-107, 0));
    assert_eq!(machine.read(1), b"the last words");
    assert_eq!(machine.write(1, b"understood"), 10);
    machine.turn();
    assert_eq!(machine.release(1), 0);
    let mut bytes = Vec::new();
    assert_eq!((peer.read_to_end(&mut bytes).unwrap(), &bytes[..]), (10, &b"understood"[..]));
}

#[test]
fn a_peers_reset_is_told_both_ways() {
    let mut machine = Machine::new();
    let peer = connected(&mut machine, 1, 0);
    sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
    drop(peer);
    machine.until("the reset", |machine| machine.lines[&1].in_error() != 0);
    assert_eq!(machine.lines[&1].in_error(), -104);
    machine.write(1, b"hello?");
    machine.until("it is told", |machine| machine.lines[&1].out_error() != 0);
    assert_eq!(machine.lines[&1].out_error(), -32);
    assert_eq!(machine.release(1), 0);
    machine.assert_empty();
}

#[test]
fn what_the_guest_wrote_goes_out_after_it_has_closed_or_is_given_up_in_time() {
    for gives_up in [false, true] {
        let mut machine = Machine::new();
        let mut peer = connected(&mut machine, 1, 9);
        let mut sent = 0;
        machine.until("the ring is full", |machine| {
            let now = machine.write(1, &[7; 100_000]);
            sent += now;
            now == 0
        });
        assert_eq!(machine.release(1), 0);
        let left = machine.device.usage().bytes;
        assert!(left > 100_000, "{left}");
        assert_eq!((machine.device.usage().connections, machine.world.borrow().mapped()), (0, 1));
        if gives_up {
            machine.turn_at(Duration::from_secs(3600));
            assert_eq!((machine.device.deadline(), machine.device.counters().lost > 0), (None, true));
        } else {
            let mut bytes = vec![0; sent];
            let reading = std::thread::spawn(move || (peer.read_exact(&mut bytes), peer.read(&mut [0])));
            machine.until("the last bytes are out", |machine| machine.device.usage().bytes == 0);
            let (all, end) = reading.join().unwrap();
            assert!(all.is_ok() && end.unwrap() == 0 && machine.device.counters().lost == 0);
        }
        machine.assert_empty();
    }
}

#[test]
fn a_guest_serves_on_a_published_port_and_a_taken_one_is_told() {
    let port = free_port().port();
    let taken = listener();
    let (publish, also) = (format!("127.0.0.1:{port}:80"), format!("127.0.0.1:{}:81", taken.1.port()));
    let mut machine = Machine::of(policy(&[], &[&publish, &also]), Limits::default());
    let any = |port| SocketAddrV4::new([0, 0, 0, 0].into(), port);
    (1..=4).for_each(|id| assert_eq!(machine.socket(id), 0));
    assert_eq!((machine.bind(1, any(80)), machine.bind(2, any(81)), machine.bind(3, any(82))), (0, -98, -13));
    assert_eq!((machine.listen(1, 100), machine.listen(1, 5), machine.listen(3, 5)), (0, 0, -13));
    assert_eq!(machine.bind(4, any(80)), -98, "another socket of the guest's listens there");
    let poll = machine.begin_poll(1);
    (0..20).for_each(|_| machine.turn());
    assert_eq!(machine.answered(poll), None, "nobody has come");
    let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(machine.answer(poll), 0);
    let line = machine.line(order(1));
    let accept = machine.begin_accept(1, 10, line);
    assert_eq!(machine.answer(accept), 0);
    client.write_all(b"GET /").unwrap();
    assert_eq!(machine.read_exactly(10, 5), b"GET /");
    machine.write(10, b"200 OK");
    machine.turn();
    let mut bytes = [0; 6];
    client.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"200 OK");
    let poll = machine.begin_poll(1);
    (0..20).for_each(|_| machine.turn());
    assert_eq!(machine.answered(poll), None, "it was taken, and no other has come");
    // An accept may also wait first.
    let line = machine.line(order(0));
    let accept = machine.begin_accept(1, 11, line);
    (0..20).for_each(|_| machine.turn());
    assert_eq!(machine.answered(accept), None);
    let peer = TcpStream::connect(("127.0.0.1", port)).unwrap();
    assert_eq!(machine.answer(accept), 0);
    let accepted = machine.records.iter().rfind(|record| record.call == "accept").unwrap();
    assert_eq!(accepted.address.map(SocketAddr::V4), Some(peer.local_addr().unwrap()));
    let bound = machine.records.iter().find(|record| record.call == "bind").unwrap();
    assert_eq!(bound.host.map(|host| host.port()), Some(port));
    // What waits at a socket ends with it.
    let line = machine.line(order(0));
    let (accept, again) = (machine.begin_accept(1, 12, line), machine.line(order(0)));
    let cancelled = machine.begin_accept(1, 13, again);
    machine.turn();
    assert_eq!((machine.release(13), machine.answer(cancelled)), (0, -125));
    machine.lines.remove(&12);
    assert_eq!((machine.release(1), machine.answer(accept), machine.answer(poll)), (0, -125, -125));
    assert_eq!(machine.bind(4, any(80)), 0, "the port is free again");
    for id in [2, 3, 4, 10, 11] {
        assert_eq!(machine.release(id), 0, "{id}");
    }
    machine.assert_empty();
}

#[test]
fn policy_keeps_a_guest_from_the_host_and_the_log_says_so() {
    let (_listener, at) = listener();
    let mut machine = Machine::of(policy(&[], &[]), Limits::default());
    assert_eq!((machine.socket(1), machine.connect(1, at, order(0))), (0, -13));
    let unspecified = SocketAddrV4::new([0, 0, 0, 0].into(), at.port());
    assert_eq!(machine.connect(1, unspecified, order(0)), -13);
    let record = machine.records.last().unwrap();
    assert_eq!((record.call, record.address, record.result), ("connect", Some(unspecified), -13));
    assert_eq!((record.refused, machine.device.counters().refused_by_policy), (Some("policy"), 2));
    assert_eq!(machine.world.borrow().mapped(), 1, "nothing was mapped for it");
}

#[test]
fn thousands_of_connections_are_served_at_once() {
    const COUNT: u64 = 2000;
    let wanted = rustix::process::Rlimit { current: Some(8192), maximum: Some(8192) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted);
    let (listener, at) = listener();
    let echo = std::thread::spawn(move || {
        let mut streams: Vec<TcpStream> = (0..COUNT).map(|_| listener.accept().unwrap().0).collect();
        for stream in &mut streams {
            let mut bytes = [0; 8];
            stream.read_exact(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
        }
        streams
    });
    let mut machine = Machine::new();
    for id in 0..COUNT {
        assert_eq!((machine.socket(id), machine.connect(id, at, order(0))), (0, 0), "{id}");
    }
    (0..COUNT).for_each(|id| assert_eq!(machine.write(id, &id.to_le_bytes()), 8));
    machine.until("all are answered", |_| echo.is_finished());
    for id in 0..COUNT {
        assert_eq!(machine.read_exactly(id, 8), id.to_le_bytes());
    }
    assert_eq!(machine.device.usage().connections, COUNT as usize);
    for id in 0..COUNT {
        assert_eq!(machine.release(id), 0);
    }
    machine.assert_empty();
    drop(echo.join().unwrap());
}
