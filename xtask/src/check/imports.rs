//! Which file of a crate imports which: paths that begin with `crate`, `super` or `self`, followed to the file that
//! declares what they name.

use std::collections::{BTreeMap, BTreeSet};

use super::fence::is_test;
use super::source::{Source, words};

/// A path from the crate's root: the names of modules, and of what they hold.
type Path = Vec<String>;

/// How often a name may be passed on before it is given up.
const MOST_STEPS: usize = 8;

/// The files of one crate and what each imports.
pub struct Imports<'a> {
    pub files: Vec<&'a Source>,
    /// By the index of a file, those of the others that it imports.
    pub of: Vec<BTreeSet<usize>>,
}

impl<'a> Imports<'a> {
    /// Reads the files below `src` of a crate, without its tests.
    #[must_use]
    pub fn read(sources: &'a [Source], src: &str) -> Self {
        let files: Vec<&Source> =
            sources.iter().filter(|source| source.lies_in(&[src]) && !is_test(&source.path)).collect();
        let modules: Vec<Path> = files.iter().map(|file| module(file, src)).collect();
        let texts: Vec<String> = files.iter().map(|file| without_tests(file)).collect();
        let index = Index {
            files: modules.iter().enumerate().map(|(at, module)| (module.as_slice(), at)).collect(),
            passed_on: texts.iter().zip(&modules).map(|(text, own)| passed_on(text, own)).collect(),
        };
        let of = texts.iter().zip(&modules).enumerate().map(|(at, (text, own))| {
            let named = paths(text, own);
            named.iter().filter_map(|path| index.find(path)).filter(|other| *other != at).collect()
        });
        Self { of: of.collect(), files }
    }
}

struct Index<'a> {
    files: BTreeMap<&'a [String], usize>,
    /// By the index of a file, the names that it imports, and what they stand for.
    passed_on: Vec<BTreeMap<String, Path>>,
}

impl Index<'_> {
    /// Returns the file that declares what a path names.
    fn find(&self, path: &Path) -> Option<usize> {
        let mut path = path.clone();
        for _ in 0..MOST_STEPS {
            let (depth, file) = (0..=path.len()).rev().find_map(|depth| {
                let file = self.files.get(path.get(..depth)?)?;
                Some((depth, *file))
            })?;
            let further = path.get(depth).and_then(|name| self.passed_on.get(file)?.get(name));
            match further {
                Some(further) => path = further.iter().chain(path.iter().skip(depth + 1)).cloned().collect(),
                None => return Some(file),
            }
        }
        None
    }
}

/// Returns the module that a file is.
fn module(file: &Source, src: &str) -> Path {
    let inside = file.path.strip_prefix(src).unwrap_or(&file.path).with_extension("");
    let mut names: Path = inside.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    if names.last().is_some_and(|last| matches!(last.as_str(), "mod" | "lib" | "main")) {
        names.pop();
    }
    names
}

/// Returns the code of a file in one piece, without what is compiled for tests.
fn without_tests(file: &Source) -> String {
    let mut text = String::new();
    let mut lines = file.lines.iter().map(|line| line.code.as_str());
    while let Some(line) = lines.next() {
        if !line.contains("cfg(test)") {
            text.push_str(line);
            text.push('\n');
            continue;
        }
        let what = lines.by_ref().find(|line| !line.trim().is_empty() && !line.trim().starts_with('#'));
        if what.is_some_and(|line| line.contains("mod ") && line.trim_end().ends_with('{')) {
            // The tests of a file stand at its end.
            break;
        }
    }
    text
}

/// Returns what a file names of its crate, from the crate's root.
fn paths(text: &str, own: &Path) -> Vec<Path> {
    let heads = ["crate", "super", "self"];
    let mut found = Vec::new();
    for head in heads {
        for (at, _) in text.match_indices(&format!("{head}::")) {
            let before = text.get(..at).unwrap_or_default();
            // Not within a longer path such as `super::super::`, nor in another crate's macro.
            if !before.ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | ':')) {
                found.extend(tree(text.get(at..).unwrap_or_default()).into_iter().map(|(path, _)| path));
            }
        }
    }
    found.iter().filter_map(|path| from_root(path, own)).collect()
}

