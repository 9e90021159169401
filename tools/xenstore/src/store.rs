//! A connection to the daemon.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use xenstore_wire::{Assembler, ErrorName, Kind, Message};

use crate::Error;

/// A watch event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Path that changed, relative if the watch was set with a relative path.
    pub path: String,
    /// Token of the watch.
    pub token: String,
}

/// How many requests are sent before their answers are taken: few enough that neither side waits for room.
const AT_ONCE: usize = 16;

/// A stream to the daemon.
trait Stream: Read + Write + AsFd + Send {}
impl<T: Read + Write + AsFd + Send> Stream for T {}

/// A connection to the daemon. One call is in flight at a time.
pub struct Store {
    stream: Box<dyn Stream>,
    assembler: Assembler,
    events: VecDeque<Event>,
    last_request: u32,
    /// Requests may be sent before the answers of earlier ones are there; the kernel's device takes one at a time.
    takes_several: bool,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Store").field("events", &self.events.len()).finish_non_exhaustive()
    }
}

impl Store {
    /// Connects to the daemon's socket; if there is none, through the kernel's device.
    ///
    /// **Errors:** [`Error::Connection`] if neither can be opened.
    pub fn connect() -> Result<Self, Error> {
        let path = std::env::var_os("XENSTORED_PATH").unwrap_or_else(|| "/var/run/xenstored/socket".into());
        match UnixStream::connect(Path::new(&path)) {
            Ok(socket) => Ok(Self::on_socket(socket)),
            Err(_) => Self::on_device(Path::new("/dev/xen/xenbus")),
        }
    }

    /// Uses a connected socket.
    #[must_use]
    pub fn on_socket(socket: UnixStream) -> Self {
        Self { takes_several: true, ..Self::new(Box::new(socket)) }
    }

    /// Uses the kernel's device, whose ring is shared by all programs of the domain.
    ///
    /// **Errors:** [`Error::Connection`] if it cannot be opened.
    pub fn on_device(path: &Path) -> Result<Self, Error> {
        Ok(Self::new(Box::new(File::options().read(true).write(true).open(path)?)))
    }

    fn new(stream: Box<dyn Stream>) -> Self {
        Self { stream, assembler: Assembler::new(), events: VecDeque::new(), last_request: 0, takes_several: false }
    }

    /// Sends a request and waits for its response. Events that come before it are queued. `about` is for the error.
    ///
    /// **Errors:** [`Error::Refused`], [`Error::Connection`], [`Error::Protocol`].
    pub(crate) fn ask(&mut self, kind: Kind, transaction: u32, body: &[u8], about: &str) -> Result<Vec<u8>, Error> {
        let request = self.request(kind, transaction, body, about)?;
        self.stream.write_all(&request.to_bytes())?;
        self.answer(&request, kind, about)
    }

    /// Sends requests, each with what it is about, and then waits for all responses: the daemon is woken a few times,
    /// and not once for each. A request is executed also where one before it was refused, so they belong into a transaction.
    ///
    /// **Errors:** the first one of all, as of [`Store::ask`].
    pub(crate) fn ask_all(&mut self, transaction: u32, requests: &[(Kind, Vec<u8>, &str)]) -> Result<(), Error> {
        let at_once = if self.takes_several { AT_ONCE } else { 1 };
        for some in requests.chunks(at_once) {
            let mut sent = Vec::with_capacity(some.len());
            for (kind, body, about) in some {
                sent.push((self.request(*kind, transaction, body, about)?, *kind, *about));
            }
            let bytes: Vec<u8> = sent.iter().flat_map(|(request, ..)| request.to_bytes()).collect();
            self.stream.write_all(&bytes)?;
            let mut outcome = Ok(());
            for (request, kind, about) in &sent {
                match self.answer(request, *kind, about) {
                    // The answers to the others are on their way.
                    Err(error @ Error::Refused { .. }) => outcome = outcome.and(Err(error)),
                    answer => drop(answer?),
                }
            }
            outcome?;
        }
        Ok(())
    }

    fn request(&mut self, kind: Kind, transaction: u32, body: &[u8], about: &str) -> Result<Message, Error> {
        if body.len() > xenstore_wire::PAYLOAD_MAX {
            // The daemon would close the connection.
            return Err(Error::Refused { kind, about: about.to_owned(), error: ErrorName::TooBig });
        }
        self.last_request = self.last_request.wrapping_add(1);
        Ok(Message::new(kind, self.last_request, transaction, body.to_vec()))
    }

    fn answer(&mut self, request: &Message, kind: Kind, about: &str) -> Result<Vec<u8>, Error> {
        loop {
            let answer = self.receive()?;
            if answer.kind == Kind::WatchEvent.number() {
                self.keep(&answer)?;
            } else if answer.request != request.request {
                return Err(Error::Protocol("an answer to no request"));
            } else if answer.kind == Kind::Error.number() {
                let error = ErrorName::from_body(&answer.body).ok_or(Error::Protocol("an error without a name"))?;
                return Err(Error::Refused { kind, about: about.to_owned(), error });
            } else if answer.kind == request.kind {
                return Ok(answer.body);
            } else {
                return Err(Error::Protocol("an answer of another kind"));
            }
        }
    }

    fn keep(&mut self, message: &Message) -> Result<(), Error> {
        let strings = xenstore_wire::Strings::all(&message.body).ok_or(Error::Protocol("an event without an end"))?;
        let [path, token] = strings[..] else { return Err(Error::Protocol("an event without path and token")) };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.events.push_back(Event { path: text(path), token: text(token) });
        Ok(())
    }

    fn receive(&mut self) -> Result<Message, Error> {
        loop {
            if let Some(message) = self.assembler.take() {
                return Ok(message);
            }
            let wanted = self.assembler.wanted().map_err(|_| Error::Protocol("a message that is too long"))?;
            let mut bytes = vec![0; wanted];
            let count = self.stream.read(&mut bytes)?;
            if count == 0 {
                return Err(Error::Connection(std::io::ErrorKind::UnexpectedEof.into()));
            }
            let taken = bytes.get(..count).unwrap_or_default();
            self.assembler.push(taken).map_err(|_| Error::Protocol("a message that is too long"))?;
        }
    }

    /// Waits for the next event, at most for `limit`, or without a limit. Returns None when the time is up.
    ///
    /// **Errors:** [`Error::Connection`], [`Error::Protocol`].
    pub fn next_event(&mut self, limit: Option<Duration>) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            if !self.wait(limit)? {
                return Ok(None);
            }
            let message = self.receive()?;
            if message.kind != Kind::WatchEvent.number() {
                return Err(Error::Protocol("an answer to no request"));
            }
            self.keep(&message)?;
        }
    }

    /// Waits until the stream is readable. Returns false when the time is up.
    fn wait(&self, limit: Option<Duration>) -> Result<bool, Error> {
        let limit = limit.map(|limit| Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        });
        let mut stream = [PollFd::from_borrowed_fd(self.stream.as_fd(), PollFlags::IN)];
        loop {
            match poll(&mut stream, limit.as_ref()) {
                Ok(count) => return Ok(count > 0),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Error::Connection(error.into())),
            }
        }
    }
}

/// The descriptor that becomes readable when an event or a response arrives.
impl AsFd for Store {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// An iterator over the events, until the connection ends.
impl Iterator for Store {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        self.next_event(None).ok().flatten()
    }
}
