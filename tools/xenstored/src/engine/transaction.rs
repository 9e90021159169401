//! Transactions: a snapshot of the tree, and the nodes that were accessed (the read set), so that a commit can detect
//! conflicts.
//!
//! A transaction sees the store as it was at one moment. Before an access to a node that has changed since, that moment
//! moves to now if nothing in the read set has changed. So a view is never torn, and a commit fails only if another
//! client changed a node of the read set between the access and the commit.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{BitOr, BitOrAssign};
use std::sync::Arc;

use xenstore_wire::{Permission, StorePath};

use crate::store::{Node, Tree};

/// What was accessed of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aspects {
    /// The names of its children. Existence, value and permissions always count.
    pub children: bool,
}

impl Aspects {
    /// Value and permissions, or that there is no such node.
    pub const CONTENT: Self = Self { children: false };
    /// Also the names of its children.
    pub const CHILDREN: Self = Self { children: true };
}

impl BitOr for Aspects {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self { children: self.children || other.children }
    }
}

impl BitOrAssign for Aspects {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

/// One write that a commit will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    Put { path: StorePath, value: Arc<[u8]>, permissions: Arc<[Permission]>, renews_permissions: bool },
    Remove { path: StorePath },
}

/// An open transaction.
#[derive(Clone, Debug)]
pub struct Transaction {
    base: Tree,
    own: Tree,
    seen: BTreeMap<StorePath, Aspects>,
    writes: Vec<Option<Write>>,
    /// Index in `writes` of the last write of each path.
    places: BTreeMap<StorePath, usize>,
    touched: Vec<StorePath>,
    touched_set: BTreeSet<StorePath>,
    /// Nodes that it created and that still exist.
    made: BTreeSet<StorePath>,
    doomed: bool,
}

impl Transaction {
    /// Opens a transaction on the tree as it is.
    #[must_use]
    pub fn new(main: &Tree) -> Self {
        Self {
            base: main.clone(),
            own: main.clone(),
            seen: BTreeMap::new(),
            writes: Vec::new(),
            places: BTreeMap::new(),
            touched: Vec::new(),
            touched_set: BTreeSet::new(),
            made: BTreeSet::new(),
            doomed: false,
        }
    }

    /// Opens a transaction that cannot be committed, because its writes were lost.
    #[must_use]
    pub fn doomed(main: &Tree) -> Self {
        Self { doomed: true, ..Self::new(main) }
    }

