//! The tree of nodes. A clone is a snapshot: it costs one reference count, and a change to either copies only the path
//! from the root to the change (copy on write).

use std::sync::Arc;

use xenstore_wire::{Permission, StorePath};

use super::Node;

/// The tree of nodes.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Arc<Node>,
    clock: u64,
}

impl Tree {
    /// Makes a tree with a root only, whose clock starts at `clock`.
    #[must_use]
    pub fn new(permissions: Arc<[Permission]>, clock: u64) -> Self {
        Self { root: Arc::new(Node::new([].into(), permissions, clock)), clock }
    }

    /// Returns the clock: the number of changes. Clones with the same reading are equal.
    #[must_use]
    pub const fn clock(&self) -> u64 {
        self.clock
    }

    /// Returns the root.
    #[must_use]
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Returns a node.
    #[must_use]
    pub fn get(&self, path: &StorePath) -> Option<&Node> {
        path.parts().try_fold(&*self.root, |node, part| node.child(part).map(|child| &**child))
    }

    /// Returns a node, or its nearest existing ancestor.
    #[must_use]
    pub fn nearest(&self, path: &StorePath) -> &Node {
        let mut node = &*self.root;
        for part in path.parts() {
            let Some(child) = node.child(part) else { break };
            node = child;
        }
        node
    }

    fn node_mut(&mut self, path: &StorePath) -> Option<&mut Node> {
        path.parts().try_fold(Arc::make_mut(&mut self.root), |node, part| node.child_mut(part))
    }

    /// Sets value and permissions of a node; creates it if its parent exists. Returns whether that was possible.
    pub fn put(&mut self, path: &StorePath, value: Arc<[u8]>, permissions: Arc<[Permission]>) -> bool {
        let now = self.clock.saturating_add(1);
        if let Some(node) = self.node_mut(path) {
            if node.permissions != permissions {
                node.permission_stamp = now;
                node.permissions = permissions;
            }
            node.value = value;
            node.content_stamp = now;
        } else {
            let Some(parent) = path.parent().and_then(|parent| self.node_mut(&parent)) else { return false };
            parent.children_stamp = now;
            parent.adopt(path.name(), Arc::new(Node::new(value, permissions, now)));
        }
        self.clock = now;
        true
    }

    /// Stamps the permissions of a node as set now, even if they do not change.
    pub fn renew_permissions(&mut self, path: &StorePath) {
        let now = self.clock;
        if let Some(node) = self.node_mut(path) {
            node.permission_stamp = now;
        }
    }

    /// Removes and returns a node with its descendants. The root cannot be removed.
    pub fn remove(&mut self, path: &StorePath) -> Option<Arc<Node>> {
        self.get(path)?;
        let now = self.clock.saturating_add(1);
        let parent = self.node_mut(&path.parent()?)?;
        let removed = parent.orphan(path.name())?;
        parent.children_stamp = now;
        self.clock = now;
        Some(removed)
    }

    /// Visits all nodes in preorder.
    pub fn walk(&self, mut visit: impl FnMut(&str, &Node)) {
        walk("", &self.root, &mut visit);
    }
}

/// Visits `node`, which is at `path`, and its descendants in preorder. The path of the root is empty here. Paths have
/// at most 3072 bytes, which bounds the depth of the recursion.
pub fn walk(path: &str, node: &Node, visit: &mut impl FnMut(&str, &Node)) {
    visit(if path.is_empty() { "/" } else { path }, node);
    // In the order of their creation, so that a replay creates the same tree.
    for name in node.names() {
        if let Some(child) = node.child(name) {
            walk(&format!("{path}/{name}"), child, visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use xenstore_wire::Access;

    use super::*;

    fn nobody() -> Arc<[Permission]> {
        [Permission { access: Access::None, domain: 0 }].into()
    }

    fn path(text: &str) -> StorePath {
        text.parse().unwrap()
    }

    fn listed(tree: &Tree) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        tree.walk(|path, node| drop(all.insert(path.to_owned(), node.value.to_vec())));
        all
    }

    #[test]
    fn a_snapshot_stays_what_it_was() {
        let mut tree = Tree::new(nobody(), 0);
        assert!(tree.put(&path("/a"), [1].into(), nobody()));
        let snapshot = tree.clone();
        assert!(tree.put(&path("/a/b"), [2].into(), nobody()));
        assert!(tree.remove(&path("/a")).is_some());
        assert_eq!(snapshot.get(&path("/a")).unwrap().value[..], [1]);
        assert!(snapshot.get(&path("/a/b")).is_none() && tree.get(&path("/a")).is_none());
    }

    #[test]
    fn children_are_named_in_the_order_in_which_they_were_made() {
        let mut tree = Tree::new(nobody(), 0);
        for name in ["/z", "/a", "/m"] {
            tree.put(&path(name), [].into(), nobody());
        }
        tree.put(&path("/z"), [1].into(), nobody());
        assert_eq!(tree.root().names(), ["z", "a", "m"]);
    }

    #[test]
    fn a_change_shares_all_but_the_way_to_it() {
        let mut tree = Tree::new(nobody(), 0);
        for name in ["/a", "/a/x", "/b", "/b/y"] {
            tree.put(&path(name), [].into(), nobody());
        }
        let before = tree.clone();
        tree.put(&path("/a/x"), [1].into(), nobody());
        let same = |name: &str| Arc::ptr_eq(before.root().child(name).unwrap(), tree.root().child(name).unwrap());
        assert!(same("b") && !same("a"));
    }

    #[test]
    fn stamps_distinguish_content_and_children() {
        let mut tree = Tree::new(nobody(), 0);
        tree.put(&path("/a"), [].into(), nobody());
        let stamps = |tree: &Tree| {
            let node = tree.get(&path("/a")).unwrap();
            (node.content_stamp, node.children_stamp)
        };
        let first = stamps(&tree);
        tree.put(&path("/a/b"), [].into(), nobody());
        let second = stamps(&tree);
        assert!(second.0 == first.0 && second.1 > first.1);
        tree.put(&path("/a"), [1].into(), nobody());
        let third = stamps(&tree);
        assert!(third.0 > second.0 && third.1 == second.1);
    }

    proptest! {
        #[test]
        fn it_holds_what_a_plain_map_would(operations in prop::collection::vec((0..3_u8, 0..4_u8, 0..4_u8, any::<u8>()), 0..120)) {
            let mut tree = Tree::new(nobody(), 0);
            let mut model = BTreeMap::from([("/".to_owned(), vec![])]);
            let mut snapshots = vec![];
            for (what, first, second, value) in operations {
                let name = format!("/{first}/{second}");
                let name = if what == 0 { format!("/{first}") } else { name };
                if value % 5 == 0 {
                    let removed = tree.remove(&path(&name)).is_some();
                    prop_assert_eq!(removed, model.contains_key(&name));
                    model.retain(|key, _| !path(key).lies_in(&path(&name)));
                } else {
                    let parent = path(&name).parent().unwrap();
                    let done = tree.put(&path(&name), [value].into(), nobody());
                    prop_assert_eq!(done, model.contains_key(parent.as_str()));
                    if done {
                        model.insert(name, vec![value]);
                    }
                }
                prop_assert_eq!(&listed(&tree), &model);
                if value % 7 == 0 {
                    snapshots.push((tree.clone(), model.clone()));
                }
            }
            for (tree, model) in snapshots {
                prop_assert_eq!(listed(&tree), model);
            }
        }
    }
}
