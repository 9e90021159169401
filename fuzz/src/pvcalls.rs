//! What a hostile guest does with the back end of PV Calls: commands of every kind and order, names that are taken or
//! unknown, grants and ports that it has not given, rings that change while they are read; and sockets that do anything that
//! a host's may.
//!
//! Whatever it does, its budget is kept, what is mapped, bound and open is what the engine accounts for, and the end of the
//! device leaves nothing.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::Duration;

use fastrand::Rng;
use rings::{Order, Shared};
use rustix::io::Errno;
use xen_abi::GrantRef;
use xen_abi::io::pvcalls::{PvcallsAccept, PvcallsBind, PvcallsConnect, PvcallsRequest};
use xenolith_pvcalls::{Device, Guest, Limits, Policy, Readiness, Sockets, Token};
use zerocopy::IntoBytes;

const PAGE: usize = 4096;
/// Turns of one input, and requests of one turn at most.
const TURNS: u64 = 200;
const REQUESTS: u32 = 6;
/// The ring of commands, pages of indexes, and pages of data, by their grants.
const INDEXES: u32 = 1;
const DATA: u32 = 9;
const PAGES: u32 = 30;
/// Where the words of a page of indexes lie: those of the rings, and the order.
const WORDS: [usize; 5] = [0, 4, 64, 68, 128];
/// Socket names that the guest uses.
const NAMES: u64 = 14;

fn limits() -> Limits {
    let order = Order::new(2, Order::MAX).unwrap_or(Order::MAX);
    Limits {
        sockets: 10,
        connections: 6,
        pages: 16,
        bytes: 5000,
        order,
        linger: Duration::from_secs(5),
        ..Limits::default()
    }
}

struct World {
    dice: Rng,
    pages: Vec<Vec<u8>>,
    mapped: usize,
    bound: HashSet<u32>,
    last_port: u32,
}

type Shares = Rc<RefCell<World>>;

struct Memory {
    world: Shares,
    pages: Vec<usize>,
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.world.borrow_mut().mapped -= self.pages.len();
    }
}

impl Memory {
    fn each(&self, offset: usize, length: usize, mut what: impl FnMut(&mut [u8], usize)) {
        let mut world = self.world.borrow_mut();
        if world.dice.u8(..40) == 0 {
            world.disturb();
        }
        for done in 0..length {
            let at = offset + done;
            let page = self.pages[at / PAGE];
            what(&mut world.pages[page][at % PAGE..=at % PAGE], done);
        }
    }
}

impl World {
    /// Changes a word of some page of indexes: by a little, which may be believed, or seldom to anything.
    fn disturb(&mut self) {
        let (page, at) = (self.dice.usize(INDEXES as usize..DATA as usize), WORDS[self.dice.usize(..WORDS.len())]);
        let place = &mut self.pages[page][at..at + 4];
        let word = u32::from_le_bytes([place[0], place[1], place[2], place[3]]);
        let more = if self.dice.u8(..30) == 0 { self.dice.u32(..) } else { self.dice.u32(..2000) };
        let word = if at == 128 { self.dice.u32(..4) } else { word.wrapping_add(more) };
        place.copy_from_slice(&word.to_le_bytes());
    }
}

impl Shared for Memory {
    fn length(&self) -> usize {
        self.pages.len() * PAGE
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
        self.each(offset, to.len(), |byte, at| to[at] = byte[0]);
    }

    fn write(&self, offset: usize, from: &[u8]) {
        self.each(offset, from.len(), |byte, at| byte[0] = from[at]);
    }

    fn fence(&self) {}
}

struct Reach(Shares);

impl Guest for Reach {
    type Memory = Memory;

    fn map(&mut self, grants: &[u32]) -> Result<Memory, Errno> {
        if grants.iter().any(|grant| *grant >= PAGES) {
            return Err(Errno::FAULT);
        }
        self.0.borrow_mut().mapped += grants.len();
        Ok(Memory { world: self.0.clone(), pages: grants.iter().map(|grant| *grant as usize).collect() })
    }

    fn bind(&mut self, port: u32) -> Result<u32, Errno> {
        if port > 10 {
            return Err(Errno::INVAL);
        }
        let mut world = self.0.borrow_mut();
        world.last_port += 1;
        let port = world.last_port;
        world.bound.insert(port);
        Ok(port)
    }

