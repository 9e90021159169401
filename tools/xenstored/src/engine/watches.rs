//! The index of watches by path. A change costs time in proportion to the depth of its path and the watches that match.

use std::collections::{BTreeMap, HashMap};

use xenstore_wire::StorePath;

use crate::store::Node;

/// Owner of a watch. `relative` if it was set with a path relative to the domain's home directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watcher {
    pub connection: u32,
    pub token: Vec<u8>,
    pub relative: bool,
}

#[derive(Clone, Debug, Default)]
struct Branch {
    here: BTreeMap<Watcher, ()>,
    below: HashMap<Box<str>, Branch>,
}

impl Branch {
    fn is_empty(&self) -> bool {
        self.here.is_empty() && self.below.is_empty()
    }
}

/// The index of all watches.
#[derive(Clone, Debug, Default)]
pub struct WatchIndex {
    root: Branch,
    /// Watches of special names, which start with `@`.
    special: BTreeMap<String, BTreeMap<Watcher, ()>>,
}

impl WatchIndex {
    /// Adds a watch of a path. Returns whether it is new.
    pub fn add(&mut self, path: &StorePath, watcher: Watcher) -> bool {
        let mut branch = &mut self.root;
        for part in path.parts() {
            branch = branch.below.entry(part.into()).or_default();
        }
        branch.here.insert(watcher, ()).is_none()
    }

    /// Removes a watch of a path. Returns whether it existed.
    pub fn remove(&mut self, path: &StorePath, watcher: &Watcher) -> bool {
        let parts: Vec<&str> = path.parts().collect();
        remove(&mut self.root, &parts, watcher)
    }

    /// Adds a watch of a special name. Returns whether it is new.
    pub fn add_special(&mut self, name: &str, watcher: Watcher) -> bool {
        self.special.entry(name.to_owned()).or_default().insert(watcher, ()).is_none()
    }

    /// Removes a watch of a special name. Returns whether it existed.
    pub fn remove_special(&mut self, name: &str, watcher: &Watcher) -> bool {
        let Some(watchers) = self.special.get_mut(name) else { return false };
        let was_there = watchers.remove(watcher).is_some();
        if watchers.is_empty() {
            self.special.remove(name);
        }
        was_there
    }

    /// Returns the watches that match a change of `path`: those of the path and its ancestors. The number is the depth
    /// of the watched path, which distinguishes watches with the same token.
    #[must_use]
    pub fn matching(&self, path: &StorePath) -> Vec<(usize, Watcher)> {
        let mut found: Vec<(usize, Watcher)> = self.root.here.keys().map(|watcher| (0, watcher.clone())).collect();
        let mut branch = &self.root;
        for (above, part) in path.parts().enumerate() {
            let Some(next) = branch.below.get(part) else { break };
            branch = next;
            found.extend(branch.here.keys().map(|watcher| (above.saturating_add(1), watcher.clone())));
        }
        found
    }

    /// Returns the watches of a special name.
    #[must_use]
    pub fn matching_special(&self, name: &str) -> Vec<Watcher> {
        self.special.get(name).map(|watchers| watchers.keys().cloned().collect()).unwrap_or_default()
    }

    /// Returns the watches of descendants of `path` that were in `removed`, each with its node; the deepest first.
    #[must_use]
    pub fn below<'a>(&self, path: &StorePath, removed: &'a Node) -> Vec<(StorePath, &'a Node, Watcher)> {
        let mut found = Vec::new();
        let branch = path.parts().try_fold(&self.root, |branch, part| branch.below.get(part));
        if let Some(branch) = branch {
            below(branch, path, removed, &mut found);
        }
        found
    }

    /// Counts the branches, to show that removed watches leave none behind.
    #[cfg(test)]
    fn branches(&self) -> usize {
        fn count(branch: &Branch) -> usize {
            1 + branch.below.values().map(count).sum::<usize>()
        }
        count(&self.root)
    }
}

fn remove(branch: &mut Branch, parts: &[&str], watcher: &Watcher) -> bool {
    let Some((first, rest)) = parts.split_first() else { return branch.here.remove(watcher).is_some() };
    let Some(next) = branch.below.get_mut(*first) else { return false };
    let was_there = remove(next, rest, watcher);
    if next.is_empty() {
        branch.below.remove(*first);
    }
    was_there
}

fn below<'a>(branch: &Branch, path: &StorePath, removed: &'a Node, found: &mut Vec<(StorePath, &'a Node, Watcher)>) {
    // Whichever has fewer children leads.
    for (name, next) in &branch.below {
        let (Some(node), Ok(path)) = (removed.child(name), path.child(name)) else { continue };
        below(next, &path, node, found);
        found.extend(next.here.keys().map(|watcher| (path.clone(), &**node, watcher.clone())));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use xenstore_wire::{Access, Permission};

    use super::*;
    use crate::store::Tree;

    fn path(text: &str) -> StorePath {
        text.parse().unwrap()
    }

    fn watcher(token: &str) -> Watcher {
        Watcher { connection: 1, token: token.into(), relative: false }
    }

    fn tokens(found: Vec<Watcher>) -> Vec<String> {
        found.into_iter().map(|watcher| String::from_utf8(watcher.token).unwrap()).collect()
    }

    #[test]
    fn a_change_matches_watches_of_the_path_and_of_what_is_above_alone() {
        let mut index = WatchIndex::default();
        for text in ["/", "/a", "/a/b", "/a/b/c", "/a/bc", "/x"] {
            assert!(index.add(&path(text), watcher(text)));
        }
        assert!(!index.add(&path("/a"), watcher("/a")));
        let matching =
            |text: &str| tokens(index.matching(&path(text)).into_iter().map(|(_, watcher)| watcher).collect());
        assert_eq!(matching("/a/b"), ["/", "/a", "/a/b"]);
        assert_eq!(matching("/nowhere/at/all"), ["/"]);
    }

    #[test]
    fn a_removal_finds_watches_of_what_was_there_below_the_deepest_first() {
        let nobody: Arc<[Permission]> = [Permission { access: Access::None, domain: 0 }].into();
        let mut tree = Tree::new(nobody.clone(), 0);
        let mut index = WatchIndex::default();
        for text in ["/a", "/a/b", "/a/b/c"] {
            tree.put(&path(text), [].into(), nobody.clone());
            index.add(&path(text), watcher(text));
        }
        index.add(&path("/a/b/never"), watcher("never"));
        let removed = tree.remove(&path("/a")).unwrap();
        let found = index.below(&path("/a"), &removed).into_iter().map(|(.., watcher)| watcher).collect();
        assert_eq!(tokens(found), ["/a/b/c", "/a/b"]);
    }

    #[test]
    fn nothing_is_left_of_a_watch_that_is_removed() {
        let mut index = WatchIndex::default();
        index.add(&path("/a/b/c"), watcher("t"));
        assert!(!index.remove(&path("/a/b"), &watcher("t")));
        assert!(index.remove(&path("/a/b/c"), &watcher("t")) && !index.remove(&path("/a/b/c"), &watcher("t")));
        assert_eq!(index.branches(), 1);
        index.add_special("@releaseDomain", watcher("t"));
        assert!(index.remove_special("@releaseDomain", &watcher("t")) && index.special.is_empty());
    }
}
