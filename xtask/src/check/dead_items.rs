//! `pub` items that nothing names. The compiler warns of dead code inside a crate, but takes whatever is `pub` for used.
//!
//! An item is dead where its name stands nowhere in the tree but where something of that name is declared, imported or
//! passed on. So an item is overlooked whose name another item shares that is used; none is reported that is used.

use std::collections::HashMap;

use super::source::{Line, Source, words};
use super::tree::Tree;

/// The public interface: a value of Xen's stands there whether or not somebody asks for it here.
const INTERFACE: &[&str] = &["abi"];

/// The words behind which a name is declared.
const KEYWORDS: &[&str] = &["fn", "struct", "enum", "union", "trait", "const", "static", "type"];

/// Returns every `pub` item that is dead.
#[must_use]
pub fn check(tree: &Tree) -> Vec<String> {
    let used = uses(&tree.sources);
    let judged = tree.sources.iter().filter(|source| !source.lies_in(INTERFACE));
    judged
        .flat_map(|source| {
            let public = source.lines.iter().enumerate().filter(|(_, line)| is_public(&line.code));
            public.filter_map(|(index, line)| Some((index, declared(&line.code).next()?))).filter_map(
                |(index, name)| {
                    let is_dead = !used.contains_key(name);
                    is_dead.then(|| format!("{}: nothing names {name}; delete it", source.place(index)))
                },
            )
        })
        .collect()
}

/// Returns how often each name is used: not counted are declarations, and what `use` brings in or passes on.
fn uses(sources: &[Source]) -> HashMap<&str, usize> {
    let mut used = HashMap::new();
    for source in sources {
        let mut in_import = false;
        for line in &source.lines {
            let names: Vec<&str> = if in_import || is_import(&line.code) {
                in_import = !line.code.contains(';');
                renamed(&line.code).collect()
            } else {
                let declared: Vec<&str> = declared(&line.code).collect();
                let mut left = declared.into_iter();
                let mut next = left.next();
                let others = words(&line.code).filter(|word| {
                    let is_declaration = next == Some(*word);
                    if is_declaration {
                        next = left.next();
                    }
                    !is_declaration
                });
                others.chain(formatted(line)).collect()
            };
            for name in names {
                *used.entry(name).or_default() += 1;
            }
        }
    }
    used
}

fn is_public(code: &str) -> bool {
    code.trim_start().starts_with("pub ")
}

fn is_import(code: &str) -> bool {
    let code = code.trim_start();
    let code = code.strip_prefix("pub").map_or(code, |rest| match rest.strip_prefix('(') {
        Some(restricted) => restricted.split_once(')').map_or(rest, |(_, rest)| rest).trim_start(),
        None => rest.trim_start(),
    });
    code.starts_with("use ")
}

/// Returns the names that a line of an import gives others to.
fn renamed(code: &str) -> impl Iterator<Item = &str> {
    let all: Vec<&str> = words(code).collect();
    let pairs: Vec<&str> = all.windows(2).filter(|pair| pair[1] == "as").map(|pair| pair[0]).collect();
    pairs.into_iter()
}

/// Returns the names that a line declares.
fn declared(code: &str) -> impl Iterator<Item = &str> {
    let mut rest = code;
    std::iter::from_fn(move || {
        loop {
            let at = rest.find(|c: char| c.is_alphanumeric() || c == '_')?;
            // `*const T` and `&'static T` declare nothing.
            let is_type = rest.get(..at)?.ends_with(['*', '\'']);
            let word = words(rest).next()?;
            rest = rest.get(at + word.len()..)?;
            let follows = rest.strip_prefix(' ').unwrap_or_default();
            let name = words(follows).next().filter(|name| follows.starts_with(name));
            match name {
                Some(name) if KEYWORDS.contains(&word) && !is_type && !is_modifier(name) => {
                    rest = follows.get(name.len()..)?;
                    return Some(name);
                }
                _ => {}
            }
        }
    })
}

/// Returns whether `word` may stand between `const` and the name of a function.
fn is_modifier(word: &str) -> bool {
    matches!(word, "fn" | "unsafe" | "extern" | "async" | "mut" | "_")
}

/// Returns the names in braces of a message.
fn formatted(line: &Line) -> impl Iterator<Item = &str> {
    line.text.split('{').skip(1).filter_map(|rest| words(rest).next())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(sources: &[(&str, &str)]) -> Vec<String> {
        let sources = sources.iter().map(|(path, text)| Source::new(path, text)).collect();
        check(&Tree { sources, ..Tree::default() })
    }

    #[test]
    fn an_item_that_nothing_names_is_found_whatever_it_is() {
        for item in [
            "pub fn lost() {}",
            "    pub const fn lost(&self) -> u8 { 0 }",
            "pub unsafe extern \"C\" fn lost() {}",
            "pub struct lost;",
            "pub enum lost {}",
            "pub const lost: u8 = 1;",
            "pub static lost: u8 = 1;",
            "pub type lost = u8;",
            "pub trait lost {}",
        ] {
            assert_eq!(found(&[("hv/a.rs", item)]), ["hv/a.rs:1: nothing names lost; delete it"], "{item}");
        }
    }

    #[test]
    fn one_that_another_crate_a_test_or_a_message_names_is_alive() {
        let item = ("hv/a.rs", "pub const KEPT: u8 = 1;");
        for user in ["let x = a::KEPT;", "assert!(KEPT == 1);", "println!(\"{KEPT:>3}\");"] {
            assert!(found(&[item, ("hv/b.rs", user)]).is_empty(), "{user}");
        }
    }

    #[test]
    fn passing_a_name_on_or_speaking_of_it_is_no_use() {
        let item = ("hv/a.rs", "pub const LOST: u8 = 1;");
        for other in ["pub use a::LOST;", "pub(crate) use a::{\n    LOST,\n};", "// LOST", "let s = \"LOST\";"] {
            assert_eq!(found(&[item, ("hv/b.rs", other)]).len(), 1, "{other}");
        }
    }

    #[test]
    fn a_name_under_which_it_is_imported_is_a_use() {
        assert!(found(&[("hv/a.rs", "pub fn make() {}"), ("hv/b.rs", "use a::make as build;")]).is_empty());
    }

    #[test]
    fn a_second_declaration_of_the_name_is_no_use_of_the_first() {
        let twice = [("hv/a.rs", "pub fn lost() {}"), ("hv/b.rs", "fn lost() {}")];
        assert_eq!(found(&twice).len(), 1);
        assert!(found(&[twice[0], ("hv/b.rs", "fn lost() { a::lost() }")]).is_empty());
    }

    #[test]
    fn pointers_and_lifetimes_name_types_and_declare_none() {
        for user in ["let p: *const Kept = 0;", "fn f(x: &'static Kept) {}"] {
            assert!(found(&[("hv/a.rs", "pub struct Kept;"), ("hv/b.rs", user)]).is_empty(), "{user}");
        }
    }

    #[test]
    fn values_of_the_public_interface_may_wait_for_their_use() {
        assert!(found(&[("abi/src/a.rs", "pub const XEN_LOST: u8 = 1;")]).is_empty());
    }
}