    fn unbind(&mut self, port: u32) {
        assert!(self.0.borrow_mut().bound.remove(&port), "a port is closed twice");
    }

    fn notify(&mut self, port: u32) {
        assert!(self.0.borrow_mut().bound.contains(&port), "an event through a port that is closed");
    }
}

struct Open(Rc<Cell<usize>>);

impl Open {
    fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(count.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

struct Host {
    dice: Rng,
    open: Rc<Cell<usize>>,
}

impl Host {
    /// Moves some of the bytes, or none.
    fn moves(&mut self, length: usize) -> Result<Option<usize>, Errno> {
        match self.dice.u8(..12) {
            0 => Err(Errno::CONNRESET),
            1 | 2 => Ok(None),
            3 => Ok(Some(0)),
            4 => Ok(Some(length)),
            _ => Ok(Some(self.dice.usize(..=length))),
        }
    }
}

impl Sockets for Host {
    type Socket = Open;

    fn is_own(&mut self, address: Ipv4Addr) -> bool {
        address.octets()[3] == 1
    }

    fn connect(&mut self, _: Token, to: SocketAddrV4) -> Result<(Open, bool), Errno> {
        assert!(to.ip().octets()[3] != 1 && !to.ip().is_loopback(), "policy lets {to} through");
        match self.dice.u8(..6) {
            0 => Err(Errno::NETUNREACH),
            1 | 2 => Ok((Open::new(&self.open), false)),
            _ => Ok((Open::new(&self.open), true)),
        }
    }

    fn outcome(&mut self, _: &Open) -> Result<bool, Errno> {
        if self.dice.u8(..4) == 0 { Err(Errno::CONNREFUSED) } else { Ok(self.dice.bool()) }
    }

    fn bind(&mut self, at: SocketAddrV4) -> Result<Open, Errno> {
        assert_eq!(at.port(), 8080, "only what is published");
        if self.dice.u8(..4) == 0 { Err(Errno::ADDRINUSE) } else { Ok(Open::new(&self.open)) }
    }

    fn listen(&mut self, _: Token, _: &Open, backlog: u32) -> Result<(), Errno> {
        assert!(backlog <= limits().backlog);
        if self.dice.u8(..6) == 0 { Err(Errno::ADDRINUSE) } else { Ok(()) }
    }

    fn has_waiting(&mut self, _: &Open) -> bool {
        self.dice.bool()
    }

    fn accept(&mut self, _: &Open, _: Token) -> Result<Option<(Open, SocketAddrV4)>, Errno> {
        match self.dice.u8(..6) {
            0 => Err(Errno::MFILE),
            1 | 2 => Ok(None),
            _ => Ok(Some((Open::new(&self.open), SocketAddrV4::new([9, 9, 9, 9].into(), 9)))),
        }
    }

    fn send(&mut self, _: &Open, bytes: &[u8]) -> Result<Option<usize>, Errno> {
        // A host's socket takes something, or says that it has no room.
        self.moves(bytes.len()).map(|count| count.filter(|count| *count > 0))
    }

    fn receive(&mut self, _: &Open, bytes: &mut [u8]) -> Result<Option<usize>, Errno> {
        self.moves(bytes.len())
    }
}

fn address(dice: &mut Rng) -> [u8; 28] {
    let mut bytes = [0; 28];
    bytes[0] = if dice.u8(..20) == 0 { dice.u8(..) } else { 2 };
    bytes[3] = [80, 80, 81, 0][dice.usize(..4)];
    let hosts: [[u8; 4]; 5] = [[127, 0, 0, 1], [10, 0, 0, 1], [10, 0, 0, 2], [0; 4], [0; 4]];
    bytes[4..8].copy_from_slice(&hosts[dice.usize(..hosts.len())]);
    if dice.bool() {
        bytes[7] = 2;
    }
    bytes
}

fn request(dice: &mut Rng) -> PvcallsRequest {
    let cmd = if dice.u8(..40) == 0 { dice.u32(..) } else { dice.u32(..7) };
    let mut request = PvcallsRequest { req_id: dice.u32(..), cmd, ..PvcallsRequest::default() };
    let (id, len) = (dice.u64(..NAMES), if dice.u8(..30) == 0 { dice.u32(..) } else { 16 });
    let (gref, evtchn) = (GrantRef(dice.u32(INDEXES..DATA + 1)), dice.u32(..12));
    let addr = address(dice);
    match cmd {
        1 => request.set_connect(PvcallsConnect { id, addr, len, gref, evtchn, ..PvcallsConnect::default() }),
        3 => request.set_bind(PvcallsBind { id, addr, len }),
        5 => request.set_accept(PvcallsAccept { id, id_new: dice.u64(..NAMES), gref, evtchn }),
        _ => {
            // Name, family, type, protocol; what other commands make of them is as good as anything.
            let words: [u64; 3] = [id, 2 | 1 << 32, 0];
            request.u.as_mut_bytes()[..24].copy_from_slice(words.as_bytes());
        }
    }
    if dice.u8(..60) == 0 {
        let at = dice.usize(..56);
        request.u.as_mut_bytes()[at] = dice.u8(..);
    }
    request
}

/// Runs one input and returns how many requests were put.
pub fn run(dice: &mut Rng) -> u64 {
    let mut pages = vec![vec![0; PAGE]; PAGES as usize];
    for page in &mut pages[INDEXES as usize..DATA as usize] {
        let order = dice.u32(..3);
        page[128..132].copy_from_slice(&order.to_le_bytes());
        for reference in 0..4 {
            let grant = if dice.u8(..40) == 0 { dice.u32(..) } else { dice.u32(DATA..PAGES) };
            page[132 + reference * 4..136 + reference * 4].copy_from_slice(&grant.to_le_bytes());
        }
    }
    let world =
        Rc::new(RefCell::new(World { dice: dice.fork(), pages, mapped: 0, bound: HashSet::new(), last_port: 0 }));
    let open = Rc::new(Cell::new(0));
    let mut reach = Reach(world.clone());
    let (Ok(ring), Ok(port)) = (reach.map(&[0]), reach.bind(1)) else { panic!("the model gives them") };
    let Ok(policy) = Policy::new(vec![], vec!["8080:80".parse().unwrap_or_else(|error| panic!("{error}"))]) else {
        panic!("the policy is right")
    };
    let mut device = Device::new(reach, Host { dice: dice.fork(), open: open.clone() }, ring, port, policy, limits());
    let (mut put, mut now) = (0_u32, Duration::ZERO);
    let limits = limits();
    for _ in 0..TURNS {
        put_requests(dice, &world, &mut put);
        now += Duration::from_millis(dice.u64(..1000));
        let turned = device.turn(now);
        for record in device.take_records() {
            assert!(record.result <= 0 && record.line("x", 1, now).starts_with('{'));
        }
        let usage = device.usage();
        assert!(usage.sockets <= limits.sockets && usage.connections <= limits.connections, "{usage:?}");
        assert!(usage.pages <= limits.pages && usage.bytes <= limits.bytes, "{usage:?}");
        assert_eq!(world.borrow().mapped, 1 + usage.pages, "pages that are mapped");
        assert_eq!(world.borrow().bound.len(), 1 + usage.connections, "ports that are bound");
        assert!(open.get() <= usage.sockets, "{} sockets are open of {}", open.get(), usage.sockets);
        if turned.is_err() {
            break;
        }
        let last = u64::from(put) + 1;
        for _ in 0..dice.u8(..6) {
            let readiness = Readiness { readable: dice.bool(), writable: dice.bool() };
            device.on_socket(dice.u64(..=last.min(60)), readiness);
            let port = dice.u32(..=world.borrow().last_port);
            device.on_event(port);
        }
    }
    drop(device.close());
    assert_eq!((world.borrow().mapped, world.borrow().bound.len(), open.get()), (0, 0, 0), "something is left");
    u64::from(put)
}

/// Puts requests into the ring, as far as there are answers; seldom more.
fn put_requests(dice: &mut Rng, world: &Shares, put: &mut u32) {
    let page = &mut world.borrow_mut().pages[0];
    let answered = u32::from_le_bytes([page[8], page[9], page[10], page[11]]);
    for _ in 0..dice.u32(..REQUESTS) {
        if put.wrapping_sub(answered) >= 32 {
            break;
        }
        let at = 64 + (*put as usize % 32) * 64;
        page[at..at + 64].copy_from_slice(request(dice).as_bytes());
        *put += 1;
    }
    let told = if dice.u16(..3000) == 0 { put.wrapping_add(dice.u32(..80)) } else { *put };
    page[0..4].copy_from_slice(&told.to_le_bytes());
}
