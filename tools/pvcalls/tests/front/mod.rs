//! A front end that keeps to the protocol and checks that the back end does, in the memory of this program, and a machine that
//! drives both.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddrV4;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rings::{Announced, ByteReader, ByteWriter, FrontRing, Joined, Order, PairedRings, Shared};
use rustix::event::Timespec;
use rustix::io::Errno;
use xen_abi::GrantRef;
use xen_abi::io::pvcalls::{
    PVCALLS_ACCEPT, PVCALLS_BIND, PVCALLS_CONNECT, PVCALLS_LISTEN, PVCALLS_POLL, PVCALLS_RELEASE, PVCALLS_SOCKET,
    PvcallsAccept, PvcallsBind, PvcallsConnect, PvcallsListen, PvcallsPoll, PvcallsRelease, PvcallsRequest,
    PvcallsResponse, PvcallsSocket,
};
use xenolith_pvcalls::{Device, Guest, Limits, Policy, Record, Tcp};

const PAGE: usize = 4096;
/// Where a guest's port is on the other side.
const LOCAL: u32 = 100_000;

pub type Page = Rc<RefCell<Vec<u8>>>;

/// Pages one after another.
#[derive(Clone)]
pub struct Pages(pub Vec<Page>, pub Option<Rc<Mapped>>);

/// Counts what is mapped.
pub struct Mapped(Rc<RefCell<World>>, Vec<u32>);

impl Drop for Mapped {
    fn drop(&mut self) {
        let mut world = self.0.borrow_mut();
        for grant in &self.1 {
            *world.mapped.get_mut(grant).unwrap() -= 1;
        }
    }
}

impl Pages {
    fn parts(
        offset: usize,
        length: usize,
    ) -> impl Iterator<Item = (usize, std::ops::Range<usize>, std::ops::Range<usize>)> {
        let mut done = 0;
        std::iter::from_fn(move || {
            if done == length {
                return None;
            }
            let at = offset + done;
            let now = (PAGE - at % PAGE).min(length - done);
            let part = (at / PAGE, at % PAGE..at % PAGE + now, done..done + now);
            done += now;
            Some(part)
        })
    }
}

impl Shared for Pages {
    fn length(&self) -> usize {
        self.0.len() * PAGE
    }

    fn load_u32(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        self.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn store_u32(&self, offset: usize, value: u32) {
        self.write(offset, &value.to_le_bytes());
    }

    fn read(&self, offset: usize, to: &mut [u8]) {
        for (page, place, part) in Self::parts(offset, to.len()) {
            to[part].copy_from_slice(&self.0[page].borrow()[place]);
        }
    }

    fn write(&self, offset: usize, from: &[u8]) {
        for (page, place, part) in Self::parts(offset, from.len()) {
            self.0[page].borrow_mut()[place].copy_from_slice(&from[part]);
        }
    }

    fn fence(&self) {}
}

/// What guest and back end share.
#[derive(Default)]
pub struct World {
    granted: HashMap<u32, Page>,
    mapped: HashMap<u32, usize>,
    next: u32,
    offered: HashSet<u32>,
    bound: HashSet<u32>,
    /// Events for the guest.
    pub events: HashSet<u32>,
}

impl World {
    pub fn grant(&mut self) -> (u32, Page) {
        self.next += 1;
        let page = Page::new(RefCell::new(vec![0; PAGE]));
        self.granted.insert(self.next, page.clone());
        (self.next, page)
    }

    pub fn offer(&mut self) -> u32 {
        self.next += 1;
        self.offered.insert(self.next);
        self.next
    }

    pub fn mapped(&self) -> usize {
        self.mapped.values().sum()
    }

    pub fn bound(&self) -> usize {
        self.bound.len()
    }
}

/// The back end's way to it.
#[derive(Clone)]
pub struct Reach(pub Rc<RefCell<World>>);

impl Guest for Reach {
    type Memory = Pages;

    fn map(&mut self, grants: &[u32]) -> Result<Pages, Errno> {
        let mut world = self.0.borrow_mut();
        let pages = grants.iter().map(|grant| world.granted.get(grant).cloned()).collect::<Option<Vec<_>>>();
        let pages = pages.ok_or(Errno::FAULT)?;
        grants.iter().for_each(|grant| *world.mapped.entry(*grant).or_default() += 1);
        Ok(Pages(pages, Some(Rc::new(Mapped(self.0.clone(), grants.to_vec())))))
    }

    fn bind(&mut self, port: u32) -> Result<u32, Errno> {
        let mut world = self.0.borrow_mut();
        if world.offered.remove(&port) {
            world.bound.insert(port + LOCAL);
            Ok(port + LOCAL)
        } else {
            Err(Errno::INVAL)
        }
    }

    fn unbind(&mut self, port: u32) {
        assert!(self.0.borrow_mut().bound.remove(&port), "port {port} is closed once");
    }

