//! Accounting: the resources of each domain in the store, for the quotas, and the nodes that it owns.

use std::collections::{BTreeMap, BTreeSet};

use xenstore_wire::StorePath;

use crate::store::Node;

/// Resources of one domain.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Its nodes, to be removed when the domain is gone. Those of dom0 are only counted.
    owned: BTreeSet<StorePath>,
    pub nodes: u64,
    pub watches: u64,
    pub transactions: u64,
    /// Memory of nodes, watches and events, in bytes.
    pub memory: u64,
}

/// The accounts of all domains.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    accounts: BTreeMap<u16, Account>,
}

/// Overhead of a node besides its name and value, in bytes, estimated.
const NODE_BYTES: usize = 128;

/// Returns the memory of a node, in bytes, which is charged to its owner.
#[must_use]
pub fn cost(path: &str, node: &Node) -> u64 {
    let name = path.rsplit_once('/').map_or(path.len(), |(_, name)| name.len());
    (NODE_BYTES + name + node.value.len() + node.permissions.len() * 4) as u64
}

impl Accounts {
    /// Returns the account of a domain, if it has one.
    #[must_use]
    pub fn of(&self, domain: u16) -> Option<&Account> {
        self.accounts.get(&domain)
    }

    /// Returns the memory of a domain, in bytes.
    #[must_use]
    pub fn memory(&self, domain: u16) -> u64 {
        self.accounts.get(&domain).map_or(0, |account| account.memory)
    }

    /// Returns the number of nodes that a domain owns.
    #[must_use]
    pub fn nodes(&self, domain: u16) -> u64 {
        self.accounts.get(&domain).map_or(0, |account| account.nodes)
    }

    /// Returns the account of a domain, to be changed; it is created if there is none.
    pub fn change(&mut self, domain: u16) -> &mut Account {
        self.accounts.entry(domain).or_default()
    }

    /// Charges a node to its owner.
    pub fn charge(&mut self, path: &StorePath, node: &Node) {
        let owner = node.owner();
        let account = self.change(owner);
        account.nodes = account.nodes.saturating_add(1);
        account.memory = account.memory.saturating_add(cost(path.as_str(), node));
        if owner != 0 {
            account.owned.insert(path.clone());
        }
    }

    /// Credits a removed node to its owner.
    pub fn discharge(&mut self, path: &StorePath, node: &Node) {
        let account = self.change(node.owner());
        account.nodes = account.nodes.saturating_sub(1);
        account.memory = account.memory.saturating_sub(cost(path.as_str(), node));
        account.owned.remove(path);
    }

    /// Returns the first of the nodes that a domain owns.
    #[must_use]
    pub fn first_owned(&self, domain: u16) -> Option<StorePath> {
        self.accounts.get(&domain)?.owned.first().cloned()
    }

    /// Removes the account of a domain that owns nothing any more.
    pub fn forget(&mut self, domain: u16) {
        self.accounts.remove(&domain);
    }

    /// Iterates over all accounts.
    pub fn all(&self) -> impl Iterator<Item = (u16, &Account)> {
        self.accounts.iter().map(|(&domain, account)| (domain, account))
    }
}
