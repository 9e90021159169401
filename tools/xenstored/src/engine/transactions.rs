//! Requests on transactions.

use xenstore_wire::{ErrorName, StorePath, Strings};

use super::rights::Caller;
use super::transaction::{Aspects, Transaction, Write};
use super::{Answer, Engine, done};
use crate::store::{Change, Node};

impl Engine {
    pub(super) fn has_transaction(&self, caller: &Caller, transaction: u32) -> bool {
        let connection = self.connections.get(&caller.connection);
        connection.is_some_and(|connection| connection.transactions.contains_key(&transaction))
    }

    pub(super) fn transaction(&mut self, caller: &Caller, transaction: u32) -> Option<&mut Transaction> {
        self.connections.get_mut(&caller.connection)?.transactions.get_mut(&transaction)
    }

    /// Returns a node as a caller sees it.
    ///
    /// **Errors:** `ENOSPC` for a transaction of a domain that accessed too many nodes.
    pub(super) fn look(
        &mut self,
        caller: &Caller,
        transaction: u32,
        path: &StorePath,
        aspects: Aspects,
    ) -> Result<Option<Node>, ErrorName> {
        if transaction == 0 {
            return Ok(self.tree.get(path).cloned());
        }
        let connection = self.connections.get_mut(&caller.connection).ok_or(ErrorName::Missing)?;
        let transaction = connection.transactions.get_mut(&transaction).ok_or(ErrorName::Missing)?;
        if !caller.is_privileged() && transaction.nodes() as u64 >= self.limits.transaction_nodes {
            return Err(ErrorName::Space);
        }
        Ok(transaction.look(&self.tree, path, aspects))
    }

    /// Returns the nearest existing ancestor, as a caller sees it.
    pub(super) fn nearest(&self, caller: &Caller, transaction: u32, path: &StorePath) -> &Node {
        let connection = self.connections.get(&caller.connection);
        match connection.and_then(|connection| connection.transactions.get(&transaction)) {
            Some(transaction) => transaction.nearest(path),
            None => self.tree.nearest(path),
        }
    }

    pub(super) fn transaction_start(&mut self, caller: &Caller, inside: u32) -> Answer {
        if inside != 0 {
            return Err(ErrorName::Busy);
        }
        let most = self.limits.transactions;
        let tree = &self.tree;
        let connection = self.connections.get_mut(&caller.connection).ok_or(ErrorName::Missing)?;
        if !caller.is_privileged() && connection.transactions.len() as u64 > most {
            return Err(ErrorName::Space);
        }
        let transaction = connection.next_transaction();
        connection.transactions.insert(transaction, Transaction::new(tree));
        let account = self.accounts.change(caller.domain);
        account.transactions = account.transactions.saturating_add(1);
        self.changes.push(Change::TransactionStarted { connection: caller.connection, transaction });
        Ok(format!("{transaction}\0").into_bytes())
    }

    pub(super) fn transaction_end(&mut self, caller: &Caller, number: u32, body: &[u8]) -> Answer {
        let commits = match Strings::only(body) {
            Some(b"T") => true,
            Some(b"F") => false,
            _ => return Err(ErrorName::Invalid),
        };
        let connection = self.connections.get_mut(&caller.connection).ok_or(ErrorName::Missing)?;
        let transaction = connection.transactions.remove(&number).ok_or(ErrorName::Missing)?;
        let account = self.accounts.change(caller.domain);
        account.transactions = account.transactions.saturating_sub(1);
        self.changes.push(Change::TransactionEnded { connection: caller.connection, transaction: number });
        if !commits {
            return done();
        }
        let pending = transaction.made();
        let (writes, touched) = transaction.commit(&self.tree).ok_or(ErrorName::Again)?;
        let after = self.accounts.nodes(caller.domain).saturating_add(pending);
        if !caller.is_privileged() && pending > 0 && after > self.limits.nodes {
            return Err(ErrorName::Space);
        }
        self.commit(&writes, &touched);
        done()
    }

    fn commit(&mut self, writes: &[Write], touched: &[StorePath]) {
        let before = self.tree.clone();
        for write in writes {
            match write {
                Write::Put { path, value, permissions, renews_permissions } => {
                    self.apply_put(path, value.clone(), permissions.clone(), *renews_permissions);
                }
                Write::Remove { path } => drop(self.apply_remove(path)),
            }
        }
        for path in touched {
            match (before.get(path), self.tree.get(path).map(|node| node.born)) {
                (None, None) => {}
                (Some(old), None) => self.fire_removed(path, old),
                (Some(old), Some(born)) => {
                    if born != old.born {
                        // It was removed and made again.
                        self.fire_below(path, old);
                    }
                    let told_before = self.watchers_of(path, old);
                    self.fire_also(path, told_before);
                }
                (None, Some(_)) => self.fire(path),
            }
        }
    }
}
