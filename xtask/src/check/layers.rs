//! Which folder of a crate may name which: each only those that stand below it.

use super::source::Source;
use super::tree::Tree;

/// A crate's `src/`, and its folders and files from the lowest up. Those of one row do not name each other.
type Layers = (&'static str, &'static [&'static [&'static str]]);

const CORE: Layers = (
    "hv/core/src",
    &[
        &["outcome", "settings"],
        &["memory"],
        &["components"],
        &["domains"],
        &["lifecycle"],
        &["x86"],
        &["hypercalls"],
        &["dom0", "run"],
    ],
);

/// Every crate that is held.
const CRATES: &[Layers] = &[CORE];

/// Finds each import of a folder beside or above the importing file's own, and each file that no row names.
#[must_use]
pub fn check(tree: &Tree) -> Vec<String> {
    check_sources(&tree.sources)
}

fn check_sources(sources: &[Source]) -> Vec<String> {
    let of_crate = |&(root, rows): &Layers| {
        let inside = sources.iter().filter(move |source| source.lies_in(&[root]));
        inside.flat_map(move |source| check_source(source, root, rows)).collect::<Vec<_>>()
    };
    CRATES.iter().flat_map(of_crate).collect()
}

fn check_source(source: &Source, root: &str, rows: &[&[&str]]) -> Vec<String> {
    let inside = source.path.strip_prefix(root).unwrap_or(&source.path);
    let own = inside.iter().next().map(|part| part.to_string_lossy().trim_end_matches(".rs").to_owned());
    let Some(own) = own.filter(|own| own != "lib") else { return vec![] };
    let row_of = |name: &str| rows.iter().position(|row| row.contains(&name));
    let Some(row) = row_of(&own) else { return vec![format!("{}: no layer holds it", source.path.display())] };
    named(source)
        .into_iter()
        .filter(|(_, name)| *name != own && row_of(name).is_none_or(|other| other >= row))
        .map(|(index, name)| format!("{}: {own} must not name {name}", source.place(index)))
        .collect()
}

/// What stands behind each `crate::`, with its line: of a group in braces every first name.
fn named(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (index, line) in source.lines.iter().enumerate() {
        for (at, _) in line.code.match_indices("crate::") {
            let before = line.code.get(..at).unwrap_or_default().chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                continue;
            }
            let rest = line.code.get(at + "crate::".len()..).unwrap_or_default();
            match rest.strip_prefix('{') {
                None => found.extend(first_name(rest).map(|name| (index, name))),
                Some(group) => {
                    let later = source.lines.get(index + 1..).unwrap_or_default().iter().map(|line| line.code.as_str());
                    found
                        .extend(group_names(std::iter::once(group).chain(later)).into_iter().map(|name| (index, name)));
                }
            }
        }
    }
    found
}

fn first_name(code: &str) -> Option<String> {
    let name: String = code.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The first name of each element of a group whose opening brace was read.
fn group_names<'a>(code: impl Iterator<Item = &'a str>) -> Vec<String> {
    let (mut names, mut depth, mut element) = (Vec::new(), 0_u32, String::new());
    for c in code.flat_map(|line| line.chars().chain(std::iter::once(' '))) {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.extend(first_name(element.trim()));
                return names;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.extend(first_name(element.trim()));
                element.clear();
                continue;
            }
            _ => {}
        }
        element.push(c);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check_sources(&[Source::new(path, text)])
    }

    #[test]
    fn a_layer_names_those_below_it_alone() {
        assert!(
            found("hv/core/src/lifecycle/time.rs", "use crate::domains::vcpu::Vcpu;\nuse crate::memory;").is_empty()
        );
        assert_eq!(found("hv/core/src/components/slot.rs", "use crate::domains::vcpu::Vcpu;").len(), 1);
        assert_eq!(found("hv/core/src/dom0/mod.rs", "fn f() { crate::run::run() }").len(), 1);
    }

    #[test]
    fn groups_are_looked_into() {
        let group = "use crate::{\n    memory::{a, b},\n    hypercalls::Call,\n    components,\n};";
        assert_eq!(
            found("hv/core/src/lifecycle/time.rs", group),
            ["hv/core/src/lifecycle/time.rs:1: lifecycle must not name hypercalls"]
        );
    }

    #[test]
    fn a_folder_that_no_row_names_is_refused() {
        assert_eq!(found("hv/core/src/misc/a.rs", "").len(), 1);
        assert!(found("hv/core/src/lib.rs", "pub mod memory;").is_empty());
        assert!(found("hv/x86/src/a.rs", "use crate::b;").is_empty());
    }

    #[test]
    fn names_in_comments_and_macros_of_others_are_passed_over() {
        assert!(found("hv/core/src/memory/a.rs", "//! See crate::run.\nlet _ = $crate::run;").is_empty());
    }
}
