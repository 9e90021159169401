//! The daemon of one guest with a real xenstore, and guests that die at every step of the handshake.
#![forbid(unsafe_code)]

mod front;

use std::cell::RefCell;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use clap::Parser;
use front::{Pages, Reach, World};
use rings::FrontRing;
use xen_abi::io::pvcalls::{PvcallsRequest, PvcallsResponse, PvcallsSocket};
use xenolith_pvcalls::serve::{Command, Link, Options, Serving, Store, Worker};
use xenstore_wire::{Assembler, ErrorName};
use xenstored::engine::{DomainState, Engine, FIRST_SOCKET, Host, Limits};

const BACK: &str = "/local/domain/0/backend/pvcalls/5/0";
const FRONT: &str = "/local/domain/5/device/pvcalls/0";

struct Nothing;

impl Host for Nothing {
    fn connect(&mut self, _: u16, _: u64, _: u32) -> Result<(), ErrorName> {
        Ok(())
    }
    fn disconnect(&mut self, _: u16) {}
    fn state(&mut self, _: u16) -> DomainState {
        DomainState::Running
    }
    fn log(&mut self, _: &str) {}
    fn set_logging(&mut self, _: bool) {}
    fn log_to(&mut self, _: &str) -> Result<(), ErrorName> {
        Ok(())
    }
    fn report(&mut self, _: Option<&str>, _: &str) -> Result<(), ErrorName> {
        Ok(())
    }
    fn live_update(&mut self, _: &[&str]) -> Result<String, ErrorName> {
        Ok("OK".into())
    }
}

/// Answers requests of one socket, and passes on events that other sockets cause.
fn answer(engine: &Mutex<Engine>, connection: u32, mut socket: UnixStream) {
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut assembler = Assembler::new();
    let mut bytes = [0; 4096];
    loop {
        let count = match socket.read(&mut bytes[..assembler.wanted().unwrap()]) {
            Ok(0) => return,
            Ok(count) => count,
            Err(_) => 0,
        };
        assembler.push(&bytes[..count]).unwrap();
        let mut engine = engine.lock().unwrap();
        let answer = assembler.take().map(|message| engine.handle(&mut Nothing, connection, &message));
        while let Some(event) = engine.take_event(connection) {
            let _ = socket.write_all(&event.to_bytes());
        }
        answer.iter().for_each(|answer| drop(socket.write_all(&answer.to_bytes())));
    }
}

fn stores() -> [Store; 2] {
    let engine = Arc::new(Mutex::new(Engine::new(Limits::default(), 0, false)));
    std::array::from_fn(|number| {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let connection = FIRST_SOCKET + u32::try_from(number).unwrap();
        engine.lock().unwrap().connect_socket(connection);
        let engine = engine.clone();
        thread::spawn(move || answer(&engine, connection, theirs));
        Store::on_socket(ours)
    })
}

struct Model(Rc<RefCell<World>>, UnixStream);

impl Link for Model {
    type Guest = Reach;

    fn guest(&self) -> Reach {
        Reach(self.0.clone())
    }

    fn watched(&self) -> BorrowedFd<'_> {
        self.1.as_fd()
    }

    fn take(&mut self) -> Option<u32> {
        None
    }
}

struct Stage {
    store: Store,
    worker: Worker<Model>,
    world: Rc<RefCell<World>>,
    _quiet: UnixStream,
    directory: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        let [mut store, theirs] = stores();
        let write = |store: &mut Store, path: String, value: &str| {
            store.write(&path.parse().unwrap(), value.as_bytes()).unwrap();
        };
        for (name, value) in [("online", "1"), ("state", "1"), ("frontend-id", "5")] {
            write(&mut store, format!("{BACK}/{name}"), value);
        }
        write(&mut store, format!("{FRONT}/state"), "1");
        write(&mut store, "/local/domain/5/name".into(), "web");
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().display();
        let words = format!("x serve 5 --log {place} --metrics {place} --ring-order 4");
        let Command::Serve { serving, .. } = Options::parse_from(words.split(' ')).command else { panic!("no serve") };
        let serving: Serving = serving;
        let world = Rc::new(RefCell::new(World::default()));
        let (quiet, watched) = UnixStream::pair().unwrap();
        let worker = Worker::new(Model(world.clone(), watched), theirs, 5, serving).unwrap();
        Self { store, worker, world, _quiet: quiet, directory }
    }

    fn write(&mut self, path: &str, value: &str) {
        self.store.write(&path.parse().unwrap(), value.as_bytes()).unwrap();
    }

    fn state(&mut self) -> String {
        self.store.read_text(&format!("{BACK}/state").parse().unwrap()).unwrap_or_default()
    }

    fn reaches(&mut self, state: &str) {
        for _ in 0..2000 {
            assert!(self.worker.step(Duration::from_millis(2), None).unwrap(), "the device is there");
            if self.state() == state {
                return;
            }
        }
        panic!("state {state} is not reached; it is {}", self.state());
    }

    fn ends(&mut self) {
        let ended = (0..2000).any(|_| !self.worker.step(Duration::from_millis(2), None).unwrap());
        assert!(ended, "the device is gone");
        assert_eq!((self.world.borrow().mapped(), self.world.borrow().bound()), (0, 0));
    }

    /// The guest connects.
    fn connect(&mut self) -> FrontRing<Pages, PvcallsRequest, PvcallsResponse> {
        let (grant, page) = self.world.borrow_mut().grant();
        let port = self.world.borrow_mut().offer();
        let ring = FrontRing::start(Pages(vec![page], None));
        for (name, value) in [("version", 1), ("ring-ref", grant), ("port", port), ("state", 3)] {
            self.write(&format!("{FRONT}/{name}"), &value.to_string());
        }
        ring
    }

    fn remove(&mut self) {
        self.store.remove(&FRONT.parse().unwrap()).unwrap();
        self.write(&format!("{BACK}/online"), "0");
        self.write(&format!("{BACK}/state"), "5");
    }
}