    fn notify(&mut self, port: u32) {
        let mut world = self.0.borrow_mut();
        assert!(world.bound.contains(&port), "port {port} is bound");
        world.events.insert(port - LOCAL);
    }
}

/// The guest's side of a connection.
pub struct Line {
    pub indexes: Rc<Pages>,
    pub reader: ByteReader<Joined<Rc<Pages>, Rc<Pages>>>,
    pub writer: ByteWriter<Joined<Rc<Pages>, Rc<Pages>>>,
    pub grant: u32,
    pub port: u32,
    pub references: Vec<u32>,
}

impl Line {
    pub fn in_error(&self) -> i32 {
        self.indexes.load_u32(8).cast_signed()
    }

    pub fn out_error(&self) -> i32 {
        self.indexes.load_u32(72).cast_signed()
    }
}

/// Guest, back end and the host's sockets.
pub struct Machine {
    pub world: Rc<RefCell<World>>,
    pub device: Device<Reach, Tcp>,
    pub ring: FrontRing<Pages, PvcallsRequest, PvcallsResponse>,
    pub ring_page: Pages,
    pub lines: HashMap<u64, Line>,
    outstanding: HashMap<u32, PvcallsRequest>,
    answers: HashMap<u32, i32>,
    waiting: VecDeque<PvcallsRequest>,
    next: u32,
    began: Instant,
    pub records: Vec<Record>,
}

pub fn policy(rules: &[&str], published: &[&str]) -> Policy {
    let rules = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    Policy::new(rules, published.iter().map(|port| port.parse().unwrap()).collect()).unwrap()
}

pub fn order(number: u32) -> Order {
    Order::new(number, Order::MAX).unwrap()
}

fn address(at: SocketAddrV4) -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[0] = 2;
    bytes[2..4].copy_from_slice(&at.port().to_be_bytes());
    bytes[4..8].copy_from_slice(&at.ip().octets());
    bytes
}

impl Machine {
    /// A guest that may connect to the host's loopback.
    pub fn new() -> Self {
        Self::of(policy(&["allow=127.0.0.1"], &[]), Limits::default())
    }

    pub fn of(policy: Policy, limits: Limits) -> Self {
        let world = Rc::new(RefCell::new(World::default()));
        let (reference, page) = world.borrow_mut().grant();
        let port = world.borrow_mut().offer();
        let ring_page = Pages(vec![page], None);
        let ring = FrontRing::start(ring_page.clone());
        let mut reach = Reach(world.clone());
        let (memory, local) = (reach.map(&[reference]).unwrap(), reach.bind(port).unwrap());
        let device = Device::new(reach, Tcp::new().unwrap(), memory, local, policy, limits);
        Self {
            world,
            device,
            ring,
            ring_page,
            lines: HashMap::new(),
            outstanding: HashMap::new(),
            answers: HashMap::new(),
            waiting: VecDeque::new(),
            next: 0,
            began: Instant::now(),
            records: Vec::new(),
        }
    }

    /// Lets everybody have a turn; waits a moment if there is nothing to do.
    pub fn turn(&mut self) {
        self.turn_at(self.began.elapsed());
    }

    pub fn turn_at(&mut self, now: Duration) {
        while let Some(request) = self.waiting.front() {
            if self.ring.put(request).is_err() {
                break;
            }
            self.waiting.pop_front();
        }
        self.ring.publish();
        let more = self.device.turn(now).expect("the ring is well");
        while let Some(response) = self.ring.take().unwrap() {
            let request = self.outstanding.remove(&response.req_id).expect("an answer to a request");
            assert_eq!((response.cmd, response.id), (request.cmd, request.poll().id));
            self.answers.insert(response.req_id, response.ret);
        }
        self.records.extend(self.device.take_records());
        let limit = Timespec { tv_sec: 0, tv_nsec: if more || !self.waiting.is_empty() { 0 } else { 1_000_000 } };
        for (token, readiness) in self.device.sockets_mut().wait(Some(limit)).unwrap() {
            self.device.on_socket(token, readiness);
        }
    }

