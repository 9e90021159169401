//! Commands, one function each.

use std::net::SocketAddrV4;
use std::rc::Rc;

use rings::{Announced, Command, DataRings, PairedRings, SocketId};
use rustix::io::Errno;
use xen_abi::io::pvcalls::PvcallsRequest;

use super::connection::{Connection, Draining, Finished, Line, number};
use super::listening::{Accept, Listener};
use super::{Device, Held, State};
use crate::{Guest, Record, Sockets, Token};

/// Why a call fails, and who says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    error: Errno,
    by: Option<&'static str>,
}

impl From<Errno> for Refusal {
    fn from(error: Errno) -> Self {
        Self { error, by: None }
    }
}

const fn by_policy(error: Errno) -> Refusal {
    Refusal { error, by: Some("policy") }
}

pub(super) const fn by_budget(error: Errno) -> Refusal {
    Refusal { error, by: Some("budget") }
}

/// Whether a call is done, or is answered later.
type Outcome = Result<Done, Refusal>;

enum Done {
    Now,
    Later,
}

impl<G: Guest, S: Sockets> Device<G, S> {
    /// Carries out a request, of which this is a copy, and answers it now or keeps it.
    pub(super) fn command(&mut self, request: &PvcallsRequest) {
        let command = match Command::check(request) {
            Ok(command) => command,
            Err(error) => {
                let call = NAMES.get(request.cmd as usize).copied().unwrap_or("unknown");
                return self.end(request, call, request.poll().id, (None, None), error.number(), None);
            }
        };
        let mut host = None;
        let (call, id, address, outcome) = match command {
            Command::Socket { id } => ("socket", id, None, self.socket(id)),
            Command::Connect { id, to, rings } => ("connect", id, Some(to), self.connect(request, id, to, rings)),
            Command::Release { id, .. } => ("release", id, None, self.release(id)),
            Command::Bind { id, at } => ("bind", id, Some(at), self.bind(id, at, &mut host)),
            Command::Listen { id, backlog } => ("listen", id, None, self.listen(id, backlog, &mut host)),
            Command::Accept { id, new, rings } => ("accept", new, None, self.accept(request, id, new, rings)),
            Command::Poll { id } => ("poll", id, None, self.poll(request, id)),
        };
        match outcome {
            Ok(Done::Later) => {}
            Ok(Done::Now) => self.end(request, call, id, (address, host), 0, None),
            Err(refusal) => self.end(request, call, id, (address, host), number(refusal.error), refusal.by),
        }
    }

    /// Answers a request and records the call.
    pub(super) fn end(
        &mut self,
        request: &PvcallsRequest,
        call: &'static str,
        id: SocketId,
        (address, host): (Option<SocketAddrV4>, Option<SocketAddrV4>),
        result: i32,
        refused: Option<&'static str>,
    ) {
        self.answer(request, result);
        self.record(Record { call, id, address, host, result, refused, bytes: None });
    }

    /// Makes room for one more socket, and returns its name.
    fn hold(&mut self, id: SocketId, state: State<G, S>) -> Result<Token, Refusal> {
        if self.ids.contains_key(&id) {
            return Err(Errno::EXIST.into());
        }
        if self.usage.sockets >= self.limits.sockets {
            return Err(by_budget(Errno::MFILE));
        }
        self.usage.sockets = self.usage.sockets.saturating_add(1);
        self.last = self.last.wrapping_add(1);
        self.ids.insert(id, self.last);
        self.held.insert(self.last, Held { id, queued: false, state });
        Ok(self.last)
    }

    fn state(&mut self, id: SocketId) -> Result<(Token, &mut State<G, S>), Errno> {
        let token = self.find(id)?;
        self.held.get_mut(&token).map(|held| (token, &mut held.state)).ok_or(Errno::BADF)
    }

    fn socket(&mut self, id: SocketId) -> Outcome {
        self.hold(id, State::Fresh)?;
        Ok(Done::Now)
    }

