//! Access control.

use xenstore_wire::{Access, ErrorName, Permission, StorePath};

use super::Engine;
use crate::store::Node;

/// The client that makes a request.
#[derive(Clone, Copy, Debug)]
pub struct Caller {
    pub connection: u32,
    pub domain: u16,
    /// The domain for which it acts besides itself (`XS_SET_TARGET`).
    pub target: Option<u16>,
}

impl Caller {
    /// Returns whether it is privileged (dom0).
    pub const fn is_privileged(&self) -> bool {
        self.domain == 0
    }

    fn is(&self, domain: u16) -> bool {
        self.domain == domain || self.target == Some(domain)
    }

    /// Checks that the caller is privileged.
    ///
    /// **Errors:** `EACCES`.
    pub const fn must_be_privileged(&self) -> Result<(), ErrorName> {
        if self.is_privileged() { Ok(()) } else { Err(ErrorName::Access) }
    }

    /// Validates a path that the caller sent.
    ///
    /// **Errors:** `EINVAL`.
    pub fn path(&self, bytes: &[u8]) -> Result<StorePath, ErrorName> {
        StorePath::sent_by(self.domain, bytes).map_err(|_| ErrorName::Invalid)
    }
}

impl Engine {
    /// Returns the caller of a connection.
    pub(super) fn caller(&self, connection: u32) -> Option<Caller> {
        let domain = self.connections.get(&connection)?.domain;
        let target = self.domains.get(&domain).and_then(|domain| domain.target);
        Some(Caller { connection, domain, target })
    }

    /// Returns whether a permission, set when the tree's clock read `stamp`, is about a domain that is gone.
    pub(super) fn is_stale(&self, entry: Permission, stamp: u64) -> bool {
        self.last_gone.get(&entry.domain).is_some_and(|&gone| gone >= stamp)
    }

    /// Returns the access of a caller under permissions that were set when the tree's clock read `stamp`.
    pub(super) fn access(&self, caller: &Caller, permissions: &[Permission], stamp: u64) -> Access {
        let Some((owner, others)) = permissions.split_first() else { return Access::None };
        if caller.is_privileged() || caller.is(owner.domain) {
            return Access::Both;
        }
        let about = |entry: &&Permission| caller.is(entry.domain) && !self.is_stale(**entry, stamp);
        others.iter().find(about).map_or(owner.access, |entry| entry.access)
    }

    /// Returns whether a caller has the wanted access to a node.
    pub(super) fn may(&self, caller: &Caller, node: &Node, wanted: Access) -> bool {
        self.access(caller, &node.permissions, node.permission_stamp).allows(wanted)
    }

    /// Returns whether a caller owns a node or is privileged.
    pub(super) fn owns(caller: &Caller, node: &Node) -> bool {
        caller.is_privileged() || caller.is(node.owner())
    }
}
