//! A client on a ring, like a guest's kernel.

use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use mapped_memory::Mapping;
use xenstore_wire::{Assembler, Header, Kind, Message};

use crate::Client;
use crate::daemon::{PATIENCE, eventually};
use crate::socket_client::path;

pub struct RingClient {
    page: Mapping,
    events_socket: UnixDatagram,
    daemon: PathBuf,
    port: u32,
    assembler: Assembler,
    events: Vec<String>,
    requests: u32,
}

const REQ_CONS: usize = 2048;
const REQ_PROD: usize = 2052;
const RSP_CONS: usize = 2056;
const RSP_PROD: usize = 2060;

impl RingClient {
    pub fn new(directory: &Path, domain: u16) -> Self {
        let file = File::options().read(true).write(true).open(directory.join(format!("ring{domain}"))).unwrap();
        let events_socket = UnixDatagram::bind(directory.join(format!("dom{domain}"))).unwrap();
        events_socket.set_nonblocking(true).unwrap();
        Self {
            page: Mapping::of_file(&file, 0, 4096).unwrap(),
            events_socket,
            daemon: directory.join("events"),
            port: 100 + u32::from(domain),
            assembler: Assembler::new(),
            events: vec![],
            requests: 0,
        }
    }

    /// Sends an event. While no worker runs, it is lost, and the next worker looks at the ring by itself.
    fn notify(&self) {
        let _ = self.events_socket.send_to(&self.port.to_le_bytes(), &self.daemon);
    }

    fn send(&self, bytes: &[u8]) {
        let began = Instant::now();
        let mut left = bytes;
        while !left.is_empty() {
            let (cons, prod) = (self.page.load_u32(REQ_CONS), self.page.load_u32(REQ_PROD));
            let free = 1024 - prod.wrapping_sub(cons) as usize;
            let now = free.min(left.len()).min(1024 - prod as usize % 1024);
            self.page.write(prod as usize % 1024, &left[..now]);
            self.page.store_u32(REQ_PROD, prod.wrapping_add(now as u32));
            self.notify();
            left = &left[now..];
            assert!(began.elapsed() < PATIENCE, "nobody takes requests of the ring");
        }
    }

    fn receive(&mut self, patience: Duration) -> Option<Message> {
        let began = Instant::now();
        loop {
            if let Some(message) = self.assembler.take() {
                return Some(message);
            }
            let (cons, prod) = (self.page.load_u32(RSP_CONS), self.page.load_u32(RSP_PROD));
            let wanted = self.assembler.wanted().unwrap();
            let now = wanted.min(prod.wrapping_sub(cons) as usize).min(1024 - cons as usize % 1024);
            if now == 0 {
                if began.elapsed() > patience {
                    return None;
                }
                thread::sleep(Duration::from_micros(200));
                continue;
            }
            let mut bytes = vec![0; now];
            self.page.read(1024 + cons as usize % 1024, &mut bytes);
            self.page.store_u32(RSP_CONS, cons.wrapping_add(now as u32));
            self.notify();
            assert_eq!(self.assembler.push(&bytes), Ok(now));
        }
    }

    pub fn await_event(&mut self, wanted: &str) {
        while !self.events.iter().any(|event| event == wanted) {
            let event = self.receive(PATIENCE).unwrap_or_else(|| panic!("no event of {wanted}"));
            self.events.push(path(&event));
        }
    }

    /// Waits for an event from the daemon.
    pub fn await_notification(&self) {
        eventually("an event", || self.events_socket.recv(&mut [0]).ok());
    }

    /// Claims to have written more than the ring holds.
    pub fn claim_too_much(&self) {
        self.page.store_u32(REQ_PROD, self.page.load_u32(REQ_CONS).wrapping_add(5000));
        self.notify();
    }

    /// Sends the header of a message of `length` bytes.
    pub fn send_header_of(&self, length: u32) {
        self.send(&Header { kind: Kind::Read.number(), length, ..Header::default() }.to_bytes());
    }

    pub fn await_error(&self, error: u32) {
        eventually("the error", || (self.page.load_u32(2072) == error).then_some(()));
    }

    /// Asks for a reconnection, and waits for it.
    pub fn connect_anew(&mut self) {
        self.page.store_u32(2068, 1);
        self.notify();
        eventually("a new connection", || (self.page.load_u32(2068) == 0).then_some(()));
        self.assembler = Assembler::new();
        self.events.clear();
    }
}

impl Client for RingClient {
    fn ask(&mut self, kind: Kind, transaction: u32, body: String) -> String {
        self.requests += 1;
        let message = Message::new(kind, self.requests, transaction, body.into_bytes());
        self.send(&message.to_bytes());
        loop {
            let answer = self.receive(PATIENCE).unwrap_or_else(|| panic!("no answer to {message:?}"));
            if answer.kind == Kind::WatchEvent.number() {
                self.events.push(path(&answer));
                continue;
            }
            assert_eq!((answer.request, answer.transaction), (message.request, transaction), "{answer:?}");
            return String::from_utf8(answer.body).unwrap();
        }
    }

    fn events(&mut self) -> Vec<String> {
        while let Some(event) = self.receive(Duration::from_millis(50)) {
            self.events.push(path(&event));
        }
        std::mem::take(&mut self.events)
    }
}
