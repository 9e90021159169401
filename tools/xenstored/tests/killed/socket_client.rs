//! A client on a socket, like libxenstore.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use xenstore_wire::{Assembler, Kind, Message};

use crate::Client;
use crate::daemon::{PATIENCE, eventually};

pub struct SocketClient {
    socket: UnixStream,
    assembler: Assembler,
    events: Vec<String>,
    requests: u32,
}

/// Returns the path of an event.
pub fn path(event: &Message) -> String {
    let end = event.body.iter().position(|&byte| byte == 0).unwrap();
    String::from_utf8(event.body[..end].to_vec()).unwrap()
}

impl SocketClient {
    pub fn new(path: &Path) -> Self {
        let socket = eventually("a connection", || UnixStream::connect(path).ok());
        Self { socket, assembler: Assembler::new(), events: vec![], requests: 0 }
    }

    /// Sends a request whose answer nobody awaits.
    pub fn ask_in_vain(&mut self) {
        self.socket.write_all(&Message::new(Kind::Read, 1, 0, b"/tool\0".to_vec()).to_bytes()).unwrap();
    }

    /// Introduces a domain, as the toolstack does.
    pub fn make_domain(&mut self, domain: u16) {
        assert_eq!(self.ask(Kind::MakeDirectory, 0, format!("/local/domain/{domain}\0")), "OK\0");
        assert_eq!(self.ask(Kind::SetPermissions, 0, format!("/local/domain/{domain}\0n{domain}\0")), "OK\0");
        assert_eq!(self.ask(Kind::Introduce, 0, format!("{domain}\x001\x005\0")), "OK\0");
    }

    fn receive(&mut self, patience: Duration) -> Option<Message> {
        self.socket.set_read_timeout(Some(patience)).unwrap();
        loop {
            if let Some(message) = self.assembler.take() {
                return Some(message);
            }
            let mut bytes = vec![0; self.assembler.wanted().unwrap()];
            match self.socket.read(&mut bytes) {
                Ok(0) => panic!("the daemon closed the socket"),
                Ok(count) => assert_eq!(self.assembler.push(&bytes[..count]), Ok(count)),
                Err(_) => return None,
            }
        }
    }

    pub fn await_event(&mut self, wanted: &str) {
        while !self.events.iter().any(|event| event == wanted) {
            let event = self.receive(PATIENCE).unwrap_or_else(|| panic!("no event of {wanted}"));
            self.events.push(path(&event));
        }
    }
}

impl Client for SocketClient {
    fn ask(&mut self, kind: Kind, transaction: u32, body: String) -> String {
        self.requests += 1;
        let message = Message::new(kind, self.requests, transaction, body.into_bytes());
        self.socket.write_all(&message.to_bytes()).unwrap();
        loop {
            let answer = self.receive(PATIENCE).unwrap_or_else(|| panic!("no answer to {message:?}"));
            if answer.kind == Kind::WatchEvent.number() {
                self.events.push(path(&answer));
                continue;
            }
            assert_eq!((answer.request, answer.transaction), (message.request, transaction), "{answer:?}");
            return String::from_utf8(answer.body).unwrap();
        }
    }

    fn events(&mut self) -> Vec<String> {
        while let Some(event) = self.receive(Duration::from_millis(50)) {
            self.events.push(path(&event));
        }
        std::mem::take(&mut self.events)
    }
}
