//! The data of a connection: from the guest's ring to the socket, and back.

use std::rc::Rc;
use std::time::Duration;

use rings::{Broken, ByteReader, ByteWriter, Joined, PairedRings, Shared};
use rustix::io::Errno;

use crate::{Guest, Readiness, Sockets};

/// Bytes that one turn of a connection moves each way, so that others have theirs.
const TURN: usize = 256 << 10;

type Memory<M> = Joined<Rc<M>, Rc<M>>;

/// The mapped rings of a connection, and its event channel.
pub struct Line<M> {
    pub port: u32,
    rings: PairedRings<Rc<M>, Rc<M>>,
    reader: ByteReader<Memory<M>>,
    writer: ByteWriter<Memory<M>>,
    /// How many pages are mapped.
    pub pages: usize,
}

impl<M: Shared> Line<M> {
    pub fn new(rings: PairedRings<Rc<M>, Rc<M>>, port: u32, pages: usize) -> Self {
        let (reader, writer) = rings.owned_back();
        Self { port, rings, reader, writer, pages }
    }
}

/// What a turn of a connection came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    pub received: u64,
    pub sent: u64,
    /// There is more that could be moved at once.
    pub more: bool,
    /// The guest's indexes made no sense, and the connection was given up.
    pub broke: bool,
}

/// A connection.
pub struct Connection<S: Sockets, M> {
    /// None once the connection was given up.
    socket: Option<S::Socket>,
    pub line: Line<M>,
    ready: Readiness,
    /// Nothing more comes from the peer, or is taken by it.
    in_done: bool,
    out_done: bool,
    pub received: u64,
    pub sent: u64,
}

impl<S: Sockets, M: Shared> Connection<S, M> {
    pub fn new(socket: S::Socket, line: Line<M>) -> Self {
        // Whatever can be done already shows when it is tried.
        let ready = Readiness { readable: true, writable: true };
        Self { socket: Some(socket), line, ready, in_done: false, out_done: false, received: 0, sent: 0 }
    }

    pub fn wake(&mut self, readiness: Readiness) {
        self.ready.readable |= readiness.readable;
        self.ready.writable |= readiness.writable;
    }

    /// Moves bytes both ways until one side has to wait, and tells the guest.
    pub fn turn<G: Guest>(&mut self, guest: &mut G, sockets: &mut S, scratch: &mut [u8]) -> Moved {
        let Some(socket) = self.socket.take() else { return Moved::default() };
        let mut moved = Moved::default();
        let mut news = false;
        let outcome = self
            .send(&socket, sockets, scratch, &mut moved, &mut news)
            .and_then(|()| self.receive(&socket, sockets, scratch, &mut moved, &mut news));
        self.received = self.received.saturating_add(moved.received);
        self.sent = self.sent.saturating_add(moved.sent);
        if outcome.is_ok() {
            self.socket = Some(socket);
        } else {
            moved.broke = true;
            moved.more = false;
            self.line.rings.tell_error(true, number(Errno::IO));
            self.line.rings.tell_error(false, number(Errno::IO));
        }
        if news || moved.broke || moved.received > 0 || moved.sent > 0 {
            guest.notify(self.line.port);
        }
        moved
    }

    fn send(
        &mut self,
        socket: &S::Socket,
        sockets: &mut S,
        scratch: &mut [u8],
        moved: &mut Moved,
        news: &mut bool,
    ) -> Result<(), Broken> {
        let mut left = TURN;
        while self.ready.writable && !self.out_done {
            let length = self.line.reader.peek(scratch)?;
            let bytes = scratch.get(..length).unwrap_or_default();
            if bytes.is_empty() {
                return Ok(());
            }
            if left == 0 {
                moved.more = true;
                return Ok(());
            }
            match sockets.send(socket, bytes) {
                Ok(Some(count)) => {
                    let count = count.min(length);
                    self.line.reader.consume(count);
                    moved.sent = moved.sent.saturating_add(count as u64);
                    left = left.saturating_sub(count);
                }
                Ok(None) => self.ready.writable = false,
                Err(error) => {
                    self.out_done = true;
                    *news = true;
                    self.line.rings.tell_error(false, number(error));
                }
            }
        }
        Ok(())
    }

    fn receive(
        &mut self,
        socket: &S::Socket,
        sockets: &mut S,
        scratch: &mut [u8],
        moved: &mut Moved,
        news: &mut bool,
    ) -> Result<(), Broken> {
        let mut left = TURN;
        while self.ready.readable && !self.in_done {
            let room = self.line.writer.free()?.min(scratch.len());
            let place = scratch.get_mut(..room).unwrap_or_default();
            if place.is_empty() {
                return Ok(());
            }
            if left == 0 {
                moved.more = true;
                return Ok(());
            }
            let outcome = sockets.receive(socket, place);
            match outcome {
                Ok(None) => self.ready.readable = false,
                Ok(Some(count)) if count > 0 => {
                    let bytes = place.get(..count).unwrap_or(place);
                    // The guest may have moved its index meanwhile: then the ring breaks, or there is less room.
                    let written = self.line.writer.write(bytes)?;
                    moved.received = moved.received.saturating_add(written as u64);
                    left = left.saturating_sub(written);
                    if written < bytes.len() {
                        return Err(Broken::Full);
                    }
                }
                // The front end takes this for the end of the stream.
                Ok(Some(_)) => (self.in_done, *news) = (true, self.end(Errno::NOTCONN)),
                Err(error) => (self.in_done, *news) = (true, self.end(error)),
            }
        }
        Ok(())
    }

    fn end(&self, error: Errno) -> bool {
        self.line.rings.tell_error(true, number(error));
        true
    }

    /// Ends the connection. Of what the guest has still to send, at most `budget` bytes are kept.
    pub fn finish(mut self, budget: usize) -> Finished<S, M> {
        let (mut left, mut lost) = (Vec::new(), 0);
        let socket = self.socket.take().filter(|_| !self.out_done);
        if let (Some(_), Ok(waiting)) = (&socket, self.line.reader.waiting()) {
            left = vec![0; waiting.min(budget)];
            let length = self.line.reader.peek(&mut left).unwrap_or(0);
            left.truncate(length);
            lost = waiting.saturating_sub(length);
        }
        Finished { line: self.line, socket, left, lost }
    }
}

/// What is left of a connection that the guest has closed.
pub struct Finished<S: Sockets, M> {
    pub line: Line<M>,
    /// None if nothing more can be sent.
    pub socket: Option<S::Socket>,
    /// What is still to be sent.
    pub left: Vec<u8>,
    /// How many bytes are not.
    pub lost: usize,
}

/// The last bytes of a socket that the guest has closed.
pub struct Draining<S: Sockets> {
    pub socket: S::Socket,
    pub left: Vec<u8>,
    pub sent: usize,
    pub until: Duration,
}

impl<S: Sockets> Draining<S> {
    /// Sends what there is room for, and returns whether that was the end, one way or the other.
    pub fn turn(&mut self, sockets: &mut S) -> bool {
        while let Some(bytes) = self.left.get(self.sent..).filter(|bytes| !bytes.is_empty()) {
            match sockets.send(&self.socket, bytes) {
                Ok(Some(count)) => self.sent = self.sent.saturating_add(count.min(bytes.len())),
                Ok(None) => return false,
                Err(_) => return true,
            }
        }
        true
    }
}

/// Returns an error as the protocol has it.
pub const fn number(error: Errno) -> i32 {
    error.raw_os_error().saturating_neg()
}
