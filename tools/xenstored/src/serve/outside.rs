//! The [`Host`] of the state machine: rings, states of domains, the log.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use xenstore_wire::ErrorName;

use super::log::Log;
use super::machine::{Machine, Page};
use super::mailbox::Mailboxes;
use super::ring::Ring;
use super::update::Update;
use crate::engine::{DomainState, Host};

/// The machine around the state machine.
pub struct Outside {
    pub machine: Box<dyn Machine>,
    pub rings: BTreeMap<u16, Ring>,
    /// Domain of each local port.
    pub ports: BTreeMap<u32, u16>,
    /// Domains whose rings were connected and may have requests in them already.
    pub fresh: Vec<u16>,
    pub mailboxes: Mailboxes,
    pub log: Log,
    pub update: Update,
}

impl Outside {
    /// Connects the ring of a domain, and allocates a mailbox if it has none.
    ///
    /// **Errors:** its page or its port does not exist.
    pub fn attach(&mut self, domain: u16, port: u32) -> io::Result<()> {
        let page: Page = self.machine.map(domain)?;
        let port = self.machine.bind(domain, port)?;
        let ring = Ring::new(page, port);
        let connection = u32::from(domain);
        if self.mailboxes.of(connection).is_none() {
            self.mailboxes.give(connection, u64::from(ring.taken()), u64::from(ring.given()))?;
        }
        self.ports.insert(port, domain);
        self.rings.insert(domain, ring);
        Ok(())
    }

    /// Sends an event to a domain whose ring is connected.
    pub fn notify(&mut self, domain: u16) {
        if let Some(ring) = self.rings.get(&domain) {
            self.machine.notify(ring.port);
        }
    }
}

impl Host for Outside {
    fn connect(&mut self, domain: u16, _: u64, port: u32) -> Result<(), ErrorName> {
        if let Some(ring) = self.rings.remove(&domain) {
            // The same page, perhaps by another port.
            self.machine.unbind(ring.port);
            self.ports.remove(&ring.port);
        }
        self.fresh.push(domain);
        self.attach(domain, port).map_err(|error| match error.kind() {
            io::ErrorKind::OutOfMemory => ErrorName::Memory,
            _ => ErrorName::Invalid,
        })
    }

    fn disconnect(&mut self, domain: u16) {
        if let Some(ring) = self.rings.remove(&domain) {
            self.machine.unbind(ring.port);
            self.ports.remove(&ring.port);
        }
        self.mailboxes.take(u32::from(domain));
    }

    fn state(&mut self, domain: u16) -> DomainState {
        self.machine.state(domain)
    }

    fn log(&mut self, line: &str) {
        self.log.line(line);
    }

    fn set_logging(&mut self, on: bool) {
        self.log.verbose = on;
    }

    fn log_to(&mut self, path: &str) -> Result<(), ErrorName> {
        self.log.open(Path::new(path)).map_err(|_| ErrorName::InputOutput)
    }

    fn report(&mut self, path: Option<&str>, text: &str) -> Result<(), ErrorName> {
        match path {
            Some(path) => std::fs::write(path, text).map_err(|_| ErrorName::InputOutput),
            None => {
                text.lines().for_each(|line| self.log.line(line));
                Ok(())
            }
        }
    }

    fn live_update(&mut self, words: &[&str]) -> Result<String, ErrorName> {
        self.update.command(words)
    }
}
