//! Sockets that listen, and the calls that wait at them.

use std::collections::VecDeque;

use rustix::io::Errno;
use xen_abi::io::pvcalls::PvcallsRequest;

use super::connection::{Connection, Line, number};
use super::{Device, Held, State};
use crate::{Guest, Sockets, Token};

/// An accept that waits for a connection.
pub(super) struct Accept<G: Guest> {
    pub request: PvcallsRequest,
    /// The socket that the connection is to be.
    pub new: Token,
    pub line: Line<G::Memory>,
}

/// A socket that listens.
pub(super) struct Listener<G: Guest, S: Sockets> {
    pub socket: S::Socket,
    /// There may be a connection to take.
    pub readable: bool,
    pub accepts: VecDeque<Accept<G>>,
    pub polls: Vec<PvcallsRequest>,
}

impl<G: Guest, S: Sockets> Listener<G, S> {
    pub const fn new(socket: S::Socket) -> Self {
        Self { socket, readable: false, accepts: VecDeque::new(), polls: Vec::new() }
    }
}

impl<G: Guest, S: Sockets> Device<G, S> {
    fn listener(&mut self, token: Token) -> Option<&mut Listener<G, S>> {
        match self.held.get_mut(&token) {
            Some(Held { state: State::Listening(listener), .. }) => Some(listener),
            _ => None,
        }
    }

    /// Gives connections that have come to the accepts that wait, and answers the polls if there is one left.
    pub(super) fn accept_waiting(&mut self, token: Token) {
        loop {
            let Some(Held { state: State::Listening(listener), .. }) = self.held.get_mut(&token) else { return };
            if !listener.readable {
                return;
            }
            let Some(Accept { request, new, line }) = listener.accepts.pop_front() else { break };
            match self.sockets.accept(&listener.socket, new) {
                Ok(Some((socket, peer))) => {
                    let id = self.held.get(&new).map_or(0, |held| held.id);
                    self.set_state(new, State::Connected(Connection::new(socket, line)));
                    self.enqueue(new);
                    self.end(&request, "accept", id, (Some(peer), None), 0, None);
                }
                Ok(None) => {
                    listener.readable = false;
                    listener.accepts.push_front(Accept { request, new, line });
                    return;
                }
                Err(error) => self.fail_accept(&Accept { request, new, line }, error),
            }
        }
        let Some(Held { state: State::Listening(listener), .. }) = self.held.get_mut(&token) else { return };
        if listener.polls.is_empty() {
            return;
        }
        listener.readable = self.sockets.has_waiting(&listener.socket);
        if listener.readable {
            for request in std::mem::take(&mut listener.polls) {
                self.end(&request, "poll", request.poll().id, (None, None), 0, None);
            }
        }
    }

    fn fail_accept(&mut self, accept: &Accept<G>, error: Errno) {
        self.forget_line(&accept.line);
        let id = self.drop_socket(accept.new).map_or(0, |held| held.id);
        self.end(&accept.request, "accept", id, (None, None), number(error), None);
    }

    /// Ends the accept that waits for a socket that the guest has released already.
    pub(super) fn cancel_accept(&mut self, listener: Token, new: Token) {
        let Some(listener) = self.listener(listener) else { return };
        let Some(at) = listener.accepts.iter().position(|accept| accept.new == new) else { return };
        let Some(accept) = listener.accepts.remove(at) else { return };
        self.fail_accept(&accept, Errno::CANCELED);
    }

    /// Ends all that waits at a socket that is released.
    pub(super) fn cancel_all(&mut self, id: u64, listener: Listener<G, S>) {
        for accept in listener.accepts {
            self.fail_accept(&accept, Errno::CANCELED);
        }
        for request in listener.polls {
            self.end(&request, "poll", id, (None, None), number(Errno::CANCELED), None);
        }
    }
}
