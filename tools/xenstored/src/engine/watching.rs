//! Requests on watches, and firing watches.

use xenstore_wire::{Access, ErrorName, PAYLOAD_MAX, StorePath, Strings};

use super::rights::Caller;
use super::watches::Watcher;
use super::{Answer, Engine, done};
use crate::store::{Change, Node};

/// Overhead of a watch besides its path and token, in bytes, estimated.
const WATCH_BYTES: usize = 160;

/// The target of a watch.
enum Watched {
    Path(StorePath),
    Special(String),
}

impl Engine {
    /// Validates the path of a watch.
    fn watched(&self, caller: &Caller, spelled: &[u8]) -> Result<Watched, ErrorName> {
        if spelled.starts_with(b"@") {
            let name = [b"/", spelled].concat();
            let name = StorePath::absolute(&name).map_err(|_| ErrorName::Invalid)?;
            return Ok(Watched::Special(name.as_str().trim_start_matches('/').to_owned()));
        }
        self.path(caller, spelled).map(Watched::Path)
    }

    pub(super) fn watch(&mut self, caller: &Caller, body: &[u8]) -> Answer {
        let strings = Strings::all(body).ok_or(ErrorName::Invalid)?;
        let [spelled, token] = strings[..] else { return Err(ErrorName::Invalid) };
        let watched = self.watched(caller, spelled)?;
        let bytes = spelled.len().saturating_add(token.len());
        // Its event must fit into a message.
        if bytes.saturating_add(2) > PAYLOAD_MAX {
            return Err(ErrorName::TooBig);
        }
        let connection = self.connections.get(&caller.connection).ok_or(ErrorName::Missing)?;
        if connection.watches.contains(&(spelled.to_vec(), token.to_vec())) {
            return Err(ErrorName::Exists);
        }
        let account = self.accounts.change(caller.domain);
        if !caller.is_privileged() && account.watches > self.limits.watches {
            return Err(ErrorName::TooBig);
        }
        self.check_memory(caller, bytes.saturating_add(WATCH_BYTES))?;
        self.index(caller.connection, caller.domain, spelled, token, &watched);
        self.changes.push(Change::Watch {
            connection: caller.connection,
            path: spelled.to_vec(),
            token: token.to_vec(),
        });
        self.queue_event(caller.connection, spelled, token);
        done()
    }

    /// Adds a watch to the connection, the index and the account.
    fn index(&mut self, connection: u32, domain: u16, spelled: &[u8], token: &[u8], watched: &Watched) {
        let Some(found) = self.connections.get_mut(&connection) else { return };
        if !found.watches.insert((spelled.to_vec(), token.to_vec())) {
            return;
        }
        let watcher = Watcher { connection, token: token.to_vec(), relative: !spelled.starts_with(b"/") };
        match watched {
            Watched::Path(path) => drop(self.watches.add(path, watcher)),
            Watched::Special(name) => drop(self.watches.add_special(name, watcher)),
        }
        let account = self.accounts.change(domain);
        account.watches = account.watches.saturating_add(1);
        account.memory = account.memory.saturating_add((spelled.len() + token.len() + WATCH_BYTES) as u64);
    }

    /// Adds a watch of an earlier instance.
    pub(super) fn restore_watch(&mut self, connection: u32, spelled: &[u8], token: &[u8]) {
        let Some(caller) = self.caller(connection) else { return };
        if let Ok(watched) = self.watched(&caller, spelled) {
            self.index(connection, caller.domain, spelled, token, &watched);
        }
    }

    /// Removes a watch that the connection no longer has from the index and the account.
    pub(super) fn unindex(&mut self, connection: u32, domain: u16, spelled: &[u8], token: &[u8]) {
        let caller = Caller { connection, domain, target: None };
        let watcher = Watcher { connection, token: token.to_vec(), relative: !spelled.starts_with(b"/") };
        match self.watched(&caller, spelled) {
            Ok(Watched::Path(path)) => drop(self.watches.remove(&path, &watcher)),
            Ok(Watched::Special(name)) => drop(self.watches.remove_special(&name, &watcher)),
            Err(_) => {}
        }
        let account = self.accounts.change(domain);
        account.watches = account.watches.saturating_sub(1);
        account.memory = account.memory.saturating_sub((spelled.len() + token.len() + WATCH_BYTES) as u64);
    }

