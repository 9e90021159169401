//! The daemon as real programs, killed at random under load: what was acknowledged is there, no answer is lost or given
//! twice, no watch is forgotten, and the rings and sockets go on.

mod daemon;
mod ring_client;
mod socket_client;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use daemon::{Daemon, eventually};
use ring_client::RingClient;
use socket_client::SocketClient;
use xenstore_wire::Kind;

/// Sends requests until told to stop, and checks every response. Returns the number of responses.
fn load(client: &mut impl Client, base: &str, stop: &AtomicBool, all: &AtomicU32) -> u32 {
    let mut dice = fastrand::Rng::with_seed(base.len() as u64);
    let mut expected = BTreeMap::<u8, String>::new();
    let (mut answered, mut again) = (0, 0);
    while !stop.load(Ordering::Relaxed) {
        let name = dice.u8(..8);
        let path = format!("{base}/n{name}\0");
        match dice.u8(..4) {
            0 => {
                let value = format!("{answered}");
                assert_eq!(client.ask(Kind::Write, 0, format!("{path}{value}")), "OK\0");
                expected.insert(name, value);
            }
            1 => {
                let value = expected.get(&name).map_or("ENOENT\0", String::as_str);
                assert_eq!(client.ask(Kind::Read, 0, path), value);
            }
            2 => {
                assert_eq!(client.ask(Kind::Remove, 0, path), "OK\0");
                expected.remove(&name);
            }
            _ => {
                let number = client.ask(Kind::TransactionStart, 0, "\0".into());
                let number = number.trim_end_matches('\0').parse().expect("the number of a transaction");
                let value = format!("t{answered}");
                assert_eq!(client.ask(Kind::Write, number, format!("{path}{value}")), "OK\0");
                let seen = client.ask(Kind::Read, number, path);
                match &*client.ask(Kind::TransactionEnd, number, "T\0".into()) {
                    // One that lost what it had written is never committed.
                    "OK\0" if seen == value => drop(expected.insert(name, value)),
                    "EAGAIN\0" => again += 1,
                    other => panic!("a transaction read {seen:?} for {value:?}, and its end was answered by {other:?}"),
                }
            }
        }
        answered += 1;
        all.fetch_add(1, Ordering::Relaxed);
    }
    eprintln!("{base}: {answered} answers, {again} transactions were to be done again");
    answered
}

/// A client of the daemon.
pub trait Client {
    /// Sends a request and returns its response. Events that come before it are queued.
    fn ask(&mut self, kind: Kind, transaction: u32, body: String) -> String;
    /// Takes the paths of the events that have arrived.
    fn events(&mut self) -> Vec<String>;
}

#[test]
fn nothing_that_was_acknowledged_is_lost_by_kills_under_load() {
    let daemon = Daemon::start();
    let mut tools = SocketClient::new(&daemon.socket());
    tools.make_domain(1);
    for base in ["/load/0", "/load/1"] {
        assert_eq!(tools.ask(Kind::MakeDirectory, 0, format!("{base}\0")), "OK\0");
    }
    let (stop, answers) = (AtomicBool::new(false), AtomicU32::new(0));
    let counts: Vec<u32> = thread::scope(|scope| {
        let mut ring = RingClient::new(&daemon.directory(), 1);
        let (stop, answers, daemon) = (&stop, &answers, &daemon);
        let mut clients = vec![scope.spawn(move || load(&mut ring, "/local/domain/1", stop, answers))];
        for number in 0..2 {
            let mut socket = SocketClient::new(&daemon.socket());
            clients.push(scope.spawn(move || load(&mut socket, &format!("/load/{number}"), stop, answers)));
        }
        let mut dice = fastrand::Rng::new();
        for kill in 0..40 {
            // Every fourth one is killed while it starts, if it is slow; the others once they have served.
            if kill % 4 != 0 {
                let before = answers.load(Ordering::Relaxed);
                eventually("an answer", || (answers.load(Ordering::Relaxed) > before + 9).then_some(()));
            }
            thread::sleep(Duration::from_micros(dice.u64(..80_000)));
            daemon.kill_server();
        }
        stop.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("a client found a fault")).collect()
    });
    assert!(counts.iter().all(|count| *count > 0), "{counts:?} answers");
    assert_eq!(tools.ask(Kind::Control, 0, "check\0".into()), "OK\0");
}