    /// Maps the rings of a connection and binds its event channel, for a socket that is there.
    fn line(&mut self, token: Token, rings: DataRings) -> Result<Line<G::Memory>, Refusal> {
        if self.usage.connections >= self.limits.connections {
            return Err(by_budget(Errno::NOBUFS));
        }
        let indexes = Rc::new(self.guest.map(&[rings.grant])?);
        let announced = Announced::read(&indexes, self.limits.order).map_err(|_| Errno::INVAL)?;
        let pages = announced.order.pages().saturating_add(1);
        let all = self.usage.pages.saturating_add(pages);
        if all > self.limits.pages {
            return Err(by_budget(Errno::NOBUFS));
        }
        let data = Rc::new(self.guest.map(&announced.references)?);
        let mapped = PairedRings::new(indexes, data, announced.order).map_err(|_| Errno::INVAL)?;
        let port = self.guest.bind(rings.port)?;
        self.usage.connections = self.usage.connections.saturating_add(1);
        self.usage.pages = all;
        self.ports.insert(port, token);
        Ok(Line::new(mapped, port, pages))
    }

    fn connect(&mut self, request: &PvcallsRequest, id: SocketId, to: SocketAddrV4, rings: DataRings) -> Outcome {
        let (token, state) = self.state(id)?;
        match state {
            State::Fresh | State::Bound(None) => {}
            State::Connected(_) => return Err(Errno::ISCONN.into()),
            State::Connecting { .. } => return Err(Errno::ALREADY.into()),
            _ => return Err(Errno::INVAL.into()),
        }
        let sockets = &mut self.sockets;
        self.policy.connect(to, |address| sockets.is_own(address)).map_err(by_policy)?;
        let line = self.line(token, rings)?;
        match self.sockets.connect(token, to) {
            Ok((socket, connected)) => {
                let state = if connected {
                    State::Connected(Connection::new(socket, line))
                } else {
                    State::Connecting { socket, to, request: *request, line }
                };
                self.set_state(token, state);
                self.enqueue(token);
                Ok(if connected { Done::Now } else { Done::Later })
            }
            Err(error) => {
                self.forget_line(&line);
                Err(error.into())
            }
        }
    }

    /// Ends a connect that was under way. A socket whose connect failed is as it was made.
    pub(super) fn connect_ended(&mut self, token: Token, error: Option<Errno>) {
        let Some(held) = self.held.get_mut(&token) else { return };
        let id = held.id;
        match std::mem::replace(&mut held.state, State::Fresh) {
            State::Connecting { socket, to, request, line } => {
                if error.is_some() {
                    self.forget_line(&line);
                } else {
                    held.state = State::Connected(Connection::new(socket, line));
                    self.enqueue(token);
                }
                self.end(&request, "connect", id, (Some(to), None), error.map_or(0, number), None);
            }
            other => held.state = other,
        }
    }

    pub(super) fn set_state(&mut self, token: Token, state: State<G, S>) {
        if let Some(held) = self.held.get_mut(&token) {
            held.state = state;
        }
    }

    fn bind(&mut self, id: SocketId, at: SocketAddrV4, host: &mut Option<SocketAddrV4>) -> Outcome {
        let (token, state) = self.state(id)?;
        if !matches!(state, State::Fresh) {
            return Err(Errno::INVAL.into());
        }
        let bound = if at.port() == 0 {
            // Any port: nothing to take before a connect chooses one.
            if !at.ip().is_unspecified() {
                return Err(Errno::ADDRNOTAVAIL.into());
            }
            None
        } else {
            let place = self.policy.listen(at).map_err(by_policy)?;
            *host = Some(place);
            Some((self.sockets.bind(place)?, place))
        };
        self.set_state(token, State::Bound(bound));
        Ok(Done::Now)
    }

    fn listen(&mut self, id: SocketId, backlog: u32, host: &mut Option<SocketAddrV4>) -> Outcome {
        let backlog = backlog.min(self.limits.backlog);
        let token = self.find(id)?;
        let Some(held) = self.held.get_mut(&token) else { return Err(Errno::BADF.into()) };
        match std::mem::replace(&mut held.state, State::Fresh) {
            State::Bound(Some((socket, place))) => {
                *host = Some(place);
                let outcome = self.sockets.listen(token, &socket, backlog);
                held.state = match outcome {
                    Ok(()) => State::Listening(Listener::new(socket)),
                    Err(_) => State::Bound(Some((socket, place))),
                };
                outcome?;
            }
            State::Listening(listener) => {
                let outcome = self.sockets.listen(token, &listener.socket, backlog);
                held.state = State::Listening(listener);
                outcome?;
            }
            // A port of the host's choice is not one that is published.
            other @ (State::Fresh | State::Bound(None)) => {
                held.state = other;
                return Err(by_policy(Errno::ACCESS));
            }
            other => {
                held.state = other;
                return Err(Errno::INVAL.into());
            }
        }
        Ok(Done::Now)
    }

