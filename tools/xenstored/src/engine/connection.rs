//! A connection: its domain, watches, open transactions and queued events.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use xenstore_wire::{Kind, Message};

use super::transaction::Transaction;

/// The most events queued for a socket before they are coalesced. A domain has its quota `outstanding`.
const SOCKET_EVENTS: u64 = 65_536;
/// Number of events that a domain may always have queued: some guests read them late.
const DOMAIN_EVENTS: u64 = 512;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    /// Domain at the other end; 0 for sockets.
    pub domain: u16,
    /// Watches as they were requested: path, token.
    pub watches: BTreeSet<(Vec<u8>, Vec<u8>)>,
    pub transactions: BTreeMap<u32, Transaction>,
    next_transaction: u32,
    events: VecDeque<Message>,
    /// Bodies of the queued events: an event that is queued already is not queued again.
    waiting: HashSet<Vec<u8>>,
    /// Events were dropped: all watches fire once the queue is empty.
    overrun: bool,
}

impl Connection {
    /// Makes a connection without watches and transactions.
    #[must_use]
    pub fn new(domain: u16) -> Self {
        Self {
            domain,
            watches: BTreeSet::new(),
            transactions: BTreeMap::new(),
            next_transaction: 0,
            events: VecDeque::new(),
            waiting: HashSet::new(),
            overrun: false,
        }
    }

    /// Allocates a transaction ID that is neither 0 nor in use.
    pub fn next_transaction(&mut self) -> u32 {
        loop {
            self.next_transaction = self.next_transaction.wrapping_add(1);
            if self.next_transaction != 0 && !self.transactions.contains_key(&self.next_transaction) {
                return self.next_transaction;
            }
        }
    }

    /// Continues the numbering after a transaction of an earlier instance.
    pub fn number_after(&mut self, transaction: u32) {
        self.next_transaction = transaction;
    }

    /// Returns the number of queued events.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.events.len()
    }

    /// Queues an event. If too many are queued, it is dropped, and every watch fires once after the queue was read: no
    /// change goes unnoticed, and a slow reader takes no more memory.
    pub fn queue_event(&mut self, path: &[u8], token: &[u8], outstanding: u64) {
        let most = if self.domain == 0 { SOCKET_EVENTS } else { outstanding.max(DOMAIN_EVENTS) };
        if self.overrun || self.events.len() as u64 >= most {
            self.overrun = true;
            return;
        }
        self.add(path, token);
    }

    fn add(&mut self, path: &[u8], token: &[u8]) {
        let event = Message::event(path, token);
        if self.waiting.insert(event.body.clone()) {
            self.events.push_back(event);
        }
    }

    /// Queues an event for every watch, so that the client reads everything again.
    pub fn queue_every_watch(&mut self) {
        self.overrun = false;
        for (path, token) in self.watches.clone() {
            self.add(&path, &token);
        }
    }

    /// Returns whether an event is queued.
    #[must_use]
    pub fn has_events(&self) -> bool {
        !self.events.is_empty() || self.overrun
    }

    /// Takes the next queued event.
    pub fn take_event(&mut self) -> Option<Message> {
        if self.events.is_empty() && self.overrun {
            self.queue_every_watch();
        }
        let event = self.events.pop_front()?;
        self.waiting.remove(&event.body);
        Some(event)
    }

    /// Removes queued events of a removed watch.
    pub fn forget_events(&mut self, token: &[u8], path: &[u8]) {
        let ending = [&[0], token, &[0]].concat();
        let is_its = |event: &Message| {
            debug_assert_eq!(event.kind, Kind::WatchEvent.number());
            let about = event.body.strip_suffix(&ending[..]);
            about.is_some_and(|about| about.starts_with(path) && matches!(about.get(path.len()), None | Some(b'/')))
        };
        self.events.retain(|event| !is_its(event));
        self.waiting = self.events.iter().map(|event| event.body.clone()).collect();
    }

    /// Removes watches, transactions and events.
    pub fn reset(&mut self) {
        self.watches.clear();
        self.transactions.clear();
        self.events.clear();
        self.waiting.clear();
        self.overrun = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_watch_fires_once_after_a_reader_stood_still() {
        let mut connection = Connection::new(5);
        connection.watches.insert((b"/a".to_vec(), b"t".to_vec()));
        for round in 0..100_000_u32 {
            connection.queue_event(format!("/a/{round}").as_bytes(), b"t", 20);
        }
        assert!(connection.waiting() <= 512);
        let mut last = None;
        while let Some(event) = connection.take_event() {
            last = Some(event.body);
        }
        assert_eq!(last.unwrap(), b"/a\0t\0");
        connection.queue_event(b"/a/x", b"t", 20);
        assert_eq!(connection.take_event().unwrap().body, b"/a/x\0t\0");
    }

    #[test]
    fn events_of_a_watch_that_was_removed_are_forgotten_and_no_others() {
        let mut connection = Connection::new(0);
        for path in ["/a", "/a/b", "/ab", "/c"] {
            connection.queue_event(path.as_bytes(), b"t", 0);
        }
        connection.queue_event(b"/a", b"other", 0);
        connection.forget_events(b"t", b"/a");
        let mut left = vec![];
        while let Some(event) = connection.take_event() {
            left.push(String::from_utf8(event.body).unwrap());
        }
        assert_eq!(left, ["/ab\0t\0", "/c\0t\0", "/a\0other\0"]);
    }

    #[test]
    fn numbers_of_transactions_pass_over_0_and_open_ones() {
        let mut connection = Connection::new(0);
        connection.number_after(u32::MAX);
        assert_eq!(connection.next_transaction(), 1);
    }
}
