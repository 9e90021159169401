//! What each domain has taken of the store, and which nodes it owns.

use std::collections::{BTreeMap, BTreeSet};

use xenstore_wire::StorePath;

use crate::store::Node;

/// What one domain has taken.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// The nodes it owns, so that they are found when it is gone. Domain 0 is only counted.
    owned: BTreeSet<StorePath>,
    pub nodes: u64,
    pub watches: u64,
    pub transactions: u64,
    /// Bytes of nodes, watches and events.
    pub memory: u64,
}

/// The accounts of all domains.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    accounts: BTreeMap<u16, Account>,
}

/// What a node costs besides its name and value, in bytes, roughly.
const NODE_BYTES: usize = 128;

/// Gives what a node costs its owner, in bytes.
#[must_use]
pub fn cost(path: &str, node: &Node) -> u64 {
    let name = path.rsplit_once('/').map_or(path.len(), |(_, name)| name.len());
    (NODE_BYTES + name + node.value.len() + node.permissions.len() * 4) as u64
}

impl Accounts {
    /// Gives a domain's account, if it has taken anything yet.
    #[must_use]
    pub fn of(&self, domain: u16) -> Option<&Account> {
        self.accounts.get(&domain)
    }

    /// Says how much memory a domain has taken, in bytes.
    #[must_use]
    pub fn memory(&self, domain: u16) -> u64 {
        self.accounts.get(&domain).map_or(0, |account| account.memory)
    }

    /// Says how many nodes a domain owns.
    #[must_use]
    pub fn nodes(&self, domain: u16) -> u64 {
        self.accounts.get(&domain).map_or(0, |account| account.nodes)
    }

    /// Gives the account of a domain to change it.
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

    /// Gives back what a node was charged.
    pub fn discharge(&mut self, path: &StorePath, node: &Node) {
        let account = self.change(node.owner());
        account.nodes = account.nodes.saturating_sub(1);
        account.memory = account.memory.saturating_sub(cost(path.as_str(), node));
        account.owned.remove(path);
    }

    /// Gives the first of the nodes that a domain owns.
    #[must_use]
    pub fn first_owned(&self, domain: u16) -> Option<StorePath> {
        self.accounts.get(&domain)?.owned.first().cloned()
    }

    /// Forgets a domain that owns nothing any more.
    pub fn forget(&mut self, domain: u16) {
        self.accounts.remove(&domain);
    }

    /// Goes through all accounts.
    pub fn all(&self) -> impl Iterator<Item = (u16, &Account)> {
        self.accounts.iter().map(|(&domain, account)| (domain, account))
    }
}