    /// Returns the number of nodes that it accessed.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.seen.len()
    }

    /// Returns the number of nodes that it created.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made.len() as u64
    }

    /// Returns a node as the transaction sees it, and adds it to the read set.
    pub fn look(&mut self, main: &Tree, path: &StorePath, aspects: Aspects) -> Option<Node> {
        if !self.doomed && differs(&self.base, main, path, aspects) {
            self.advance(main);
        }
        *self.seen.entry(path.clone()).or_default() |= aspects;
        self.own.get(path).cloned()
    }

    /// Returns the nearest existing ancestor without adding it to the read set: it only decides which error is
    /// reported.
    #[must_use]
    pub fn nearest(&self, path: &StorePath) -> &Node {
        self.own.nearest(path)
    }

    /// Moves the snapshot to now, if nothing in the read set has changed.
    fn advance(&mut self, main: &Tree) {
        if self.conflicts(main) {
            self.doomed = true;
            return;
        }
        self.base = main.clone();
        self.own = main.clone();
        for write in self.writes.iter().flatten() {
            apply(&mut self.own, write);
        }
    }

    fn conflicts(&self, main: &Tree) -> bool {
        self.base.clock() != main.clock()
            && self.seen.iter().any(|(path, &aspects)| differs(&self.base, main, path, aspects))
    }

    /// Sets a node, or creates it below an existing parent.
    pub fn put(&mut self, path: &StorePath, value: Arc<[u8]>, permissions: Arc<[Permission]>, renews: bool) {
        if self.own.get(path).is_none() {
            self.made.insert(path.clone());
        }
        let mut write = Write::Put { path: path.clone(), value, permissions, renews_permissions: renews };
        apply(&mut self.own, &write);
        self.look_back(path);
        if let Some(place) = self.places.get(path).and_then(|&place| self.writes.get_mut(place)) {
            if let (Some(Write::Put { renews_permissions: true, .. }), Write::Put { renews_permissions, .. }) =
                (&place, &mut write)
            {
                *renews_permissions = true;
            }
            *place = Some(write);
        } else {
            self.places.insert(path.clone(), self.writes.len());
            self.writes.push(Some(write));
        }
    }

    /// Removes a node with its descendants, and returns it.
    pub fn remove(&mut self, path: &StorePath) -> Option<Arc<Node>> {
        let removed = self.own.remove(path)?;
        self.touch(path);
        // What was written there before counts no more.
        let dead = below(self.places.range(path.clone()..).map(|(path, _)| path), path);
        for below in below(self.made.range(path.clone()..), path) {
            self.made.remove(&below);
        }
        for below in &dead {
            if let Some(write) = self.places.remove(below).and_then(|place| self.writes.get_mut(place)) {
                *write = None;
            }
        }
        if self.base.get(path).is_some() {
            self.writes.push(Some(Write::Remove { path: path.clone() }));
        }
        if self.writes.len() > 16 && self.writes.iter().filter(|write| write.is_none()).count() * 2 > self.writes.len()
        {
            self.pack();
        }
        Some(removed)
    }

    /// Removes writes that were superseded.
    fn pack(&mut self) {
        self.writes.retain(Option::is_some);
        self.places.clear();
        for (place, write) in self.writes.iter().enumerate() {
            if let Some(Write::Put { path, .. }) = write {
                self.places.insert(path.clone(), place);
            }
        }
    }

    fn look_back(&mut self, path: &StorePath) {
        *self.seen.entry(path.clone()).or_default() |= Aspects::CONTENT;
    }

    /// Marks a path as changed, so that its watches fire at the commit. Ancestors that were created on the way do not
    /// fire.
    pub fn touch(&mut self, path: &StorePath) {
        self.look_back(path);
        if self.touched_set.insert(path.clone()) {
            self.touched.push(path.clone());
        }
    }

    /// Returns the writes of the commit and the changed paths, in order; None if there is a conflict.
    #[must_use]
    pub fn commit(self, main: &Tree) -> Option<(Vec<Write>, Vec<StorePath>)> {
        let may = !self.doomed && !self.conflicts(main);
        may.then(|| (self.writes.into_iter().flatten().collect(), self.touched))
    }
}

/// Returns the paths that are `top` or below it, of sorted paths that start at `top`.
fn below<'a>(paths: impl Iterator<Item = &'a StorePath>, top: &StorePath) -> Vec<StorePath> {
    let alike = paths.take_while(|path| path.as_str().starts_with(top.as_str()));
    alike.filter(|path| path.lies_in(top)).cloned().collect()
}

fn apply(tree: &mut Tree, write: &Write) {
    match write {
        Write::Put { path, value, permissions, renews_permissions } => {
            tree.put(path, value.clone(), permissions.clone());
            if *renews_permissions {
                tree.renew_permissions(path);
            }
        }
        Write::Remove { path } => drop(tree.remove(path)),
    }
}