#[test]
fn kills_that_are_faster_than_a_start_do_not_end_the_service() {
    let daemon = Daemon::start();
    let mut client = SocketClient::new(&daemon.socket());
    assert_eq!(client.ask(Kind::Write, 0, "/k\0kept".into()), "OK\0");
    for _ in 0..20 {
        daemon.kill_child_of_keeper();
    }
    assert_eq!(client.ask(Kind::Read, 0, "/k\0".into()), "kept");
}

#[test]
fn keepers_that_are_killed_as_soon_as_they_start_do_not_end_the_service() {
    let daemon = Daemon::start();
    let mut client = SocketClient::new(&daemon.socket());
    assert_eq!(client.ask(Kind::Write, 0, "/k\0kept".into()), "OK\0");
    let server = daemon.server();
    for _ in 0..8 {
        let before = daemon.keeper();
        daemon.kill_keeper();
        daemon.await_another_keeper(before);
    }
    assert_eq!(client.ask(Kind::Read, 0, "/k\0".into()), "kept");
    assert_eq!(daemon.server(), server);
    assert_eq!(SocketClient::new(&daemon.socket()).ask(Kind::Read, 0, "/k\0".into()), "kept");
}

#[test]
fn connections_that_come_and_go_by_the_hundreds_do_not_stop_the_service() {
    // Keeper and worker tell each other of each of them, at the same time.
    const AT_ONCE: usize = 300;
    let daemon = Daemon::start();
    let mut client = SocketClient::new(&daemon.socket());
    assert_eq!(client.ask(Kind::Write, 0, "/k\0kept".into()), "OK\0");
    for _ in 0..8 {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut clients: Vec<_> = (0..AT_ONCE).map(|_| SocketClient::new(&daemon.socket())).collect();
                    clients.iter_mut().for_each(SocketClient::ask_in_vain);
                });
            }
        });
        assert_eq!(client.ask(Kind::Read, 0, "/k\0".into()), "kept");
        assert_eq!(SocketClient::new(&daemon.socket()).ask(Kind::Read, 0, "/k\0".into()), "kept");
    }
}

#[test]
fn a_live_update_waits_for_a_keeper() {
    let daemon = Daemon::start();
    let mut client = SocketClient::new(&daemon.socket());
    assert_eq!(client.ask(Kind::Write, 0, "/k\0kept".into()), "OK\0");
    for _ in 0..4 {
        let before = daemon.server();
        let step = format!("live-update\0-f\0{}\0", daemon::PROGRAM);
        assert_eq!(client.ask(Kind::Control, 0, step), "OK\0");
        daemon.kill_keeper();
        assert_eq!(client.ask(Kind::Control, 0, "live-update\0-s\0-t\x0030\0".into()), "OK\0");
        eventually("another worker", || (daemon.server() != before).then_some(()));
        assert_eq!(client.ask(Kind::Read, 0, "/k\0".into()), "kept");
    }
}

#[test]
fn a_watch_survives_and_changes_during_a_kill_fire_it() {
    let daemon = Daemon::start();
    let mut watcher = SocketClient::new(&daemon.socket());
    let mut writer = SocketClient::new(&daemon.socket());
    writer.make_domain(1);
    let mut ring = RingClient::new(&daemon.directory(), 1);
    assert_eq!(watcher.ask(Kind::Watch, 0, "/w\0t\0".into()), "OK\0");
    assert_eq!(ring.ask(Kind::Watch, 0, "dev\0t\0".into()), "OK\0");
    for round in 0..5 {
        watcher.events();
        ring.events();
        daemon.kill_server();
        assert_eq!(writer.ask(Kind::Write, 0, format!("/w/{round}\0x")), "OK\0");
        assert_eq!(writer.ask(Kind::Write, 0, format!("/local/domain/1/dev/{round}\0x")), "OK\0");
        watcher.await_event(&format!("/w/{round}"));
        assert_eq!(ring.ask(Kind::Read, 0, format!("dev/{round}\0")), "x");
        ring.await_event(&format!("dev/{round}"));
    }
}

