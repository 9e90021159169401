//! The daemon as a state machine: from a message to a response, events, and changes for the journal. It does no input
//! or output; it uses the machine through [`Host`].

mod accounts;
mod connection;
mod control;
mod domains;
mod host;
mod limits;
mod nodes;
mod recovery;
mod rights;
mod transaction;
mod transactions;
mod watches;
mod watching;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use xenstore_wire::{Access, ErrorName, Kind, Message, PAYLOAD_MAX, Permission, StorePath};

use accounts::Accounts;
use connection::Connection;
use domains::Domain;
pub use host::{DomainState, Host};
pub use limits::Limits;
use rights::Caller;
use watches::WatchIndex;

use crate::store::{Change, Tree};

/// First connection number of sockets. Below, the connection of a domain has the domain's ID.
pub const FIRST_SOCKET: u32 = 1 << 16;

/// The state of the daemon.
#[derive(Debug)]
pub struct Engine {
    tree: Tree,
    connections: BTreeMap<u32, Connection>,
    domains: BTreeMap<u16, Domain>,
    /// Reading of the tree's clock when a domain with this ID was last destroyed. Permissions from before do not apply
    /// to the next domain with the ID.
    last_gone: BTreeMap<u16, u64>,
    watches: WatchIndex,
    specials: BTreeMap<String, Arc<[Permission]>>,
    pub limits: Limits,
    accounts: Accounts,
    keep_orphans: bool,
    changes: Vec<Change>,
    /// Connections with events that were queued since [`Engine::take_notified`].
    notified: BTreeSet<u32>,
}

type Answer = Result<Vec<u8>, ErrorName>;

/// Returns the response of requests that return nothing.
fn done() -> Answer {
    Ok(b"OK\0".to_vec())
}

impl Engine {
    /// Makes an empty store. `clock` is the start of its change counter. With `keep_orphans`, nodes of a destroyed
    /// domain are kept.
    #[must_use]
    pub fn new(limits: Limits, clock: u64, keep_orphans: bool) -> Self {
        let nobody: Arc<[Permission]> = [Permission { access: Access::None, domain: 0 }].into();
        let tree = Tree::new(nobody, clock);
        let mut accounts = Accounts::default();
        accounts.charge(&StorePath::root(), tree.root());
        Self {
            tree,
            connections: BTreeMap::new(),
            domains: BTreeMap::new(),
            last_gone: BTreeMap::new(),
            watches: WatchIndex::default(),
            specials: BTreeMap::new(),
            limits,
            accounts,
            keep_orphans,
            changes: Vec::new(),
            notified: BTreeSet::new(),
        }
    }

    /// Creates the nodes that every store has: `/tool/xenstored`.
    pub fn furnish(&mut self) {
        for path in ["/tool", "/tool/xenstored"] {
            if let Ok(path) = path.parse() {
                let permissions = self.tree.root().permissions.clone();
                self.apply_put(&path, [].into(), permissions, false);
            }
        }
    }

    /// Returns the tree.
    #[must_use]
    pub const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Takes the changes since the last call, in order.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// Takes the numbers of connections for which events were queued since the last call.
    pub fn take_notified(&mut self) -> BTreeSet<u32> {
        std::mem::take(&mut self.notified)
    }

    /// Takes the next event queued for a connection.
    pub fn take_event(&mut self, connection: u32) -> Option<Message> {
        self.connections.get_mut(&connection)?.take_event()
    }

    /// Returns whether an event is queued for a connection.
    #[must_use]
    pub fn has_events(&self, connection: u32) -> bool {
        self.connections.get(&connection).is_some_and(Connection::has_events)
    }

    /// Returns whether there is a connection with this number.
    #[must_use]
    pub fn knows(&self, connection: u32) -> bool {
        self.connections.contains_key(&connection)
    }

    /// Adds the connection of a socket. Its peer is privileged.
    pub fn connect_socket(&mut self, connection: u32) {
        self.connections.insert(connection, Connection::new(0));
        self.changes.push(Change::Connected { connection });
    }

    /// Removes a connection with its watches and transactions: its socket was closed, or its ring failed.
    pub fn disconnect(&mut self, connection: u32) {
        self.reset(connection);
        self.connections.remove(&connection);
    }

    /// Resets a connection: removes its watches and transactions.
    pub fn reset(&mut self, connection: u32) {
        let Some(found) = self.connections.get_mut(&connection) else { return };
        let (domain, watches) = (found.domain, std::mem::take(&mut found.watches));
        let transactions = found.transactions.len() as u64;
        found.reset();
        for (path, token) in watches {
            self.unindex(connection, domain, &path, &token);
        }
        let account = self.accounts.change(domain);
        account.transactions = account.transactions.saturating_sub(transactions);
        self.changes.push(Change::Reset { connection });
    }

    /// Handles a message and returns the response.
    pub fn handle(&mut self, host: &mut impl Host, connection: u32, message: &Message) -> Message {
        let Some(caller) = self.caller(connection) else { return message.refuse(ErrorName::InputOutput) };
        match self.answer(host, &caller, message) {
            Ok(body) if body.len() > PAYLOAD_MAX => message.refuse(ErrorName::TooBig),
            Ok(body) => message.answer(body),
            Err(error) => message.refuse(error),
        }
    }

    fn answer(&mut self, host: &mut impl Host, caller: &Caller, message: &Message) -> Answer {
        let kind = Kind::from_number(message.kind).ok_or(ErrorName::NoSuchRequest)?;
        let (body, transaction) = (&message.body[..], message.transaction);
        if transaction != 0 && !self.has_transaction(caller, transaction) {
            return Err(ErrorName::Missing);
        }
        match kind {
            Kind::Read => self.read(caller, transaction, body),
            Kind::Write => self.write(host, caller, transaction, body),
            Kind::MakeDirectory => self.make_directory(host, caller, transaction, body),
            Kind::Remove => self.remove(caller, transaction, body),
            Kind::Directory => self.directory(caller, transaction, body),
            Kind::DirectoryPart => self.directory_part(caller, transaction, body),
            Kind::GetPermissions => self.get_permissions(caller, transaction, body),
            Kind::SetPermissions => self.set_permissions(host, caller, transaction, body),
            Kind::Watch => self.watch(caller, body),
            Kind::Unwatch => self.unwatch(caller, body),
            Kind::ResetWatches => {
                self.reset(caller.connection);
                done()
            }
            Kind::TransactionStart => self.transaction_start(caller, transaction),
            Kind::TransactionEnd => self.transaction_end(caller, transaction, body),
            Kind::Introduce => self.introduce(host, caller, body),
            Kind::Release => self.release(host, caller, body),
            Kind::GetDomainPath => domains::path(body),
            Kind::IsDomainIntroduced => self.is_introduced(caller, body),
            Kind::Resume => self.resume(caller, body),
            Kind::SetTarget => self.set_target(caller, body),
            Kind::Control => self.control(host, caller, body),
            Kind::WatchEvent | Kind::Error => Err(ErrorName::NoSuchRequest),
        }
    }
}
