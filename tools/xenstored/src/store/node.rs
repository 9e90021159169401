//! One node: its value, who may use it, its children, and when each of these last changed.

use std::sync::Arc;

use rpds::RedBlackTreeMapSync;
use xenstore_wire::Permission;

/// One node. A clone shares value, permissions and children with the original.
///
/// Stamps are readings of the tree's clock, which counts changes; equal stamps mean that nothing changed between.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Arc<[u8]>,
    /// Never empty: the first names the owner.
    pub permissions: Arc<[Permission]>,
    /// When it was made: its place among its siblings.
    pub born: u64,
    /// When value or permissions last changed.
    pub content_stamp: u64,
    /// When permissions were last set.
    pub permission_stamp: u64,
    /// When a child was last made or removed.
    pub children_stamp: u64,
    children: RedBlackTreeMapSync<Arc<str>, Arc<Node>>,
}

impl Node {
    /// Makes one without children.
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

    /// Gives the domain that owns it.
    #[must_use]
    pub fn owner(&self) -> u16 {
        self.permissions.first().map_or(0, |first| first.domain)
    }

    /// Finds a child.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Arc<Self>> {
        self.children.get(name)
    }

    /// Finds a child to change it; nodes that other trees share are copied first.
    pub(super) fn child_mut(&mut self, name: &str) -> Option<&mut Self> {
        // Looking first keeps a name that is not there from copying the way to it.
        self.children.contains_key(name).then(|| self.children.get_mut(name).map(Arc::make_mut))?
    }

    pub(super) fn adopt(&mut self, name: &str, child: Arc<Self>) {
        self.children.insert_mut(name.into(), child);
    }

    /// Removes a child and gives it.
    pub(super) fn orphan(&mut self, name: &str) -> Option<Arc<Self>> {
        let child = self.children.get(name).cloned()?;
        self.children.remove_mut(name);
        Some(child)
    }

    /// Goes through its children by name.
    pub fn children(&self) -> impl Iterator<Item = (&str, &Arc<Self>)> {
        self.children.iter().map(|(name, child)| (&**name, child))
    }

    /// Gives the names of its children in the order in which they were made, as clients of Debian's daemon know it.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        let mut named: Vec<(u64, &str)> = self.children().map(|(name, child)| (child.born, name)).collect();
        named.sort_unstable();
        named.into_iter().map(|(_, name)| name).collect()
    }
}
