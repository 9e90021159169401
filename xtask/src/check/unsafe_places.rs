//! Where `unsafe` may live, that it is forbidden everywhere else, and that each use says why it is sound.

use super::source::{Source, words};
use super::tiers;
use super::tree::Tree;

/// The directories whose files may hold `unsafe`; under `tools/` those of the lowest crates may as well.
pub const MAY_HOLD: &[&str] = &["hv/x86", "hv/sync", "hv/image", "guest"];

fn may_hold(tree: &Tree, source: &Source) -> bool {
    source.lies_in(MAY_HOLD) || tree.owner(source).is_some_and(tiers::may_hold_unsafe)
}

/// Returns every crate where no `unsafe` may live without `#![forbid(unsafe_code)]`, and every use of `unsafe` there.
#[must_use]
pub fn check(tree: &Tree) -> Vec<String> {
    let outside = || tree.sources.iter().filter(|source| !may_hold(tree, source));
    let roots: Vec<_> = tree.members.iter().flat_map(|member| &member.crate_roots).collect();
    let lax = outside()
        .filter(|source| roots.contains(&&source.path) && !forbids(source))
        .map(|source| format!("{}: lacks #![forbid(unsafe_code)]", source.path.display()));
    let uses = outside().flat_map(|source| {
        let held = source.lines.iter().enumerate().filter(|(_, line)| line.has_word("unsafe"));
        held.map(|(index, _)| format!("{}: unsafe may not stand here", source.place(index)))
    });
    lax.chain(uses).collect()
}

fn forbids(source: &Source) -> bool {
    source.lines.iter().any(|line| line.code.replace(' ', "").contains("#![forbid(unsafe_code"))
}

/// Returns every `unsafe` block or implementation without a `SAFETY:` comment, and every `unsafe fn` without a
/// `# Safety` section.
#[must_use]
pub fn check_reasons(tree: &Tree) -> Vec<String> {
    tree.sources.iter().flat_map(reasonless).collect()
}

fn reasonless(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    for (index, line) in source.lines.iter().enumerate() {
        let (wanted, what) = match kind(&line.code) {
            Some(Kind::Block) => ("SAFETY:", "an unsafe block"),
            Some(Kind::Declaration) if implements_a_trait(source, index) => continue,
            Some(Kind::Declaration) => ("# Safety", "an unsafe function or trait"),
            None => continue,
        };
        if !reason_above(source, index, wanted) {
            found.push(format!("{}: {what} without \"{wanted}\" in the comment above it", source.place(index)));
        }
    }
    found
}

/// Returns true for a function inside `impl Trait for Type`: the trait has said what its caller owes.
fn implements_a_trait(source: &Source, index: usize) -> bool {
    let indent = |code: &str| code.len() - code.trim_start().len();
    let Some(own) = source.lines.get(index).map(|line| indent(&line.code)) else { return false };
    let above = source.lines.get(..index).unwrap_or_default().iter().rev();
    let outer = above.filter(|line| line.has_code()).find(|line| indent(&line.code) < own);
    outer.is_some_and(|line| line.has_word("impl") && line.has_word("for"))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A block, or an implementation of an unsafe trait: someone vouches.
    Block,
    /// A function or trait: someone else will have to vouch.
    Declaration,
}

/// Returns how many unsafe blocks and implementations begin on a line.
#[must_use]
pub fn blocks(code: &str) -> usize {
    uses(code).filter(|kind| *kind == Kind::Block).count()
}

fn kind(code: &str) -> Option<Kind> {
    uses(code).next()
}

fn uses(code: &str) -> impl Iterator<Item = Kind> {
    code.match_indices("unsafe").filter_map(move |(at, word)| {
        let before = code.get(..at).and_then(|before| before.chars().next_back());
        let after = code.get(at + word.len()..)?;
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            return None;
        }
        let rest = after.trim_start();
        let is_type = code.get(..at)?.trim_end().ends_with([':', '(', '<', '=', '&', '|', '>']);
        match words(rest).next() {
            _ if rest.is_empty() || rest.starts_with('{') => Some(Kind::Block),
            Some("impl") => Some(Kind::Block),
            Some("fn" | "trait") if !is_type => Some(Kind::Declaration),
            Some("extern") if !is_type && words(rest).any(|word| word == "fn") => Some(Kind::Declaration),
            _ => None,
        }
    })
}