    pub(super) fn unwatch(&mut self, caller: &Caller, body: &[u8]) -> Answer {
        let strings = Strings::all(body).ok_or(ErrorName::Invalid)?;
        let [spelled, token, ..] = strings[..] else { return Err(ErrorName::Invalid) };
        self.watched(caller, spelled)?;
        if !self.drop_watch(caller.connection, spelled, token) {
            return Err(ErrorName::Missing);
        }
        self.changes.push(Change::Unwatch {
            connection: caller.connection,
            path: spelled.to_vec(),
            token: token.to_vec(),
        });
        done()
    }

    /// Removes a watch with its queued events. Returns whether it existed.
    pub(super) fn drop_watch(&mut self, connection: u32, spelled: &[u8], token: &[u8]) -> bool {
        let Some(found) = self.connections.get_mut(&connection) else { return false };
        if !found.watches.remove(&(spelled.to_vec(), token.to_vec())) {
            return false;
        }
        found.forget_events(token, spelled);
        let domain = found.domain;
        self.unindex(connection, domain, spelled, token);
        true
    }

    /// Fires the watches of an existing node.
    pub(super) fn fire(&mut self, path: &StorePath) {
        self.fire_also(path, Vec::new());
    }

    /// Fires the watches of an existing node, and the watches that matched `before` its permissions changed.
    pub(super) fn fire_also(&mut self, path: &StorePath, before: Vec<(usize, Watcher)>) {
        let Some(node) = self.tree.get(path).cloned() else { return };
        let mut due = self.watchers_of(path, &node);
        due.extend(before);
        due.sort_unstable();
        due.dedup();
        due.iter().for_each(|(_, watcher)| self.queue_path_event(watcher, path));
    }

    /// Fires the watches of a removed node and its descendants.
    pub(super) fn fire_removed(&mut self, path: &StorePath, removed: &Node) {
        self.fire_below(path, removed);
        for (_, watcher) in self.watchers_of(path, removed) {
            self.queue_path_event(&watcher, path);
        }
    }

    /// Fires the watches of descendants of a removed node, also if they were created again since.
    pub(super) fn fire_below(&mut self, path: &StorePath, removed: &Node) {
        for (path, node, watcher) in self.watches.below(path, removed) {
            if self.may_know(&watcher, node, None) {
                self.queue_path_event(&watcher, &path);
            }
        }
    }

    /// Returns the watches that match a change of `node` at `path` and whose owners may know of it.
    pub(super) fn watchers_of(&self, path: &StorePath, node: &Node) -> Vec<(usize, Watcher)> {
        let parent = path.parent().and_then(|parent| self.tree.get(&parent));
        let mut found = self.watches.matching(path);
        found.retain(|(_, watcher)| self.may_know(watcher, node, parent));
        found
    }

    /// Returns whether the owner of a watch may read the node or its parent.
    fn may_know(&self, watcher: &Watcher, node: &Node, parent: Option<&Node>) -> bool {
        self.caller(watcher.connection).is_some_and(|caller| {
            self.may(&caller, node, Access::Read)
                || parent.is_some_and(|parent| self.may(&caller, parent, Access::Read))
        })
    }

    /// Fires `@introduceDomain` or `@releaseDomain`.
    pub(super) fn fire_special(&mut self, name: &str) {
        for watcher in self.watches.matching_special(name) {
            let Some(caller) = self.caller(watcher.connection) else { continue };
            let allows = self.specials.get(name).is_some_and(|entries| self.access(&caller, entries, u64::MAX).reads());
            if caller.is_privileged() || allows {
                self.queue_event(watcher.connection, name.as_bytes(), &watcher.token);
            }
        }
    }

    fn queue_path_event(&mut self, watcher: &Watcher, path: &StorePath) {
        let Some(connection) = self.connections.get(&watcher.connection) else { return };
        let own = StorePath::of_domain(connection.domain);
        let relative = path.as_str().strip_prefix(own.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let spelled = relative.filter(|_| watcher.relative).unwrap_or(path.as_str()).to_owned();
        // An event that is too long for a message cannot be sent; the watch's owner looks from further up.
        let mut spelled = spelled.as_str();
        while spelled.len().saturating_add(watcher.token.len()).saturating_add(2) > PAYLOAD_MAX {
            let Some((above, _)) = spelled.rsplit_once('/') else { return };
            spelled = above;
        }
        self.queue_event(watcher.connection, spelled.as_bytes(), &watcher.token);
    }

    fn queue_event(&mut self, connection: u32, path: &[u8], token: &[u8]) {
        if let Some(found) = self.connections.get_mut(&connection) {
            found.queue_event(path, token, self.limits.outstanding);
            self.notified.insert(connection);
        }
    }
}
