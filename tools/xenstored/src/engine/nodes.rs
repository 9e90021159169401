//! Requests on nodes.

use std::sync::Arc;

use xenstore_wire::{Access, ErrorName, PAYLOAD_MAX, Permission, StorePath, Strings};

use super::domains::number;
use super::rights::Caller;
use super::transaction::Aspects;
use super::{Answer, Engine, Host, accounts, done};
use crate::store::{Change, Node};

impl Engine {
    /// Returns a node to which the caller has the wanted access.
    ///
    /// **Errors:** `EACCES` if it does not, or if there is no such node and it does not have the access to the nearest
    /// ancestor; `ENOENT`; `ENOSPC` for a transaction that accessed too many nodes.
    fn allowed(
        &mut self,
        caller: &Caller,
        transaction: u32,
        path: &StorePath,
        aspects: Aspects,
        wanted: Access,
    ) -> Result<Node, ErrorName> {
        match self.look(caller, transaction, path, aspects)? {
            Some(node) if self.may(caller, &node, wanted) => Ok(node),
            Some(_) => Err(ErrorName::Access),
            None if self.may(caller, self.nearest(caller, transaction, path), wanted) => Err(ErrorName::Missing),
            None => Err(ErrorName::Access),
        }
    }

    pub(super) fn read(&mut self, caller: &Caller, transaction: u32, body: &[u8]) -> Answer {
        let path = self.only_path(caller, body)?;
        let node = self.allowed(caller, transaction, &path, Aspects::CONTENT, Access::Read)?;
        Ok(node.value.to_vec())
    }

    pub(super) fn directory(&mut self, caller: &Caller, transaction: u32, body: &[u8]) -> Answer {
        let path = self.only_path(caller, body)?;
        let node = self.allowed(caller, transaction, &path, Aspects::CHILDREN, Access::Read)?;
        Ok(names(&node))
    }

    pub(super) fn directory_part(&mut self, caller: &Caller, transaction: u32, body: &[u8]) -> Answer {
        let strings = Strings::all(body).ok_or(ErrorName::Invalid)?;
        let [path, offset] = strings[..] else { return Err(ErrorName::Invalid) };
        let (path, offset) = (self.path(caller, path)?, number(offset).unwrap_or(0));
        let node = self.allowed(caller, transaction, &path, Aspects::CHILDREN, Access::Read)?;
        let mut answer = format!("{}\0", node.children_stamp.max(node.content_stamp)).into_bytes();
        let names = names(&node);
        let rest = usize::try_from(offset).ok().and_then(|offset| names.get(offset..)).unwrap_or_default();
        // Whole names only; a last part ends in an empty name.
        let room = PAYLOAD_MAX.saturating_sub(answer.len()).saturating_sub(1);
        if rest.len() <= room {
            answer.extend_from_slice(rest);
            answer.push(0);
        } else {
            let fits = rest.get(..room).unwrap_or_default();
            let end = fits.iter().rposition(|&byte| byte == 0).map_or(0, |last| last.saturating_add(1));
            answer.extend_from_slice(fits.get(..end).unwrap_or_default());
        }
        Ok(answer)
    }

    pub(super) fn get_permissions(&mut self, caller: &Caller, transaction: u32, body: &[u8]) -> Answer {
        let path = self.only_path(caller, body)?;
        let node = self.allowed(caller, transaction, &path, Aspects::CONTENT, Access::Read)?;
        let spelled = node.permissions.iter().map(|entry| format!("{entry}\0"));
        Ok(spelled.collect::<String>().into_bytes())
    }

    pub(super) fn write(&mut self, host: &mut impl Host, caller: &Caller, transaction: u32, body: &[u8]) -> Answer {
        let mut strings = Strings::new(body);
        let path = strings.next().ok_or(ErrorName::Invalid)?;
        let (path, value) = (self.path(caller, path)?, strings.rest());
        let old = match self.allowed(caller, transaction, &path, Aspects::CONTENT, Access::Write) {
            Ok(node) => Some(node),
            Err(ErrorName::Missing) => None,
            Err(error) => return Err(error),
        };
        if let Some(node) = old {
            self.check_size(caller, value.len(), node.permissions.len())?;
            self.check_memory(caller, value.len().saturating_sub(node.value.len()))?;
            self.put(caller, transaction, &path, value.into(), node.permissions, false);
        } else {
            self.make(host, caller, transaction, &path, value)?;
        }
        self.changed(caller, transaction, &path);
        done()
    }

    pub(super) fn make_directory(
        &mut self,
        host: &mut impl Host,
        caller: &Caller,
        transaction: u32,
        body: &[u8],
    ) -> Answer {
        let path = self.only_path(caller, body)?;
        match self.allowed(caller, transaction, &path, Aspects::CONTENT, Access::Write) {
            Ok(_) => return done(),
            Err(ErrorName::Missing) => {}
            Err(error) => return Err(error),
        }
        self.make(host, caller, transaction, &path, &[])?;
        self.changed(caller, transaction, &path);
        done()
    }