/// Looks for `wanted` on the line itself and upwards through its statement, attributes and comments.
fn reason_above(source: &Source, index: usize, wanted: &str) -> bool {
    let mut lines = source.lines.get(..=index).unwrap_or_default().iter().rev();
    if lines.next().is_some_and(|line| line.comment.contains(wanted)) {
        return true;
    }
    for line in lines {
        if line.comment.contains(wanted) {
            return true;
        }
        let code = line.code.trim_end();
        let ends_a_statement = code.ends_with([';', '}']) || (code.is_empty() && line.comment.is_empty());
        if ends_a_statement {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::tree::Member;
    use super::*;

    fn tree(path: &str, text: &str) -> Tree {
        let member =
            Member { name: "x".into(), directory: "x".into(), crate_roots: vec![path.into()], ..Member::default() };
        Tree { members: vec![member], sources: vec![Source::new(path, text)] }
    }

    #[test]
    fn a_crate_outside_the_fence_must_forbid_it() {
        assert_eq!(check(&tree("hv/core/src/lib.rs", "//! #![forbid(unsafe_code)]\nfn f() {}")).len(), 1);
        assert!(check(&tree("hv/core/src/lib.rs", "#![forbid(unsafe_code)]")).is_empty());
        assert!(check(&tree("hv/x86/src/lib.rs", "fn f() {}")).is_empty());
    }

    #[test]
    fn a_use_outside_the_fence_is_found_with_its_line() {
        let found = check(&tree("hv/core/src/lib.rs", "#![forbid(unsafe_code)]\nfn f() { unsafe { g() } }"));
        assert_eq!(found, ["hv/core/src/lib.rs:2: unsafe may not stand here"]);
    }

    #[test]
    fn under_tools_it_may_live_in_the_lowest_crates_alone() {
        for (tier, faults) in
            [("system", 0), ("wire", 2), ("client", 0), ("library", 2), ("service", 2), ("program", 2)]
        {
            let root = "tools/x/src/lib.rs";
            let member = Member { crate_roots: vec![root.into()], ..tiers::tests::tool("x", tier, &[]) };
            let sources = vec![Source::new(root, "// SAFETY: fine\nfn f() { unsafe { g() } }")];
            assert_eq!(check(&Tree { members: vec![member], sources }).len(), faults, "{tier}");
        }
    }

    #[test]
    fn a_block_without_its_reason_is_found() {
        assert_eq!(check_reasons(&tree("hv/x86/src/a.rs", "fn f() {\n    unsafe { g() }\n}")).len(), 1);
        assert_eq!(check_reasons(&tree("hv/x86/src/a.rs", "unsafe impl Send for A {}")).len(), 1);
    }

    #[test]
    fn a_reason_of_another_statement_does_not_count() {
        let text = "// SAFETY: one\nunsafe { a() };\nunsafe { b() };";
        assert_eq!(
            check_reasons(&tree("hv/x86/src/a.rs", text)),
            ["hv/x86/src/a.rs:3: an unsafe block without \"SAFETY:\" in the comment above it"]
        );
    }

    #[test]
    fn a_reason_above_the_statement_or_its_attributes_counts() {
        let text = "// SAFETY: fine\n// and more\n#[rustfmt::skip]\nlet x =\n    unsafe { g() };";
        assert!(check_reasons(&tree("hv/x86/src/a.rs", text)).is_empty());
    }

    #[test]
    fn an_unsafe_function_must_say_what_its_caller_owes() {
        assert_eq!(check_reasons(&tree("hv/x86/src/a.rs", "/// Does.\npub unsafe fn f() {}")).len(), 1);
        let good = "/// Does.\n///\n/// # Safety\n/// Owes.\npub unsafe extern \"C\" fn f() {}";
        assert!(check_reasons(&tree("hv/x86/src/a.rs", good)).is_empty());
    }

    #[test]
    fn a_traits_function_says_it_for_those_that_implement_it() {
        let text = "impl Lock for A {\n    fn lock(&self) {}\n\n    unsafe fn unlock(&self) {}\n}";
        assert!(check_reasons(&tree("hv/x86/src/a.rs", text)).is_empty());
        let own = text.replace(" Lock for", "");
        assert_eq!(check_reasons(&tree("hv/x86/src/a.rs", &own)).len(), 1);
    }

    #[test]
    fn attributes_types_and_foreign_declarations_are_no_uses() {
        assert_eq!(blocks("#[unsafe(no_mangle)]"), 0);
        assert_eq!(kind("unsafe extern \"C\" {"), None);
        assert_eq!(kind("let f: unsafe extern \"C\" fn() = g;"), None);
        assert_eq!(blocks("a(unsafe { x }, unsafe { y })"), 2);
    }
}
