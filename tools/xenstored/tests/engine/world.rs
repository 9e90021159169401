//! A state machine with a host that keeps domains in a map, and short ways to use it.

use std::collections::BTreeMap;

use xenstore_wire::{ErrorName, Kind, Message};
use xenstored::engine::{DomainState, Engine, FIRST_SOCKET, Host, Limits};

/// A host with the domains that a test creates.
#[derive(Default)]
pub struct Domains {
    pub states: BTreeMap<u16, DomainState>,
    pub logged: Vec<String>,
}

impl Host for Domains {
    fn connect(&mut self, _: u16, _: u64, _: u32) -> Result<(), ErrorName> {
        Ok(())
    }

    fn disconnect(&mut self, _: u16) {}

    fn state(&mut self, domain: u16) -> DomainState {
        self.states.get(&domain).copied().unwrap_or(DomainState::Gone)
    }

    fn log(&mut self, line: &str) {
        self.logged.push(line.to_owned());
    }

    fn set_logging(&mut self, _: bool) {}

    fn log_to(&mut self, _: &str) -> Result<(), ErrorName> {
        Ok(())
    }

    fn report(&mut self, _: Option<&str>, text: &str) -> Result<(), ErrorName> {
        self.logged.push(text.to_owned());
        Ok(())
    }

    fn live_update(&mut self, _: &[&str]) -> Result<String, ErrorName> {
        Ok("OK".to_owned())
    }
}

/// The socket that every world has.
pub const SOCKET: u32 = FIRST_SOCKET;

pub struct World {
    pub engine: Engine,
    pub host: Domains,
}

impl World {
    /// Makes a world with two sockets of dom0's tools, and domains 1 to 3, each with a home directory.
    pub fn new() -> Self {
        let mut engine = Engine::new(Limits::default(), 0, false);
        engine.furnish();
        engine.connect_socket(SOCKET);
        engine.connect_socket(SOCKET + 1);
        engine.serve(0, 0, 1);
        let mut world = Self { engine, host: Domains::default() };
        for domain in 1..=3 {
            world.begin(domain);
        }
        world
    }

    /// Creates a domain as the toolstack does.
    pub fn begin(&mut self, domain: u16) {
        self.host.states.insert(domain, DomainState::Running);
        self.says(SOCKET, Kind::MakeDirectory, format!("/local/domain/{domain}\0"), "OK\0");
        self.says(SOCKET, Kind::SetPermissions, format!("/local/domain/{domain}\0n{domain}\0"), "OK\0");
        self.says(SOCKET, Kind::Introduce, format!("{domain}\x001\x005\0"), "OK\0");
    }

    /// Destroys a domain.
    pub fn end(&mut self, domain: u16) {
        self.host.states.insert(domain, DomainState::Gone);
        self.engine.domains_changed(&mut self.host);
    }

    /// Sends a request in a transaction and returns the body of the response.
    pub fn inside(&mut self, who: u32, transaction: u32, kind: Kind, body: impl AsRef<[u8]>) -> String {
        let message = Message::new(kind, 1, transaction, body.as_ref().to_vec());
        let answer = self.engine.handle(&mut self.host, who, &message);
        assert_eq!((answer.request, answer.transaction), (1, transaction));
        String::from_utf8(answer.body).unwrap()
    }

    /// Sends a request and returns the body of the response.
    pub fn asks(&mut self, who: u32, kind: Kind, body: impl AsRef<[u8]>) -> String {
        self.inside(who, 0, kind, body)
    }

    /// Sends a request and asserts its response.
    #[track_caller]
    pub fn says(&mut self, who: u32, kind: Kind, body: impl AsRef<[u8]>, answer: &str) {
        let said = String::from_utf8_lossy(body.as_ref()).into_owned();
        assert_eq!(self.asks(who, kind, body), answer, "{kind:?} {said:?} from {who}");
    }

    /// Takes all queued events, as "path token".
    pub fn events(&mut self, who: u32) -> Vec<String> {
        std::iter::from_fn(|| self.engine.take_event(who))
            .map(|event| String::from_utf8(event.body).unwrap().replace('\0', " ").trim_end().to_owned())
            .collect()
    }
}