    fn accept(&mut self, request: &PvcallsRequest, id: SocketId, new: SocketId, rings: DataRings) -> Outcome {
        let (token, state) = self.state(id)?;
        if !matches!(state, State::Listening(_)) {
            return Err(Errno::INVAL.into());
        }
        let promised = self.hold(new, State::Promised(token))?;
        let line = match self.line(promised, rings) {
            Ok(line) => line,
            Err(refusal) => {
                self.drop_socket(promised);
                return Err(refusal);
            }
        };
        if let Some(Held { state: State::Listening(listener), .. }) = self.held.get_mut(&token) {
            listener.accepts.push_back(Accept { request: *request, new: promised, line });
        }
        self.accept_waiting(token);
        Ok(Done::Later)
    }

    fn poll(&mut self, request: &PvcallsRequest, id: SocketId) -> Outcome {
        let token = self.find(id)?;
        let Some(Held { state: State::Listening(listener), .. }) = self.held.get_mut(&token) else {
            return Err(Errno::INVAL.into());
        };
        listener.readable = listener.readable && self.sockets.has_waiting(&listener.socket);
        if listener.readable {
            return Ok(Done::Now);
        }
        listener.polls.push(*request);
        Ok(Done::Later)
    }

    /// Removes a socket from all lists, and returns it.
    pub(super) fn drop_socket(&mut self, token: Token) -> Option<Held<G, S>> {
        let held = self.held.remove(&token)?;
        self.ids.remove(&held.id);
        self.usage.sockets = self.usage.sockets.saturating_sub(1);
        Some(held)
    }

    fn release(&mut self, id: SocketId) -> Outcome {
        let token = self.find(id)?;
        let Some(held) = self.drop_socket(token) else { return Err(Errno::BADF.into()) };
        match held.state {
            State::Fresh | State::Bound(_) | State::Draining(_) => {}
            State::Connecting { to, request, line, .. } => {
                self.forget_line(&line);
                self.end(&request, "connect", id, (Some(to), None), number(Errno::CANCELED), None);
            }
            State::Connected(connection) => self.close_connection(token, id, connection),
            State::Promised(listener) => self.cancel_accept(listener, token),
            State::Listening(listener) => self.cancel_all(id, listener),
        }
        Ok(Done::Now)
    }

    /// Closes a connection. What the guest has written goes out: its pages are its own again, so the bytes are copied.
    fn close_connection(&mut self, token: Token, id: SocketId, mut connection: Connection<S, G::Memory>) {
        let moved = connection.turn(&mut self.guest, &mut self.sockets, &mut self.scratch);
        self.counters.received = self.counters.received.saturating_add(moved.received);
        self.counters.sent = self.counters.sent.saturating_add(moved.sent);
        if moved.broke {
            self.counters.broken_rings = self.counters.broken_rings.saturating_add(1);
        }
        self.record_close(id, &connection);
        let Finished { line, socket, left, lost } =
            connection.finish(self.limits.bytes.saturating_sub(self.usage.bytes));
        self.forget_line(&line);
        self.counters.lost = self.counters.lost.saturating_add(lost as u64);
        let Some(socket) = socket.filter(|_| !left.is_empty()) else { return };
        let until = self.now.saturating_add(self.limits.linger);
        self.usage.sockets = self.usage.sockets.saturating_add(1);
        self.usage.bytes = self.usage.bytes.saturating_add(left.len());
        let state = State::Draining(Draining { socket, left, sent: 0, until });
        // The guest may use its name again at once; the socket's events go on carrying ours.
        self.held.insert(token, Held { id, queued: false, state });
        self.draining.push_back((until, token));
        self.enqueue(token);
    }
}

/// Names of commands by their numbers.
const NAMES: [&str; 7] = ["socket", "connect", "release", "bind", "listen", "accept", "poll"];