#[test]
fn a_guest_connects_is_served_closes_and_connects_again() {
    let mut stage = Stage::new();
    stage.reaches("2");
    for (name, value) in [("versions", "1"), ("max-page-order", "4"), ("function-calls", "1"), ("networking", "1")] {
        assert_eq!(stage.store.read_text(&format!("{BACK}/{name}").parse().unwrap()).unwrap(), value);
    }
    for round in 0..2 {
        let mut ring = stage.connect();
        stage.reaches("4");
        let mut request = PvcallsRequest { req_id: 9, ..PvcallsRequest::default() };
        request.set_socket(PvcallsSocket { id: 1, domain: 2, kind: 1, ..PvcallsSocket::default() });
        ring.put(&request).unwrap();
        ring.publish();
        let answer = (0..2000).find_map(|_| {
            stage.worker.step(Duration::from_millis(1), None).unwrap();
            ring.take().unwrap()
        });
        assert_eq!(answer.map(|answer| (answer.req_id, answer.ret)), Some((9, 0)), "{round}");
        stage.write(&format!("{FRONT}/state"), "5");
        stage.reaches("6");
        assert_eq!(stage.world.borrow().mapped(), 0);
        stage.write(&format!("{FRONT}/state"), "1");
        stage.reaches("2");
    }
    stage.remove();
    stage.ends();
    assert_eq!(stage.state(), "6");
    let log = std::fs::read_to_string(stage.directory.path().join("pvcalls-5.json")).unwrap();
    assert!(log.lines().all(|line| line.contains("\"container\":\"web\"")) && log.lines().count() == 2, "{log}");
    let counters = std::fs::read_to_string(stage.directory.path().join("pvcalls-5.prom")).unwrap();
    assert!(counters.contains("call=\"socket\",outcome=\"ok\"} 1"), "{counters}");
}

#[test]
fn a_guest_that_dies_at_any_step_leaves_nothing() {
    // Before it spoke, while it connects, connected, and closing.
    for step in 0..4 {
        let mut stage = Stage::new();
        stage.reaches("2");
        let _ring = (step > 0).then(|| stage.connect());
        if step > 1 {
            stage.reaches("4");
        }
        if step > 2 {
            stage.write(&format!("{FRONT}/state"), "5");
        }
        stage.remove();
        stage.ends();
        assert_eq!(stage.state(), "6", "step {step}");
    }
    // The toolstack takes all nodes away at once: none is made anew.
    let mut stage = Stage::new();
    let _ring = stage.connect();
    stage.reaches("4");
    stage.store.remove(&FRONT.parse().unwrap()).unwrap();
    stage.store.remove(&BACK.parse().unwrap()).unwrap();
    stage.ends();
    assert!(stage.store.read(&BACK.parse().unwrap()).is_err());
}

#[test]
fn nodes_that_make_no_sense_close_the_device_and_a_guest_may_try_again() {
    for (name, value) in [("version", "2"), ("ring-ref", "99999"), ("ring-ref", "-1"), ("port", "77777"), ("port", "")]
    {
        let mut stage = Stage::new();
        stage.reaches("2");
        stage.write(&format!("{FRONT}/state"), "1");
        let (grant, _page) = stage.world.borrow_mut().grant();
        let port = stage.world.borrow_mut().offer();
        for (node, right) in [("version", 1), ("ring-ref", grant), ("port", port)] {
            let text = if node == name { value.to_owned() } else { right.to_string() };
            stage.write(&format!("{FRONT}/{node}"), &text);
        }
        stage.write(&format!("{FRONT}/state"), "3");
        stage.reaches("5");
        assert_eq!(stage.world.borrow().mapped(), 0, "{name} {value}");
        stage.write(&format!("{FRONT}/state"), "1");
        stage.reaches("2");
        let _ring = stage.connect();
        stage.reaches("4");
    }
}

#[test]
fn the_next_process_has_the_guest_close_what_the_last_one_served() {
    let mut stage = Stage::new();
    stage.write(&format!("{BACK}/state"), "4");
    stage.write(&format!("{FRONT}/state"), "4");
    stage.reaches("5");
    stage.write(&format!("{FRONT}/state"), "6");
    stage.reaches("6");
    stage.write(&format!("{FRONT}/state"), "1");
    stage.reaches("2");
    let _ring = stage.connect();
    stage.reaches("4");
}
