//! A client that separates events from responses.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use xenstore_wire::{Assembler, Kind, Message};

/// Timeout of a response.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Client {
    socket: UnixStream,
    assembler: Assembler,
    events: Vec<String>,
}

impl Client {
    pub fn connect(path: &str) -> io::Result<Self> {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, assembler: Assembler::new(), events: Vec::new() })
    }

    /// Sends a request and returns the body of the response; for an error, `error ` and its name.
    ///
    /// **Errors:** the daemon is gone, broke the protocol, or took longer than [`PATIENCE`].
    pub fn ask(&mut self, kind: u32, transaction: u32, body: &[u8]) -> io::Result<String> {
        let request = Message { kind, request: 1, transaction, body: body.to_vec() };
        self.socket.write_all(&request.to_bytes())?;
        loop {
            let answer = self.receive()?;
            let said = answer.body.escape_ascii().to_string();
            if answer.kind == Kind::WatchEvent.number() {
                self.events.push(said);
            } else {
                let is_error = answer.kind == Kind::Error.number();
                return Ok(if is_error { format!("error {said}") } else { said });
            }
        }
    }

    fn receive(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = self.assembler.take() {
                return Ok(message);
            }
            let wanted = self.assembler.wanted().map_err(io::Error::other)?;
            let mut bytes = vec![0; wanted];
            let count = self.socket.read(&mut bytes)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.assembler.push(bytes.get(..count).unwrap_or_default()).map_err(io::Error::other)?;
        }
    }

    /// Returns the events that have arrived, sorted. A request is sent first: all earlier events come before its
    /// response.
    ///
    /// **Errors:** as [`Client::ask`].
    pub fn events(&mut self) -> io::Result<Vec<String>> {
        self.ask(Kind::GetDomainPath.number(), 0, b"0\0")?;
        let mut events = std::mem::take(&mut self.events);
        events.sort_unstable();
        Ok(events)
    }
}
