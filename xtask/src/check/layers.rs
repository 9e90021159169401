//! Which folder of a crate may name which: each only folders that stand below it.

use std::iter::Peekable;
use std::path::Path;

use super::source::Source;
use super::tree::Tree;

/// A crate's `src/` or a folder in it, and what lies there from the lowest up. The folders of one row do not name
/// each other.
type Layers = (&'static str, &'static [&'static [&'static str]]);

const CORE: Layers = (
    "hv/core/src",
    &[
        &["budget", "outcome", "settings"],
        &["memory"],
        &["components"],
        &["domains"],
        &["lifecycle"],
        &["x86"],
        &["hypercalls"],
        &["dom0", "run"],
    ],
);

const X86: Layers = ("hv/x86/src", &[&["plain"], &["guest"], &["bare"]]);
const X86_GUEST: Layers =
    ("hv/x86/src/guest", &[&["frame_access"], &["frame_pool"], &["amd_vi"], &["nested"], &["svm"]]);
const X86_BARE: Layers = (
    "hv/x86/src/bare",
    &[
        &["base"],
        &["console"],
        &["memory"],
        &["interrupts"],
        &["svm"],
        &["crash"],
        &["platform"],
        &["machine"],
        &["boot"],
    ],
);

/// All that is held.
const HELD: &[Layers] = &[CORE, X86, X86_GUEST, X86_BARE];

/// Macros that a crate has at its root, and where they are written.
const MACROS: &[(&str, &[&str])] = &[("log!", &["bare", "console"]), ("print!", &["bare", "console"])];

/// Finds each import of a folder beside or above the importing file's own, and each file that no row names.
#[must_use]
pub fn check(tree: &Tree) -> Vec<String> {
    check_sources(&tree.sources)
}

fn check_sources(sources: &[Source]) -> Vec<String> {
    let of_folder = |layers: &Layers| {
        let inside = sources.iter().filter(|source| source.lies_in(&[layers.0]));
        inside.flat_map(|source| check_source(source, layers)).collect::<Vec<_>>()
    };
    HELD.iter().flat_map(of_folder).collect()
}

fn check_source(source: &Source, (root, rows): &Layers) -> Vec<String> {
    let (folder, file) = (module(Path::new(root)), module(&source.path));
    let Some(own) = file.get(folder.len()) else { return vec![] };
    let row_of = |name: &str| rows.iter().position(|row| row.contains(&name));
    let Some(row) = row_of(own) else { return vec![format!("{}: no layer holds it", source.path.display())] };
    let is_wrong = |named: &Named| {
        let name = named.path.strip_prefix(folder.as_slice()).and_then(<[_]>::first)?;
        let known = row_of(name);
        let up = known.is_some_and(|other| other >= row) || (known.is_none() && !named.relative);
        (name != own && up).then(|| format!("{}: {own} must not name {name}", source.place(named.line)))
    };
    let mut found: Vec<_> = named(source, &file).iter().filter_map(is_wrong).collect();
    found.dedup();
    found
}

/// Returns the path of a file's module, or of a folder's, from the root of its crate.
fn module(path: &Path) -> Vec<String> {
    let parts = path.iter().map(|part| part.to_string_lossy().trim_end_matches(".rs").to_owned());
    parts.skip_while(|part| part != "src").skip(1).filter(|part| part != "mod" && part != "lib").collect()
}

/// A path that stands in a source.
struct Named {
    /// The index of the line on which it begins.
    line: usize,
    /// From the root of the crate.
    path: Vec<String>,
    /// It began with `super`, which in a module inside a file leads elsewhere than it is taken to.
    relative: bool,
}

/// Returns what stands behind each `crate::` and `super::`: of a group in braces every element.
fn named(source: &Source, file: &[String]) -> Vec<Named> {
    let mut found = Vec::new();
    for (line, text) in source.lines.iter().enumerate() {
        for start in ["crate::", "super::"] {
            for (at, _) in text.code.match_indices(start) {
                let before = text.code.get(..at).unwrap_or_default().chars().next_back();
                if before.is_some_and(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | ':')) {
                    continue;
                }
                let rest = text.code.get(at..).unwrap_or_default();
                let later = source.lines.get(line + 1..).unwrap_or_default().iter().map(|line| line.code.as_str());
                let code = std::iter::once(rest).chain(later).flat_map(|line| line.chars().chain([' ']));
                let mut paths = Vec::new();
                read_paths(&mut code.peekable(), &[], &mut paths);
                let relative = start == "super::";
                found.extend(paths.into_iter().map(|path| Named { line, path: from_root(path, file), relative }));
            }
        }
    }
    found
}