    /// Runs until something is so.
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < Duration::from_secs(60), "not within a minute: {what}");
            self.turn();
        }
    }

    pub fn send(&mut self, cmd: u32, fill: impl FnOnce(&mut PvcallsRequest)) -> u32 {
        self.next += 1;
        let mut request = PvcallsRequest { req_id: self.next, cmd, ..PvcallsRequest::default() };
        fill(&mut request);
        self.outstanding.insert(self.next, request);
        self.waiting.push_back(request);
        self.next
    }

    /// Returns the answer to a request, if it is there.
    pub fn answered(&self, request: u32) -> Option<i32> {
        self.answers.get(&request).copied()
    }

    pub fn answer(&mut self, request: u32) -> i32 {
        self.until("an answer", |machine| machine.answers.contains_key(&request));
        self.answers.remove(&request).unwrap()
    }

    pub fn outstanding(&self) -> usize {
        self.outstanding.len()
    }

    pub fn socket(&mut self, id: u64) -> i32 {
        let told = PvcallsSocket { id, domain: 2, kind: 1, protocol: 0, ..PvcallsSocket::default() };
        let request = self.send(PVCALLS_SOCKET, |request| request.set_socket(told));
        self.answer(request)
    }

    /// Makes the guest's side of a connection.
    pub fn line(&mut self, order: Order) -> Line {
        let mut world = self.world.borrow_mut();
        let (grant, page) = world.grant();
        let (references, pages): (Vec<u32>, Vec<Page>) = (0..order.pages()).map(|_| world.grant()).unzip();
        let port = world.offer();
        let indexes = Rc::new(Pages(vec![page], None));
        Announced { order, references: references.clone() }.write(&indexes).unwrap();
        let rings = PairedRings::new(indexes.clone(), Rc::new(Pages(pages, None)), order).unwrap();
        let (reader, writer) = rings.owned_front();
        Line { indexes, reader, writer, grant, port, references }
    }

    pub fn begin_connect(&mut self, id: u64, to: SocketAddrV4, line: Line) -> u32 {
        let told = PvcallsConnect {
            id,
            addr: address(to),
            len: 16,
            gref: GrantRef(line.grant),
            evtchn: line.port,
            ..PvcallsConnect::default()
        };
        self.lines.insert(id, line);
        self.send(PVCALLS_CONNECT, |request| request.set_connect(told))
    }

    pub fn connect(&mut self, id: u64, to: SocketAddrV4, order: Order) -> i32 {
        let line = self.line(order);
        let request = self.begin_connect(id, to, line);
        self.answer(request)
    }

    pub fn bind(&mut self, id: u64, at: SocketAddrV4) -> i32 {
        let told = PvcallsBind { id, addr: address(at), len: 16 };
        let request = self.send(PVCALLS_BIND, |request| request.set_bind(told));
        self.answer(request)
    }

    pub fn listen(&mut self, id: u64, backlog: u32) -> i32 {
        let told = PvcallsListen { id, backlog, ..PvcallsListen::default() };
        let request = self.send(PVCALLS_LISTEN, |request| request.set_listen(told));
        self.answer(request)
    }

    pub fn begin_accept(&mut self, id: u64, id_new: u64, line: Line) -> u32 {
        let told = PvcallsAccept { id, id_new, gref: GrantRef(line.grant), evtchn: line.port };
        self.lines.insert(id_new, line);
        self.send(PVCALLS_ACCEPT, |request| request.set_accept(told))
    }

    pub fn begin_poll(&mut self, id: u64) -> u32 {
        self.send(PVCALLS_POLL, |request| request.set_poll(PvcallsPoll { id }))
    }

    pub fn release(&mut self, id: u64) -> i32 {
        let told = PvcallsRelease { id, ..PvcallsRelease::default() };
        let request = self.send(PVCALLS_RELEASE, |request| request.set_release(told));
        let answer = self.answer(request);
        if let Some(line) = self.lines.remove(&id).filter(|_| answer == 0) {
            let world = self.world.borrow();
            for grant in line.references.iter().chain([&line.grant]) {
                assert_eq!(world.mapped.get(grant).copied().unwrap_or(0), 0, "the guest has its pages back");
            }
            assert!(!world.bound.contains(&(line.port + LOCAL)), "and its port");
        }
        answer
    }

    /// Tells the back end that the guest has moved bytes.
    pub fn notify(&mut self, id: u64) {
        self.device.on_event(self.lines[&id].port + LOCAL);
    }

    /// Writes as much as there is room for.
    pub fn write(&mut self, id: u64, bytes: &[u8]) -> usize {
        let count = self.lines.get_mut(&id).unwrap().writer.write(bytes).unwrap();
        self.notify(id);
        count
    }

    pub fn read(&mut self, id: u64) -> Vec<u8> {
        let mut bytes = vec![0; 1 << 20];
        let count = self.lines.get_mut(&id).unwrap().reader.read(&mut bytes).unwrap();
        if count > 0 {
            self.notify(id);
        }
        bytes.truncate(count);
        bytes
    }

    /// Reads until that many bytes are there.
    pub fn read_exactly(&mut self, id: u64, count: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.until("bytes", |machine| {
            bytes.extend(machine.read(id));
            bytes.len() >= count
        });
        bytes
    }

    /// Asserts that nothing is left.
    pub fn assert_empty(&self) {
        let usage = self.device.usage();
        assert_eq!((usage.sockets, usage.connections, usage.pages, usage.bytes), (0, 0, 0, 0));
        let world = self.world.borrow();
        assert_eq!((world.mapped(), world.bound()), (1, 1), "the ring of commands and its port");
        assert_eq!(self.outstanding(), 0);
    }
}
