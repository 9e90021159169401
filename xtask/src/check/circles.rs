//! Files that import each other in a circle: none of them can be understood, tested or moved without all the others.

use std::collections::BTreeSet;

use super::imports::Imports;
use super::tree::{Member, Tree};

/// The crates that are judged.
const JUDGED: &str = "hv";

/// The most files that may import each other: a concept in a few files, such as a table and its entries.
const MOST: usize = 6;

/// Returns every circle of more than [`MOST`] files in the hypervisor's crates.
#[must_use]
pub fn check(tree: &Tree) -> Vec<String> {
    tree.members
        .iter()
        .filter(|member| member.directory.starts_with(JUDGED))
        .flat_map(|member| of(tree, member))
        .collect()
}

fn of(tree: &Tree, member: &Member) -> Vec<String> {
    let src = member.directory.join("src");
    let imports = Imports::read(&tree.sources, &src.to_string_lossy());
    let large = circles(&imports.of).into_iter().filter(|circle| circle.len() > MOST);
    large
        .map(|circle| {
            let names: Vec<String> = circle
                .iter()
                .filter_map(|at| imports.files.get(*at)?.path.strip_prefix(&src).ok())
                .map(|path| path.display().to_string())
                .collect();
            format!(
                "{}: {} files import each other in a circle, {MOST} may: {}",
                member.name,
                names.len(),
                names.join(", ")
            )
        })
        .collect()
}

/// Returns the groups of nodes that reach each other, largest first; a node that reaches only itself is none.
fn circles(edges: &[BTreeSet<usize>]) -> Vec<Vec<usize>> {
    let reached: Vec<BTreeSet<usize>> = (0..edges.len()).map(|from| reach(edges, from)).collect();
    let mut circles: Vec<Vec<usize>> = Vec::new();
    let mut placed = BTreeSet::new();
    for (node, there) in reached.iter().enumerate() {
        let back = there.iter().copied().filter(|other| reached.get(*other).is_some_and(|back| back.contains(&node)));
        let circle: Vec<usize> = back.filter(|other| placed.insert(*other)).collect();
        if circle.len() > 1 {
            circles.push(circle);
        }
    }
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

/// Returns all that a node leads to; itself if it leads back.
fn reach(edges: &[BTreeSet<usize>], from: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut ahead = vec![from];
    while let Some(node) = ahead.pop() {
        for &next in edges.get(node).into_iter().flatten() {
            if reached.insert(next) {
                ahead.push(next);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::super::source::Source;
    use super::*;

    /// Returns a crate of `count` files, each of which imports the next, the last the first.
    fn ring(directory: &str, count: usize, is_closed: bool) -> Vec<String> {
        let source = |at: usize| {
            let next = (at + 1) % count;
            let text = if next == 0 && !is_closed { String::new() } else { format!("use crate::f{next}::It{next};") };
            Source::new(format!("{directory}/src/f{at}.rs"), &text)
        };
        let member = Member { name: "ring".into(), directory: directory.into(), ..Member::default() };
        check(&Tree { members: vec![member], sources: (0..count).map(source).collect() })
    }

    #[test]
    fn a_circle_of_too_many_files_is_found_with_their_names() {
        let found = ring("hv/x", MOST + 1, true);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].contains("ring: 7 files") && found[0].contains("f0.rs") && found[0].contains("f6.rs"),
            "{found:?}"
        );
        assert!(ring("hv/x", MOST, true).is_empty());
    }

    #[test]
    fn a_chain_is_no_circle_and_other_crates_are_not_judged() {
        assert!(ring("hv/x", 20, false).is_empty());
        assert!(ring("xtask", 20, true).is_empty());
    }

    #[test]
    fn two_circles_with_a_way_between_them_are_two() {
        let edges = [vec![1], vec![0, 2], vec![3], vec![2], vec![4]].map(BTreeSet::from_iter);
        assert_eq!(circles(&edges), [vec![0, 1], vec![2, 3]]);
    }
}