/// Reads one path, or for a group each path in it, behind `before`.
fn read_paths(code: &mut Peekable<impl Iterator<Item = char>>, before: &[String], found: &mut Vec<Vec<String>>) {
    let mut path = before.to_vec();
    loop {
        while code.next_if(|c| c.is_whitespace()).is_some() {}
        if code.next_if_eq(&'{').is_some() {
            read_group(code, &path, found);
            return;
        }
        let mut name = String::new();
        while let Some(c) = code.next_if(|c| c.is_alphanumeric() || *c == '_') {
            name.push(c);
        }
        name.extend(code.next_if_eq(&'!'));
        if !name.is_empty() {
            path.push(name);
        }
        if code.next_if_eq(&':').is_none() || code.next_if_eq(&':').is_none() {
            found.push(path);
            return;
        }
    }
}

/// Reads the elements of a group whose opening brace was read.
fn read_group(code: &mut Peekable<impl Iterator<Item = char>>, before: &[String], found: &mut Vec<Vec<String>>) {
    loop {
        read_paths(code, before, found);
        // What is left of the element is another name for it, or a star.
        match code.find(|c| matches!(c, ',' | '}')) {
            Some(',') => {}
            _ => return,
        }
    }
}

/// Turns a path that begins with `crate` or `super` into one from the crate's root; a macro is where it is written.
fn from_root(path: Vec<String>, file: &[String]) -> Vec<String> {
    let ups = path.iter().take_while(|name| *name == "super").count();
    let start = file.get(..file.len().saturating_sub(ups)).unwrap_or_default();
    let names = path.into_iter().skip(ups.max(1));
    let path: Vec<String> = if ups == 0 { names.collect() } else { start.iter().cloned().chain(names).collect() };
    match MACROS.iter().find(|(name, _)| path.first().is_some_and(|first| first == name)) {
        Some((_, home)) => home.iter().map(|&part| part.to_owned()).collect(),
        None => path,
    }
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
        assert!(found("hv/hal/src/a.rs", "use crate::b;").is_empty());
        assert_eq!(found("hv/x86/src/bare/misc.rs", "").len(), 1);
        assert!(found("hv/x86/src/bare/mod.rs", "pub use machine::X86Machine;").is_empty());
    }

    #[test]
    fn names_in_comments_and_macros_of_others_are_passed_over() {
        assert!(found("hv/core/src/memory/a.rs", "//! See crate::run.\nlet _ = $crate::run;").is_empty());
    }

    #[test]
    fn a_folder_inside_a_crate_has_layers_of_its_own() {
        let crash = |text| found("hv/x86/src/bare/crash/mod.rs", text);
        assert!(crash("use crate::bare::{console, interrupts::calls};\nuse crate::guest::svm;").is_empty());
        assert_eq!(
            crash("use crate::bare::platform::keys;"),
            ["hv/x86/src/bare/crash/mod.rs:1: crash must not name platform"]
        );
        assert_eq!(crash("use crate::{\n    plain::layout,\n    bare::{console, boot::{self, start}},\n};").len(), 1);
        assert_eq!(found("hv/x86/src/guest/svm/vcpu/mod.rs", "use crate::bare::base::clock;").len(), 1);
        assert_eq!(found("hv/x86/src/guest/nested/tables.rs", "use crate::guest::svm::Vmcb;").len(), 1);
    }

    #[test]
    fn the_way_by_super_is_no_way_around() {
        assert_eq!(found("hv/x86/src/bare/memory/ram.rs", "use super::super::boot::Booted;").len(), 1);
        assert_eq!(found("hv/core/src/memory/mod.rs", "use super::domains::{table, vcpu};").len(), 1);
        assert!(found("hv/x86/src/bare/memory/heap.rs", "use super::ram;").is_empty());
    }

    #[test]
    fn a_macro_counts_as_where_it_is_written() {
        assert!(found("hv/x86/src/bare/memory/ram.rs", "crate::log!(Info, \"a\");").is_empty());
        assert_eq!(found("hv/x86/src/bare/base/clock.rs", "crate::print!(\"a\");").len(), 1);
        assert_eq!(found("hv/x86/src/guest/svm/vcpu/mod.rs", "crate::print!(\"a\");").len(), 1);
    }
}
