//! The engine: a guest's commands and events, and its sockets' events, go in; calls to the two traits come out.
//!
//! It never waits. What cannot be answered at once is kept: the ring has room for 32 requests without an answer, which bounds
//! what is kept. Every request has one answer.

mod commands;
mod connection;
mod listening;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use connection::{Connection, Draining, Line};
use listening::Listener;
use rings::{BackRing, Broken, SocketId, answer};
use rustix::io::Errno;
use std::net::SocketAddrV4;
use xen_abi::io::pvcalls::{PvcallsRequest, PvcallsResponse};

use crate::{Counters, Guest, Limits, Policy, Readiness, Record, Sockets, Token, Usage};
pub use connection::number;

/// Sockets that have their turn before the caller looks at events again.
const AT_ONCE: usize = 64;
/// Requests of one turn: as many as the ring holds.
const REQUESTS: usize = 32;
/// Bytes that are moved by one call at most.
const SCRATCH: usize = 64 << 10;

/// What a socket is.
enum State<G: Guest, S: Sockets> {
    /// Just made.
    Fresh,
    /// It has an address: one of the host's, or none where it is to be any.
    Bound(Option<(S::Socket, SocketAddrV4)>),
    Listening(Listener<G, S>),
    Connecting {
        socket: S::Socket,
        to: SocketAddrV4,
        request: PvcallsRequest,
        line: Line<G::Memory>,
    },
    Connected(Connection<S, G::Memory>),
    /// Named by an accept of that socket, which waits.
    Promised(Token),
    /// Closed by the guest.
    Draining(Draining<S>),
}

struct Held<G: Guest, S: Sockets> {
    id: SocketId,
    /// It stands in the queue for a turn.
    queued: bool,
    state: State<G, S>,
}

/// The back end of one guest's device.
pub struct Device<G: Guest, S: Sockets> {
    guest: G,
    sockets: S,
    policy: Policy,
    limits: Limits,
    commands: BackRing<G::Memory, PvcallsRequest, PvcallsResponse>,
    port: u32,
    ids: HashMap<SocketId, Token>,
    held: HashMap<Token, Held<G, S>>,
    /// Sockets by the local ports of their event channels.
    ports: HashMap<u32, Token>,
    last: Token,
    queue: VecDeque<Token>,
    /// Closed sockets in the order in which their time ends.
    draining: VecDeque<(Duration, Token)>,
    now: Duration,
    usage: Usage,
    counters: Counters,
    records: Vec<Record>,
    scratch: Vec<u8>,
}

impl<G: Guest, S: Sockets> Device<G, S> {
    /// Begins to serve a ring of commands, whose local port is `port`.
    #[must_use]
    pub fn new(guest: G, sockets: S, ring: G::Memory, port: u32, policy: Policy, limits: Limits) -> Self {
        Self {
            guest,
            sockets,
            policy,
            limits,
            commands: BackRing::attach(ring),
            port,
            ids: HashMap::new(),
            held: HashMap::new(),
            ports: HashMap::new(),
            last: 0,
            queue: VecDeque::new(),
            draining: VecDeque::new(),
            now: Duration::ZERO,
            usage: Usage::default(),
            counters: Counters::default(),
            records: Vec::new(),
            scratch: vec![0; SCRATCH],
        }
    }

    /// Takes note of an event at a local port. The command ring is looked at in each turn.
    pub fn on_event(&mut self, port: u32) {
        if let Some(token) = self.ports.get(&port) {
            self.enqueue(*token);
        }
    }

    /// Takes note of an event of a socket. One that is closed is ignored.
    pub fn on_socket(&mut self, token: Token, readiness: Readiness) {
        let Some(held) = self.held.get_mut(&token) else { return };
        match &mut held.state {
            State::Connected(connection) => connection.wake(readiness),
            State::Listening(listener) => listener.readable |= readiness.readable,
            _ => {}
        }
        self.enqueue(token);
    }

    /// Carries out what waits, up to a bound, and returns whether there is more to do at once. `now` never goes back.
    ///
    /// **Errors:** [`Broken`], now and from now on: the device must be closed.
    pub fn turn(&mut self, now: Duration) -> Result<bool, Broken> {
        self.now = now;
        for _ in 0..REQUESTS {
            let Some(request) = self.commands.take()? else { break };
            self.command(&request);
        }
        for _ in 0..AT_ONCE.min(self.queue.len()) {
            let Some(token) = self.queue.pop_front() else { break };
            self.serve(token);
        }
        while let Some(&(until, token)) = self.draining.front().filter(|(until, _)| *until <= now) {
            self.draining.pop_front();
            let is_it = self
                .held
                .get(&token)
                .is_some_and(|held| matches!(&held.state, State::Draining(draining) if draining.until == until));
            if is_it {
                self.drained(token);
            }
        }
        if self.commands.publish() {
            self.guest.notify(self.port);
        }
        Ok(self.commands.rest()? || !self.queue.is_empty())
    }

