//! A domain at its ring.

use std::collections::VecDeque;
use std::sync::Arc;

use fastrand::Rng;
use mapped_memory::Mapping;
use xenstore_wire::{Assembler, Kind, Message};

use super::Outgoing;
use super::machine::{World, at, change};
use crate::store;

const SIZE: u32 = 1024;

/// The front end of a ring.
pub struct RingPeer {
    page: Arc<Mapping>,
    domain: u16,
    /// Frames its messages well and tells no lies, so that every answer is known to be due.
    is_honest: bool,
    out: Outgoing,
    written: u32,
    read: u32,
    assembler: Assembler,
    asked: VecDeque<u32>,
    events: Vec<Vec<u8>>,
    answers: Vec<Message>,
    next: u32,
}

impl RingPeer {
    pub fn new(world: &World, domain: u16, is_honest: bool) -> Self {
        Self {
            page: world.page(domain),
            domain,
            is_honest,
            out: Outgoing::default(),
            written: 0,
            read: 0,
            assembler: Assembler::new(),
            asked: VecDeque::new(),
            events: Vec::new(),
            answers: Vec::new(),
            next: 0,
        }
    }

    /// Does something, and returns how many messages went out.
    pub fn act(&mut self, dice: &mut Rng, world: &World) -> u64 {
        if !self.is_honest {
            self.misbehave(dice);
        }
        if dice.u8(..8) != 0 {
            // As much as goes in, and a little more than that now and then.
            while self.out.bytes.len() < SIZE as usize {
                let message = store::message(dice, self.next, "");
                self.next = self.next.wrapping_add(1);
                if !self.is_honest && dice.u8(..60) == 0 {
                    self.out.add_nonsense(dice, &message.to_bytes());
                } else {
                    self.asked.push_back(message.request);
                    self.out.add(&message.to_bytes());
                }
                if dice.u8(..10) == 0 {
                    break;
                }
            }
        }
        let sent = self.push();
        // Whoever does not read has no right to be answered.
        if dice.u8(..3) != 0 {
            self.take_all();
        }
        world.raise(self.domain);
        sent
    }

    fn misbehave(&mut self, dice: &mut Rng) {
        self.written = self.page.load_u32(at::REQ_PROD);
        self.read = self.page.load_u32(at::RSP_CONS);
        let is_broken = self.page.load_u32(at::ERROR) != 0;
        if dice.u8(..if is_broken { 3 } else { 200 }) == 0 {
            self.page.store_u32(at::CONNECTION, 1);
            self.out = Outgoing::default();
        }
        if dice.u8(..100) == 0 {
            change(dice, &self.page);
        }
    }

    /// Writes what there is room for.
    fn push(&mut self) -> u64 {
        let used = self.written.wrapping_sub(self.page.load_u32(at::REQ_CONS));
        let room = SIZE.saturating_sub(used) as usize;
        let count = room.min(self.out.bytes.len());
        for (place, byte) in self.out.bytes[..count].chunks(1).enumerate() {
            let index = self.written.wrapping_add(place as u32) % SIZE;
            self.page.write(at::REQUESTS + index as usize, byte);
        }
        self.written = self.written.wrapping_add(count as u32);
        self.page.store_u32(at::REQ_PROD, self.written);
        self.out.sent(count)
    }

    /// Reads all that is there.
    fn take_all(&mut self) {
        let there = self.page.load_u32(at::RSP_PROD).wrapping_sub(self.read);
        if !self.is_honest {
            self.page.store_u32(at::RSP_CONS, self.page.load_u32(at::RSP_PROD));
            return;
        }
        assert!(there <= SIZE, "the daemon claims {there} bytes in a ring of {SIZE}");
        assert_eq!(self.page.load_u32(at::ERROR), 0, "a ring was given up though its owner kept to the rules");
        let mut bytes = vec![0; there as usize];
        let start = (self.read % SIZE) as usize;
        let first = (SIZE as usize - start).min(bytes.len());
        self.page.read(at::RESPONSES + start, &mut bytes[..first]);
        self.page.read(at::RESPONSES, &mut bytes[first..]);
        self.read = self.read.wrapping_add(there);
        self.page.store_u32(at::RSP_CONS, self.read);
        let mut left = &bytes[..];
        while !left.is_empty() {
            let count = self.assembler.push(left).expect("the daemon frames its messages well");
            left = &left[count..];
            if let Some(message) = self.assembler.take() {
                self.arrived(message);
            }
        }
    }

    fn arrived(&mut self, message: Message) {
        if message.kind == Kind::WatchEvent.number() {
            if self.domain == 2 {
                self.events.push(message.body);
            }
            return;
        }
        assert_eq!(self.asked.pop_front(), Some(message.request), "answers come in the order of their requests");
        if self.domain == 2 {
            self.answers.push(message);
        }
    }

    /// Reads, and sends what is left, so that all is answered.
    pub fn drain(&mut self, world: &World) {
        self.push();
        self.take_all();
        world.raise(self.domain);
    }

    /// Returns whether nothing is unanswered.
    pub fn is_answered(&self) -> bool {
        self.asked.is_empty()
    }

    /// Forgets all: the domain is another one.
    pub fn begin_anew(&mut self) {
        (self.written, self.read) = (self.page.load_u32(at::REQ_CONS), self.page.load_u32(at::RSP_PROD));
        self.page.store_u32(at::REQ_PROD, self.written);
        self.page.store_u32(at::RSP_CONS, self.read);
        (self.out, self.assembler) = (Outgoing::default(), Assembler::new());
        self.asked.clear();
    }

    /// Sends one request, whose answer [`RingPeer::answer`] takes.
    pub fn ask(&mut self, world: &World, kind: Kind, body: &[u8]) {
        let message = Message::new(kind, self.next, 0, body.to_vec());
        self.next = self.next.wrapping_add(1);
        self.asked.push_back(message.request);
        self.out.add(&message.to_bytes());
        self.push();
        world.raise(self.domain);
    }

    /// Returns the answer, if it is there.
    pub fn answer(&mut self) -> Option<Message> {
        self.take_all();
        self.answers.pop()
    }

    /// Takes the events that have come.
    pub fn events(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.events)
    }
}