#[test]
fn the_keeper_of_the_sockets_may_be_killed_too() {
    let daemon = Daemon::start();
    let mut client = SocketClient::new(&daemon.socket());
    // A connection that has not been served yet may be between the two programs when one of them is killed.
    assert_eq!(client.ask(Kind::Write, 0, "/k\0before".into()), "OK\0");
    for round in 0..3 {
        let before = daemon.keeper();
        daemon.kill_keeper();
        daemon.await_another_keeper(before);
        assert_eq!(client.ask(Kind::Write, 0, format!("/k\0{round}")), "OK\0");
        daemon.kill_server();
        assert_eq!(client.ask(Kind::Read, 0, "/k\0".into()), round.to_string());
        assert_eq!(SocketClient::new(&daemon.socket()).ask(Kind::Read, 0, "/k\0".into()), round.to_string());
    }
}

#[test]
fn the_store_and_the_rings_live_on_when_both_programs_were_killed() {
    let mut daemon = Daemon::start();
    let mut client = SocketClient::new(&daemon.socket());
    client.make_domain(1);
    let mut ring = RingClient::new(&daemon.directory(), 1);
    assert_eq!(ring.ask(Kind::Write, 0, "x\0kept".into()), "OK\0");
    assert_eq!(ring.ask(Kind::Watch, 0, "dev\0t\0".into()), "OK\0");
    ring.events();
    daemon.kill_both_and_start_again();
    let mut client = SocketClient::new(&daemon.socket());
    assert_eq!(client.ask(Kind::Read, 0, "/local/domain/1/x\0".into()), "kept");
    assert_eq!(client.ask(Kind::IsDomainIntroduced, 0, "1\0".into()), "T\0");
    ring.await_event("dev");
    assert_eq!(ring.ask(Kind::Read, 0, "x\0".into()), "kept");
}

#[test]
fn a_live_update_changes_the_program_and_nothing_else() {
    let daemon = Daemon::start();
    let mut client = SocketClient::new(&daemon.socket());
    assert_eq!(client.ask(Kind::Write, 0, "/u\0kept".into()), "OK\0");
    let before = daemon.server();
    for step in [format!("-f\0{}\0", daemon::PROGRAM), "-s\0-t\x0030\0".to_owned()] {
        assert_eq!(client.ask(Kind::Control, 0, format!("live-update\0{step}")), "OK\0");
    }
    assert_eq!(client.ask(Kind::Read, 0, "/u\0".into()), "kept");
    // The former program may have answered that read; it ends next.
    eventually("another program that serves", || (daemon.server() != before).then_some(()));
    // A program that does not serve is given up for the one that did.
    for step in ["-f\0/bin/true\0", "-s\0"] {
        assert_eq!(client.ask(Kind::Control, 0, format!("live-update\0{step}")), "OK\0");
    }
    assert_eq!(client.ask(Kind::Read, 0, "/u\0".into()), "kept");
}

#[test]
fn a_domain_is_sent_an_event_when_its_ring_begins_to_be_served() {
    let daemon = Daemon::start();
    let mut client = SocketClient::new(&daemon.socket());
    client.make_domain(1);
    let ring = RingClient::new(&daemon.directory(), 1);
    daemon.kill_server();
    ring.await_notification();
}

#[test]
fn a_ring_that_breaks_the_rules_hurts_its_own_domain_alone_and_can_begin_anew() {
    let daemon = Daemon::start();
    let mut client = SocketClient::new(&daemon.socket());
    client.make_domain(1);
    client.make_domain(2);
    let (mut bad, mut good) = (RingClient::new(&daemon.directory(), 1), RingClient::new(&daemon.directory(), 2));
    assert_eq!(bad.ask(Kind::Watch, 0, "x\0t\0".into()), "OK\0");
    bad.claim_too_much();
    bad.await_error(2);
    assert_eq!(good.ask(Kind::Write, 0, "x\0v".into()), "OK\0");
    bad.connect_anew();
    assert_eq!(bad.ask(Kind::Write, 0, "x\0v".into()), "OK\0");
    assert!(bad.events().is_empty());
    bad.send_header_of(5000);
    bad.await_error(3);
    assert_eq!(good.ask(Kind::Read, 0, "x\0".into()), "v");
}