    /// Returns when the next turn is due, though nothing happens.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.draining.front().map(|(until, _)| *until)
    }

    /// Returns what was done since the last time.
    pub fn take_records(&mut self) -> Vec<Record> {
        std::mem::take(&mut self.records)
    }

    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    #[must_use]
    pub const fn sockets(&self) -> &S {
        &self.sockets
    }

    #[must_use]
    pub const fn sockets_mut(&mut self) -> &mut S {
        &mut self.sockets
    }

    /// Ends all connections at once, as the guest is gone, and records them.
    pub fn close(mut self) -> (Vec<Record>, Counters) {
        let tokens: Vec<Token> = self.held.keys().copied().collect();
        for token in tokens {
            let Some(held) = self.held.remove(&token) else { continue };
            if let State::Connected(connection) = held.state {
                self.record_close(held.id, &connection);
            }
        }
        let ports: Vec<u32> = self.ports.keys().copied().collect();
        ports.into_iter().for_each(|port| self.guest.unbind(port));
        self.guest.unbind(self.port);
        (self.records, self.counters)
    }

    fn enqueue(&mut self, token: Token) {
        if let Some(held) = self.held.get_mut(&token).filter(|held| !held.queued) {
            held.queued = true;
            self.queue.push_back(token);
        }
    }

    /// Gives a socket its turn.
    fn serve(&mut self, token: Token) {
        let Some(held) = self.held.get_mut(&token) else { return };
        held.queued = false;
        match &mut held.state {
            State::Connected(connection) => {
                let moved = connection.turn(&mut self.guest, &mut self.sockets, &mut self.scratch);
                self.counters.received = self.counters.received.saturating_add(moved.received);
                self.counters.sent = self.counters.sent.saturating_add(moved.sent);
                if moved.broke {
                    self.counters.broken_rings = self.counters.broken_rings.saturating_add(1);
                }
                if moved.more {
                    self.enqueue(token);
                }
            }
            State::Connecting { socket, .. } => match self.sockets.outcome(socket) {
                Ok(false) => {}
                outcome => self.connect_ended(token, outcome.err()),
            },
            State::Listening(_) => self.accept_waiting(token),
            State::Draining(draining) => {
                if draining.turn(&mut self.sockets) {
                    self.drained(token);
                }
            }
            State::Fresh | State::Bound(_) | State::Promised(_) => {}
        }
    }

    /// Forgets a closed socket. Bytes that it has not sent are given up.
    fn drained(&mut self, token: Token) {
        let Some(held) = self.held.remove(&token) else { return };
        self.usage.sockets = self.usage.sockets.saturating_sub(1);
        if let State::Draining(draining) = held.state {
            self.usage.bytes = self.usage.bytes.saturating_sub(draining.left.len());
            let lost = draining.left.len().saturating_sub(draining.sent);
            self.counters.lost = self.counters.lost.saturating_add(lost as u64);
        }
        // Times never go back, so the queue is in order; what is done already is left out of it.
        while self.draining.front().is_some_and(|(_, token)| !self.held.contains_key(token)) {
            self.draining.pop_front();
        }
    }

    fn answer(&mut self, request: &PvcallsRequest, result: i32) {
        // A request that was taken has room for its answer; a ring that is broken shows it at the next turn.
        let _ = self.commands.put(&answer(request, result));
    }

    fn record(&mut self, record: Record) {
        self.counters.count(&record);
        self.records.push(record);
    }

    fn record_close(&mut self, id: SocketId, connection: &Connection<S, G::Memory>) {
        let bytes = Some((connection.received, connection.sent));
        self.record(Record { call: "close", id, address: None, host: None, result: 0, refused: None, bytes });
    }

    fn find(&self, id: SocketId) -> Result<Token, Errno> {
        self.ids.get(&id).copied().ok_or(Errno::BADF)
    }

    fn forget_line(&mut self, line: &Line<G::Memory>) {
        self.ports.remove(&line.port);
        self.guest.unbind(line.port);
        self.usage.connections = self.usage.connections.saturating_sub(1);
        self.usage.pages = self.usage.pages.saturating_sub(line.pages);
    }
}
