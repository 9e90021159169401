//! A client that connects again when the daemon closes its socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use xenstore_wire::{Assembler, Kind, Message};

/// Time within which everything is answered, also on a busy machine whose daemon is killed time and again.
const PATIENCE: Duration = Duration::from_secs(120);

/// The outcome of a request.
pub enum Said {
    Answer(String),
    /// The socket was closed: nobody knows whether it was done.
    Nothing,
}

pub struct Client<'a> {
    path: &'a str,
    socket: UnixStream,
    assembler: Assembler,
    /// Paths of events that came before an answer.
    pub events: Vec<String>,
    next: u32,
}

impl<'a> Client<'a> {
    /// Connects, and tries it again for a while.
    ///
    /// **Errors:** nobody listens there; a line that says so.
    pub fn connect(path: &'a str) -> Result<Self, String> {
        let socket = connected(path)?;
        Ok(Self { path, socket, assembler: Assembler::new(), events: Vec::new(), next: 0 })
    }

    /// Sends a request and returns the answer. After [`Said::Nothing`] it is connected again, without watches.
    ///
    /// **Errors:** no answer came, or one to another request.
    pub fn ask(&mut self, kind: Kind, transaction: u32, body: &str) -> Result<Said, String> {
        self.next = self.next.wrapping_add(1);
        let request = Message::new(kind, self.next, transaction, body.as_bytes().to_vec());
        if let Err(error) = self.socket.write_all(&request.to_bytes()) {
            return self.lost(&error);
        }
        loop {
            let answer = match self.receive() {
                Ok(answer) => answer,
                Err(error) => return self.lost(&error),
            };
            if answer.kind == Kind::WatchEvent.number() {
                self.events.extend(path_of(&answer));
                continue;
            }
            if (answer.request, answer.transaction) != (request.request, request.transaction) {
                return Err(format!("{answer:?} answers {request:?}"));
            }
            return Ok(Said::Answer(answer.body.escape_ascii().to_string()));
        }
    }

    /// Waits for an event of one of these paths. Returns false if the socket was closed.
    ///
    /// **Errors:** none came.
    pub fn await_event(&mut self, paths: &[&str]) -> Result<bool, String> {
        loop {
            if self.events.iter().any(|event| paths.contains(&event.as_str())) {
                self.events.clear();
                return Ok(true);
            }
            match self.receive() {
                Ok(event) => self.events.extend(path_of(&event)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(format!("no event of {paths:?} came: a watch is lost"));
                }
                Err(error) => return self.lost(&error).map(|_| false),
            }
        }
    }

    /// Connects again after an error.
    fn lost(&mut self, error: &io::Error) -> Result<Said, String> {
        if error.kind() == io::ErrorKind::WouldBlock || error.kind() == io::ErrorKind::InvalidData {
            return Err(format!("no answer came: {error}"));
        }
        self.socket = connected(self.path)?;
        (self.assembler, self.events) = (Assembler::new(), Vec::new());
        Ok(Said::Nothing)
    }

    fn receive(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = self.assembler.take() {
                return Ok(message);
            }
            let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
            let mut bytes = vec![0; self.assembler.wanted().map_err(broken)?];
            match self.socket.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => drop(self.assembler.push(bytes.get(..count).unwrap_or_default()).map_err(broken)?),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn path_of(event: &Message) -> Option<String> {
    let path = event.body.split(|&byte| byte == 0).next()?;
    String::from_utf8(path.to_vec()).ok()
}

fn connected(path: &str) -> Result<UnixStream, String> {
    let began = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(socket) => {
                socket.set_read_timeout(Some(PATIENCE)).map_err(|error| error.to_string())?;
                return Ok(socket);
            }
            Err(error) if began.elapsed() > PATIENCE => return Err(format!("{path}: {error}; is xenstored running?")),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}