/// Returns the names that a file's imports bring into it, and what they stand for.
fn passed_on(text: &str, own: &Path) -> BTreeMap<String, Path> {
    let mut names = BTreeMap::new();
    for (at, _) in text.match_indices("use ") {
        let before = text.get(..at).unwrap_or_default().trim_end_matches(' ');
        let begins = before.is_empty() || before.ends_with(['\n', ')', ';', '{', '}']) || before.ends_with("pub");
        if !begins {
            continue;
        }
        for (path, name) in tree(text.get(at + "use ".len()..).unwrap_or_default()) {
            let known = from_root(&path, own).unwrap_or_else(|| own.iter().chain(&path).cloned().collect());
            let own_name: Path = own.iter().cloned().chain([name.clone()]).collect();
            if known != own_name {
                names.insert(name, known);
            }
        }
    }
    names
}

/// Returns a path that begins with `crate`, `super` or `self`, from the crate's root.
fn from_root(path: &Path, own: &Path) -> Option<Path> {
    let ups = path.iter().take_while(|name| *name == "super").count();
    let rest = || path.iter().skip(ups.max(1)).cloned();
    match path.first()?.as_str() {
        "crate" => Some(rest().collect()),
        "self" => Some(own.iter().cloned().chain(rest()).collect()),
        "super" => Some(own.get(..own.len().checked_sub(ups)?)?.iter().cloned().chain(rest()).collect()),
        _ => None,
    }
}

/// Returns the paths that begin here, of a group in braces each, with the name under which it is known.
fn tree(text: &str) -> Vec<(Path, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    branch(&mut rest, &Path::new(), &mut found);
    found
}

fn branch(rest: &mut &str, stem: &Path, found: &mut Vec<(Path, String)>) {
    let mut path = stem.clone();
    loop {
        *rest = rest.trim_start();
        if let Some(group) = rest.strip_prefix('{') {
            *rest = group;
            elements(rest, &path, found);
            return;
        }
        let Some(name) = words(rest).next().filter(|name| rest.starts_with(name)) else { break };
        *rest = rest.get(name.len()..).unwrap_or_default();
        path.push(name.to_owned());
        match rest.strip_prefix("::") {
            Some(further) => *rest = further,
            None => break,
        }
    }
    // In a group, `self` is the module before it.
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let renamed = rest.strip_prefix(" as ").and_then(|rest| words(rest).next());
    if let Some(name) = renamed.map(str::to_owned).or_else(|| path.last().cloned()) {
        found.push((path, name));
    }
}

fn elements(rest: &mut &str, stem: &Path, found: &mut Vec<(Path, String)>) {
    loop {
        branch(rest, stem, found);
        let Some(end) = rest.find([',', '}']) else { return };
        let more = rest.get(end..).is_some_and(|rest| rest.starts_with(','));
        *rest = rest.get(end + 1..).unwrap_or_default();
        if !more {
            return;
        }
        if let Some(after) = rest.trim_start().strip_prefix('}') {
            *rest = after;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what the first file imports.
    fn imported(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        let imports = Imports::read(&sources, "src");
        imports.of[0].iter().map(|at| imports.files[*at].path.display().to_string()).collect()
    }

    const OTHERS: [(&str, &str); 4] =
        [("src/b/mod.rs", "mod d;\npub use d::Deep;"), ("src/b/c.rs", ""), ("src/b/d.rs", ""), ("src/e.rs", "")];

    fn of_a(text: &str) -> Vec<String> {
        imported(&[&[("src/a/x.rs", text)], &OTHERS[..]].concat())
    }

    #[test]
    fn groups_are_looked_into_at_any_depth() {
        let text = "use crate::{\n    b::{self, c::{One, Two}},\n    e::Three,\n};";
        assert_eq!(of_a(text), ["src/b/mod.rs", "src/b/c.rs", "src/e.rs"]);
        assert_eq!(of_a("use super::super::{b::c, e};"), ["src/b/c.rs", "src/e.rs"]);
    }

    #[test]
    fn a_path_in_code_counts_as_one_in_an_import() {
        assert_eq!(of_a("fn f() -> u8 { crate::b::c::make::<u8>() }"), ["src/b/c.rs"]);
    }

    #[test]
    fn a_name_that_is_passed_on_leads_to_the_file_that_declares_it() {
        assert_eq!(of_a("use crate::b::Deep;"), ["src/b/d.rs"]);
        assert_eq!(of_a("use crate::b::Own;"), ["src/b/mod.rs"]);
    }

    #[test]
    fn tests_comments_and_paths_of_others_do_not_count() {
        assert!(of_a("// crate::e\nuse other::e;\nlet x = $crate::e;\n").is_empty());
        assert!(of_a("#[cfg(test)]\nmod tests {\n    use crate::e::Three;\n}\n").is_empty());
        assert_eq!(of_a("#[cfg(test)]\nmod tests;\nuse crate::e::Three;\n"), ["src/e.rs"]);
    }
}
