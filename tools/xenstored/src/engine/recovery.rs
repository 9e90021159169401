//! Recovery: continuing where an earlier instance stopped, by replaying its journal without access checks.

use std::sync::Arc;

use xenstore_wire::{Access, Permission, StorePath};

use super::connection::Connection;
use super::domains::Domain;
use super::transaction::Transaction;
use super::{Engine, FIRST_SOCKET};
use crate::store::{Change, Node};

impl Engine {
    /// Replays a change of an earlier instance.
    pub fn replay(&mut self, change: Change) {
        match change {
            Change::Put { path, value, permissions } => self.apply_put(&path, value, permissions, false),
            Change::Remove { path } => drop(self.apply_remove(&path)),
            Change::Special { name, permissions } => drop(self.specials.insert(name, permissions)),
            Change::Watch { connection, path, token } => self.restore_watch(connection, &path, &token),
            Change::Unwatch { connection, path, token } => drop(self.drop_watch(connection, &path, &token)),
            Change::TransactionStarted { connection, transaction } => self.restore_transaction(connection, transaction),
            Change::TransactionEnded { connection, transaction } => self.end_restored(connection, transaction),
            Change::Reset { connection } => self.reset(connection),
            Change::Connected { connection } => drop(self.connections.insert(connection, Connection::new(0))),
            Change::DomainSeen { domain } => drop(self.domains.entry(domain).or_default()),
            Change::Introduced { domain, gfn, port } => self.restore_ring(domain, gfn, port),
            Change::DomainGone { domain } => {
                self.disconnect(u32::from(domain));
                self.domain_gone(domain);
            }
            Change::ShutDown { domain, is } => self.domains.entry(domain).or_default().shut_down = is,
            Change::Target { domain, target } => self.domains.entry(domain).or_default().target = Some(target),
            Change::Limit { name, soft: false, value } => drop(self.limits.set(&name, value)),
            Change::Limit { name, soft: true, value } => drop(self.limits.set_soft(&name, value)),
        }
        // They stand in the journal already.
        self.changes.clear();
    }

    fn restore_ring(&mut self, domain: u16, gfn: u64, port: u32) {
        let known = self.domains.entry(domain).or_default();
        if known.ring.replace((gfn, port)).is_none() {
            self.connections.insert(u32::from(domain), Connection::new(domain));
        }
    }

    /// Reopens a transaction that was open when the earlier instance ended. Its writes are lost, so its commit will
    /// fail with `EAGAIN`, and the client tries it again.
    fn restore_transaction(&mut self, connection: u32, transaction: u32) {
        let Some(found) = self.connections.get_mut(&connection) else { return };
        found.number_after(transaction);
        found.transactions.insert(transaction, Transaction::doomed(&self.tree));
        let account = self.accounts.change(found.domain);
        account.transactions = account.transactions.saturating_add(1);
    }

    fn end_restored(&mut self, connection: u32, transaction: u32) {
        let Some(found) = self.connections.get_mut(&connection) else { return };
        if found.transactions.remove(&transaction).is_some() {
            let account = self.accounts.change(found.domain);
            account.transactions = account.transactions.saturating_sub(1);
        }
    }

    /// Resumes service after all changes were replayed: transactions see the store as it is now, sockets that are not
    /// in `alive` are closed, and every watch fires once, since events may have been lost.
    pub fn resume_after(&mut self, alive: &[u32]) {
        let lost: Vec<u32> =
            self.connections.keys().copied().filter(|id| *id >= FIRST_SOCKET && !alive.contains(id)).collect();
        for connection in lost {
            self.disconnect(connection);
        }
        let tree = &self.tree;
        for (&id, connection) in &mut self.connections {
            for transaction in connection.transactions.values_mut() {
                *transaction = Transaction::doomed(tree);
            }
            connection.queue_every_watch();
            self.notified.insert(id);
        }
    }

    /// Returns the state as a list of changes that creates it.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Change> {
        let mut all: Vec<Change> = Vec::new();
        for (name, value, _) in self.limits.list() {
            all.push(Change::Limit { name: name.to_owned(), soft: false, value });
        }
        all.push(Change::Limit { name: "memory".to_owned(), soft: true, value: self.limits.memory_soft });
        for (name, permissions) in &self.specials {
            all.push(Change::Special { name: name.clone(), permissions: permissions.clone() });
        }
        self.tree.walk(|path, node| all.extend(self.remade(path, node)));
        for (&domain, known) in &self.domains {
            self.describe_domain(domain, known, &mut all);
        }
        for (&id, connection) in &self.connections {
            if id >= FIRST_SOCKET {
                all.push(Change::Connected { connection: id });
            }
            let watches = connection.watches.iter().cloned();
            all.extend(watches.map(|(path, token)| Change::Watch { connection: id, path, token }));
            let open = connection.transactions.keys();
            all.extend(open.map(|&transaction| Change::TransactionStarted { connection: id, transaction }));
        }
        all
    }

    fn describe_domain(&self, domain: u16, known: &Domain, all: &mut Vec<Change>) {
        all.push(Change::DomainSeen { domain });
        if let Some((gfn, port)) = known.ring {
            all.push(Change::Introduced { domain, gfn, port });
        }
        if known.shut_down {
            all.push(Change::ShutDown { domain, is: true });
        }
        if let Some(target) = known.target {
            all.push(Change::Target { domain, target });
        }
    }

    /// Returns the change that creates a node, without permissions of destroyed domains.
    fn remade(&self, path: &str, node: &Node) -> Option<Change> {
        let path: StorePath = path.parse().ok()?;
        let counts =
            |(place, entry): &(usize, &Permission)| *place == 0 || !self.is_stale(**entry, node.permission_stamp);
        let entries = node.permissions.iter().enumerate().filter(counts).map(|(_, entry)| *entry);
        let mut permissions: Arc<[Permission]> = entries.collect();
        if permissions.is_empty() {
            permissions = [Permission { access: Access::None, domain: 0 }].into();
        }
        Some(Change::Put { path, value: node.value.clone(), permissions })
    }
}