/// Returns whether these aspects of a node differ between two states of a tree.
fn differs(one: &Tree, other: &Tree, path: &StorePath, aspects: Aspects) -> bool {
    if one.clock() == other.clock() {
        return false;
    }
    match (one.get(path), other.get(path)) {
        (None, None) => false,
        (Some(one), Some(other)) => {
            one.born != other.born
                || one.content_stamp != other.content_stamp
                || (aspects.children && one.children_stamp != other.children_stamp)
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use xenstore_wire::Access;

    use super::*;

    fn nobody() -> Arc<[Permission]> {
        [Permission { access: Access::None, domain: 0 }].into()
    }

    fn path(text: &str) -> StorePath {
        text.parse().unwrap()
    }

    fn tree() -> Tree {
        let mut tree = Tree::new(nobody(), 0);
        for name in ["/a", "/b", "/d"] {
            set(&mut tree, name, 0);
        }
        tree
    }

    fn set(tree: &mut Tree, name: &str, value: u8) {
        assert!(tree.put(&path(name), [value].into(), nobody()));
    }

    fn value(found: Option<Node>) -> Option<u8> {
        found.map(|node| node.value[0])
    }

    #[test]
    fn what_was_read_stays_and_a_later_change_of_it_makes_the_commit_fail() {
        let mut main = tree();
        let mut transaction = Transaction::new(&main);
        assert_eq!(value(transaction.look(&main, &path("/a"), Aspects::CONTENT)), Some(0));
        set(&mut main, "/a", 1);
        set(&mut main, "/b", 1);
        // The view is not torn: /b is as it was when /a was.
        assert_eq!(value(transaction.look(&main, &path("/b"), Aspects::CONTENT)), Some(0));
        assert_eq!(value(transaction.look(&main, &path("/a"), Aspects::CONTENT)), Some(0));
        assert!(transaction.commit(&main).is_none());
    }

    #[test]
    fn a_change_before_the_first_look_does_no_harm() {
        let mut main = tree();
        let mut transaction = Transaction::new(&main);
        transaction.look(&main, &path("/a"), Aspects::CONTENT);
        set(&mut main, "/b", 1);
        assert_eq!(value(transaction.look(&main, &path("/b"), Aspects::CONTENT)), Some(1));
        transaction.put(&path("/a"), [9].into(), nobody(), false);
        transaction.touch(&path("/a"));
        set(&mut main, "/d", 1);
        assert_eq!(value(transaction.look(&main, &path("/d"), Aspects::CONTENT)), Some(1));
        // What it wrote itself is still there after its moment moved.
        assert_eq!(value(transaction.look(&main, &path("/a"), Aspects::CONTENT)), Some(9));
        let (writes, touched) = transaction.commit(&main).unwrap();
        assert_eq!((writes.len(), touched), (1, vec![path("/a")]));
    }

    #[test]
    fn a_node_that_was_missing_counts_as_seen() {
        let mut main = tree();
        let mut transaction = Transaction::new(&main);
        assert!(transaction.look(&main, &path("/none"), Aspects::CONTENT).is_none());
        set(&mut main, "/none", 1);
        assert!(transaction.commit(&main).is_none());
    }

    #[test]
    fn a_new_child_disturbs_whoever_listed_the_children_alone() {
        let mut main = tree();
        let (mut reads, mut lists) = (Transaction::new(&main), Transaction::new(&main));
        reads.look(&main, &path("/d"), Aspects::CONTENT);
        lists.look(&main, &path("/d"), Aspects::CHILDREN);
        set(&mut main, "/d/new", 1);
        assert!(reads.commit(&main).is_some() && lists.commit(&main).is_none());
    }

    #[test]
    fn writing_and_removing_again_and_again_keeps_one_write() {
        let main = tree();
        let mut transaction = Transaction::new(&main);
        for round in 0..1000_u32 {
            let value: Arc<[u8]> = round.to_le_bytes().into();
            transaction.put(&path("/new"), value.clone(), nobody(), false);
            transaction.put(&path("/a"), value, nobody(), false);
            transaction.touch(&path("/a"));
            transaction.remove(&path("/new"));
        }
        assert!(transaction.writes.len() < 40, "{}", transaction.writes.len());
        let (writes, touched) = transaction.commit(&main).unwrap();
        assert_eq!((writes.len(), touched.len()), (1, 2));
    }

    #[test]
    fn a_doomed_one_goes_on_and_is_never_committed() {
        let main = tree();
        let mut transaction = Transaction::doomed(&main);
        assert_eq!(value(transaction.look(&main, &path("/a"), Aspects::CONTENT)), Some(0));
        transaction.put(&path("/a"), [1].into(), nobody(), false);
        assert!(transaction.commit(&main).is_none());
    }
}
