//! A program at a socket.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

use fastrand::Rng;
use xenstore_wire::{Assembler, Kind, Message};
use xenstored::serve::Inside;

use super::Outgoing;
use crate::store;

/// Where programs that may do anything write.
const BASE: &str = "/sockets";

/// A program.
pub struct SocketPeer {
    socket: Option<UnixStream>,
    is_honest: bool,
    out: Outgoing,
    assembler: Assembler,
    asked: VecDeque<u32>,
    answers: Vec<Message>,
    next: u32,
}

impl SocketPeer {
    pub fn new(is_honest: bool) -> Self {
        Self {
            socket: None,
            is_honest,
            out: Outgoing::default(),
            assembler: Assembler::new(),
            asked: VecDeque::new(),
            answers: Vec::new(),
            next: 0,
        }
    }

    /// Does something, and returns how many messages went out.
    pub fn act(&mut self, dice: &mut Rng, inside: &mut Inside) -> u64 {
        if self.socket.is_none() || (!self.is_honest && dice.u8(..100) == 0) {
            self.connect(inside);
        }
        for _ in 0..dice.u8(..24) {
            // Programs may do anything to the store; these keep to a place of their own.
            let message = store::message(dice, self.next, BASE);
            if !message.body.starts_with(b"/sockets/") || !is_harmless(&message) {
                continue;
            }
            self.next = self.next.wrapping_add(1);
            if !self.is_honest && dice.u8(..40) == 0 {
                self.out.add_nonsense(dice, &message.to_bytes());
            } else {
                self.asked.push_back(message.request);
                self.out.add(&message.to_bytes());
            }
            if self.out.bytes.len() > 10_000 {
                break;
            }
        }
        let sent = self.push();
        if dice.u8(..3) != 0 {
            self.take_all();
        }
        sent
    }

    fn connect(&mut self, inside: &mut Inside) {
        self.socket = Some(inside.connect().expect("a pair of sockets"));
        (self.out, self.assembler) = (Outgoing::default(), Assembler::new());
        self.asked.clear();
    }

    fn push(&mut self) -> u64 {
        let Some(socket) = &mut self.socket else { return 0 };
        match socket.write(&self.out.bytes) {
            Ok(count) => self.out.sent(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => {
                assert!(!self.is_honest, "a socket was closed though its owner kept to the rules: {error}");
                self.socket = None;
                0
            }
        }
    }

    fn take_all(&mut self) {
        let mut bytes = [0; 4096];
        while let Some(socket) = &mut self.socket {
            match socket.read(&mut bytes) {
                Ok(0) => self.socket = None,
                Ok(count) => self.arrived(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.socket = None,
            }
        }
        assert!(!self.is_honest, "a socket was closed though its owner kept to the rules");
    }

    fn arrived(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let count = self.assembler.push(bytes).expect("the daemon frames its messages well");
            bytes = &bytes[count..];
            let Some(message) = self.assembler.take() else { continue };
            if !self.is_honest || message.kind == Kind::WatchEvent.number() {
                continue;
            }
            assert_eq!(self.asked.pop_front(), Some(message.request), "answers come in the order of their requests");
            self.answers.push(message);
        }
        // The last one is what somebody may want.
        let old = self.answers.len().saturating_sub(1);
        self.answers.drain(..old);
    }

    /// Reads, and sends what is left, so that all is answered.
    pub fn drain(&mut self) {
        if self.socket.is_some() {
            self.push();
            self.take_all();
        }
    }

    /// Returns whether nothing is unanswered.
    pub fn is_answered(&self) -> bool {
        self.asked.is_empty()
    }

    /// Sends one request, whose answer [`SocketPeer::answer`] takes.
    pub fn ask(&mut self, inside: &mut Inside, kind: Kind, body: &[u8]) {
        if self.socket.is_none() {
            self.connect(inside);
        }
        let message = Message::new(kind, self.next, 0, body.to_vec());
        self.next = self.next.wrapping_add(1);
        self.asked.push_back(message.request);
        self.out.add(&message.to_bytes());
        self.push();
    }

    /// Returns the answer, if it is there.
    pub fn answer(&mut self) -> Option<Message> {
        self.take_all();
        if self.asked.is_empty() { self.answers.pop() } else { None }
    }
}

/// Returns whether a request does nothing to domains or to the daemon's files.
fn is_harmless(message: &Message) -> bool {
    !matches!(
        Kind::from_number(message.kind),
        Some(Kind::Introduce | Kind::Release | Kind::Resume | Kind::SetTarget | Kind::Control)
    )
}