    /// Creates a node and its missing ancestors. Each inherits the permissions of its parent; the owner of a node that
    /// a domain creates is that domain.
    fn make(
        &mut self,
        host: &mut impl Host,
        caller: &Caller,
        transaction: u32,
        path: &StorePath,
        value: &[u8],
    ) -> Result<(), ErrorName> {
        let mut missing = vec![path.clone()];
        let mut above = path.parent();
        let nearest = loop {
            let Some(path) = above else { return Err(ErrorName::Invalid) };
            if let Some(node) = self.look(caller, transaction, &path, Aspects::CONTENT)? {
                break node;
            }
            above = path.parent();
            missing.push(path);
        };
        let permissions = self.inherited(caller, &nearest);
        self.check_size(caller, value.len(), permissions.len())?;
        self.check_nodes(caller, transaction, missing.len())?;
        self.check_memory(caller, value.len().saturating_add(missing.len().saturating_mul(256)))?;
        self.see_owner(host, &permissions);
        for each in missing.iter().rev() {
            let value: Arc<[u8]> = if each == path { value.into() } else { [].into() };
            self.put(caller, transaction, each, value, permissions.clone(), false);
        }
        Ok(())
    }

    /// Returns the permissions of a node that a caller creates below `above`.
    fn inherited(&self, caller: &Caller, above: &Node) -> Arc<[Permission]> {
        let mut entries = above.permissions.to_vec();
        if let Some(owner) = entries.first_mut().filter(|_| !caller.is_privileged()) {
            owner.domain = caller.domain;
        }
        let (owner, others) = entries.split_at(1.min(entries.len()));
        let fresh = others.iter().filter(|entry| !self.is_stale(**entry, above.permission_stamp));
        owner.iter().chain(fresh).copied().collect()
    }

    pub(super) fn remove(&mut self, caller: &Caller, transaction: u32, body: &[u8]) -> Answer {
        let path = self.only_path(caller, body)?;
        match self.allowed(caller, transaction, &path, Aspects::CONTENT, Access::Write) {
            Ok(_) if path.parent().is_none() => return Err(ErrorName::Invalid),
            Ok(_) => {}
            // It is as wanted already where the directory that it would lie in is there.
            Err(ErrorName::Missing) => {
                let parent = path.parent().ok_or(ErrorName::Invalid)?;
                let is_there = self.look(caller, transaction, &parent, Aspects::CONTENT)?.is_some();
                return if is_there { done() } else { Err(ErrorName::Missing) };
            }
            Err(error) => return Err(error),
        }
        if transaction == 0 {
            self.remove_with_events(&path);
        } else if let Some(transaction) = self.transaction(caller, transaction) {
            transaction.remove(&path);
        }
        done()
    }

    pub(super) fn set_permissions(
        &mut self,
        host: &mut impl Host,
        caller: &Caller,
        transaction: u32,
        body: &[u8],
    ) -> Answer {
        let mut strings = Strings::new(body);
        let first = strings.next().ok_or(ErrorName::Invalid)?;
        let entries: Option<Vec<Permission>> = strings.map(Permission::parse).collect();
        let entries = entries.filter(|entries| !entries.is_empty()).ok_or(ErrorName::Invalid)?;
        if !caller.is_privileged() && entries.len() as u64 > self.limits.permissions {
            return Err(ErrorName::Space);
        }
        if first.starts_with(b"@") {
            return self.set_special_permissions(caller, first, entries);
        }
        let path = self.path(caller, first)?;
        let node = self.allowed(caller, transaction, &path, Aspects::CONTENT, Access::Write)?;
        if !Self::owns(caller, &node) {
            return Err(ErrorName::Access);
        }
        let owner = entries.first().map_or(0, |entry| entry.domain);
        if owner != node.owner() {
            if !caller.is_privileged() {
                return Err(ErrorName::NotPermitted);
            }
            if !self.is_known(host, owner) {
                return Err(ErrorName::Missing);
            }
        }
        let permissions: Arc<[Permission]> = entries.into();
        self.see_owner(host, &permissions);
        // Watches whose owners could read it until now fire too.
        let told_before = if transaction == 0 { self.watchers_of(&path, &node) } else { Vec::new() };
        self.put(caller, transaction, &path, node.value, permissions, true);
        if transaction == 0 {
            self.fire_also(&path, told_before);
        } else {
            self.changed(caller, transaction, &path);
        }
        done()
    }

    /// Creates or sets a node, in a transaction or at once.
    fn put(
        &mut self,
        caller: &Caller,
        transaction: u32,
        path: &StorePath,
        value: Arc<[u8]>,
        permissions: Arc<[Permission]>,
        renews: bool,
    ) {
        if transaction == 0 {
            self.apply_put(path, value, permissions, renews);
        } else if let Some(transaction) = self.transaction(caller, transaction) {
            transaction.put(path, value, permissions, renews);
        }
    }

