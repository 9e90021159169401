//! How much of the hypervisor stands on each side of the fence around `unsafe`.

use std::path::Path;

use super::source::Source;
use super::tree::Tree;
use super::unsafe_places::{self, MAY_HOLD};

/// The directories that the hypervisor is made of; what runs in tests alone is left out.
const HYPERVISOR: &[&str] = &["abi/src", "hv"];
const FOR_TESTS: &[&str] = &["hv/fake"];

/// Lines of code, without comments and without tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fence {
    /// In crates that forbid `unsafe`.
    pub lines_outside: u64,
    /// In crates that may hold it.
    pub lines_inside: u64,
    pub unsafe_blocks: u64,
}

impl Fence {
    /// Counts the tree.
    #[must_use]
    pub fn of(tree: &Tree) -> Self {
        let mut fence = Self::default();
        let counted =
            |source: &&Source| source.lies_in(HYPERVISOR) && !source.lies_in(FOR_TESTS) && !is_test(&source.path);
        tree.sources.iter().filter(counted).for_each(|source| fence.add(source));
        fence
    }

    fn add(&mut self, source: &Source) {
        let lines = || {
            source.lines.iter().take_while(|line| !line.code.contains("cfg(test)") && !line.code.contains("all(test"))
        };
        let code = lines().filter(|line| line.has_code()).count() as u64;
        if source.lies_in(MAY_HOLD) {
            self.lines_inside += code;
        } else {
            self.lines_outside += code;
        }
        self.unsafe_blocks += lines().map(|line| unsafe_places::blocks(&line.code) as u64).sum::<u64>();
    }
}

/// Returns whether a file holds tests and nothing else.
pub fn is_test(path: &Path) -> bool {
    path.components().any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs" | "build.rs")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_and_comments_do_not_count() {
        let text =
            "// why\nfn f() {\n    unsafe { g() }\n}\n\n#[cfg(test)]\nmod tests {\n    fn t() { unsafe { g() } }\n}\n";
        let source = |path| Source::new(path, text);
        let sources =
            ["hv/x86/src/a.rs", "hv/core/src/a.rs", "hv/core/tests/a.rs", "hv/fake/src/a.rs", "xtask/src/a.rs"];
        let tree = Tree { sources: sources.map(source).into(), ..Tree::default() };
        assert_eq!(Fence::of(&tree), Fence { lines_outside: 3, lines_inside: 3, unsafe_blocks: 2 });
    }
}
