//! A node: value, permissions and children, and when each of these last changed.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use xenstore_wire::Permission;

/// A node. A clone shares value, permissions and children with the original.
///
/// Stamps are readings of the tree's clock, which counts changes. Between equal stamps nothing changed.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Arc<[u8]>,
    /// Permissions, never empty; the first names the owner.
    pub permissions: Arc<[Permission]>,
    /// Stamp of its creation, which orders siblings.
    pub born: u64,
    /// Stamp of the last change of value or permissions.
    pub content_stamp: u64,
    /// Stamp of the last time that permissions were set.
    pub permission_stamp: u64,
    /// Stamp of the last creation or removal of a child.
    pub children_stamp: u64,
    children: RedBlackTreeMapSync<Arc<str>, Arc<Node>>,
}

impl Node {
    /// Makes a node without children.
    #[must_use]
    pub fn new(value: Arc<[u8]>, permissions: Arc<[Permission]>, now: u64) -> Self {
        Self {
            value,
            permissions,
            born: now,
            content_stamp: now,
            permission_stamp: now,
            children_stamp: now,
            children: RedBlackTreeMapSync::new_sync(),
        }
    }

    /// Returns the domain that owns it.
    #[must_use]
    pub fn owner(&self) -> u16 {
        self.permissions.first().map_or(0, |first| first.domain)
    }

    /// Returns a child.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Arc<Self>> {
        self.children.get(name)
    }

    /// Returns a child, to be changed. Nodes that are shared with snapshots are copied first.
    pub(super) fn child_mut(&mut self, name: &str) -> Option<&mut Self> {
        // Looking first keeps a name that is not there from copying the way to it.
        self.children.contains_key(name).then(|| self.children.get_mut(name).map(Arc::make_mut))?
    }

    pub(super) fn adopt(&mut self, name: &str, child: Arc<Self>) {
        self.children.insert_mut(name.into(), child);
    }

    /// Removes and returns a child.
    pub(super) fn orphan(&mut self, name: &str) -> Option<Arc<Self>> {
        let child = self.children.get(name).cloned()?;
        self.children.remove_mut(name);
        Some(child)
    }

    /// Iterates over its children by name.
    pub fn children(&self) -> impl Iterator<Item = (&str, &Arc<Self>)> {
        self.children.iter().map(|(name, child)| (&**name, child))
    }

    /// Returns the names of its children in the order of their creation, as Debian's daemon does.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut named: Vec<(u64, &str)> = self.children().map(|(name, child)| (child.born, name)).collect();
        named.sort_unstable();
        named.into_iter().map(|(_, name)| name).collect()
    }
}