    /// Fires watches for a change, at once or at the commit.
    fn changed(&mut self, caller: &Caller, transaction: u32, path: &StorePath) {
        if transaction == 0 {
            self.fire(path);
        } else if let Some(transaction) = self.transaction(caller, transaction) {
            transaction.touch(path);
        }
    }

    /// Sets a node of the tree itself, with accounting and journal.
    pub(super) fn apply_put(
        &mut self,
        path: &StorePath,
        value: Arc<[u8]>,
        permissions: Arc<[Permission]>,
        renews: bool,
    ) {
        let mut is_same = false;
        if let Some(old) = self.tree.get(path) {
            is_same = old.permissions == permissions;
            self.accounts.discharge(path, old);
        }
        if !self.tree.put(path, value.clone(), permissions.clone()) {
            return;
        }
        if renews {
            self.tree.renew_permissions(path);
        }
        if let Some(node) = self.tree.get(path) {
            self.accounts.charge(path, node);
        }
        if renews
            && is_same
            && let [owner, _, ..] = *permissions
        {
            // A replay takes permissions for new where they differ: what is set again must differ first.
            self.changes.push(Change::Put { path: path.clone(), value: value.clone(), permissions: [owner].into() });
        }
        self.changes.push(Change::Put { path: path.clone(), value, permissions });
    }

    /// Removes a node of the tree itself with its descendants, with accounting and journal, and returns it.
    pub(super) fn apply_remove(&mut self, path: &StorePath) -> Option<Arc<Node>> {
        let removed = self.tree.remove(path)?;
        let accounts = &mut self.accounts;
        crate::store::walk(path.as_str(), &removed, &mut |path, node| {
            if let Ok(path) = path.parse() {
                accounts.discharge(&path, node);
            }
        });
        self.changes.push(Change::Remove { path: path.clone() });
        Some(removed)
    }

    /// Removes a node of the tree itself, and fires watches of it and its descendants.
    pub(super) fn remove_with_events(&mut self, path: &StorePath) {
        if let Some(removed) = self.apply_remove(path) {
            self.fire_removed(path, &removed);
        }
    }

    fn only_path(&self, caller: &Caller, body: &[u8]) -> Result<StorePath, ErrorName> {
        self.path(caller, Strings::only(body).ok_or(ErrorName::Invalid)?)
    }

    /// Validates the path of a request. The quota applies to the part below the home directory of a domain.
    ///
    /// **Errors:** `EINVAL` if the path is not valid or too long.
    pub(super) fn path(&self, caller: &Caller, bytes: &[u8]) -> Result<StorePath, ErrorName> {
        if bytes.starts_with(b"@") {
            return Err(ErrorName::Invalid);
        }
        let path = caller.path(bytes)?;
        let below = path.as_str().strip_prefix("/local/domain/").and_then(|rest| rest.split_once('/'));
        let length = below.map_or(path.as_str().len(), |(_, below)| below.len());
        if length as u64 > self.limits.path_length { Err(ErrorName::Invalid) } else { Ok(path) }
    }

    fn check_size(&self, caller: &Caller, value: usize, permissions: usize) -> Result<(), ErrorName> {
        // As Debian's daemon counts it, but for the names of the children.
        let size = value.saturating_add(permissions.saturating_mul(8)).saturating_add(24) as u64;
        let fits = caller.is_privileged() || size < self.limits.node_size;
        if fits { Ok(()) } else { Err(ErrorName::Space) }
    }

    fn check_nodes(&mut self, caller: &Caller, transaction: u32, more: usize) -> Result<(), ErrorName> {
        let pending = self.transaction(caller, transaction).map_or(0, |transaction| transaction.made());
        let after = self.accounts.nodes(caller.domain).saturating_add(pending).saturating_add(more as u64);
        let fits = caller.is_privileged() || after <= self.limits.nodes;
        if fits { Ok(()) } else { Err(ErrorName::Space) }
    }

    /// Checks the memory quota of a domain.
    ///
    /// **Errors:** `ENOSPC` if `more` bytes would exceed it.
    pub(super) fn check_memory(&self, caller: &Caller, more: usize) -> Result<(), ErrorName> {
        let after = self.accounts.memory(caller.domain).saturating_add(more as u64);
        let fits = caller.is_privileged() || self.limits.memory == 0 || after <= self.limits.memory;
        if fits { Ok(()) } else { Err(ErrorName::Space) }
    }

    /// Sums up the nodes and memory of each owner from the tree, to compare with the accounts.
    pub(super) fn counted(&self) -> std::collections::BTreeMap<u16, (u64, u64)> {
        let mut counted = std::collections::BTreeMap::<u16, (u64, u64)>::new();
        self.tree.walk(|path, node| {
            let (nodes, memory) = counted.entry(node.owner()).or_default();
            *nodes = nodes.saturating_add(1);
            *memory = memory.saturating_add(accounts::cost(path, node));
        });
        counted
    }
}

/// Joins the names of a node's children, each followed by a NUL byte.
fn names(node: &Node) -> Vec<u8> {
    node.names().into_iter().flat_map(|name| name.bytes().chain([0])).collect()
}
