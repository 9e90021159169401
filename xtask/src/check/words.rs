//! Words that may not stand in the tree: unfinished work, tests that do not run, the names of drawers.

use super::source::Source;
use super::tree::Tree;

/// In code: a piece of text, and why it may not stand there.
const IN_CODE: &[(&str, &str)] = &[
    ("todo!(", "unfinished"),
    ("unimplemented!(", "unfinished"),
    ("#[ignore", "a test that does not run"),
    ("#![feature", "stable Rust only"),
    ("dbg!(", "left from a hunt"),
];

/// In comments.
const IN_COMMENTS: &[&str] = &["TODO", "FIXME", "XXX", "HACK"];

/// Files that hold one concept are named after it; these names hold anything.
const DRAWERS: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc"];

/// Returns every such word and name.
#[must_use]
pub fn check(tree: &Tree) -> Vec<String> {
    // The rule's own file spells what it looks for.
    let judged = tree.sources.iter().filter(|source| !source.path.ends_with("check/words.rs"));
    judged.flat_map(|source| words_in(source).chain(drawer(source)).collect::<Vec<_>>()).collect()
}

fn words_in(source: &Source) -> impl Iterator<Item = String> {
    source.lines.iter().enumerate().flat_map(move |(index, line)| {
        let code = line.code.replace(' ', "");
        let in_code = IN_CODE
            .iter()
            .filter(move |(text, _)| code.contains(text))
            .map(move |(text, why)| format!("{}: {text} ({why})", source.place(index)));
        let in_comments = IN_COMMENTS
            .iter()
            .filter(|word| super::source::words(&line.comment).any(|found| found == **word))
            .map(move |word| format!("{}: {word} in a comment", source.place(index)));
        in_code.chain(in_comments)
    })
}

fn drawer(source: &Source) -> Option<String> {
    let stem = source.path.file_stem()?.to_string_lossy();
    let named_so = DRAWERS.contains(&stem.as_ref())
        || source.path.components().any(|part| DRAWERS.iter().any(|drawer| part.as_os_str() == *drawer));
    named_so.then(|| format!("{}: a file is named after the concept it holds", source.path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Tree { members: vec![], sources: vec![Source::new(path, text)] })
    }

    #[test]
    fn unfinished_work_is_found_in_code_and_comments() {
        assert_eq!(found("a.rs", "fn f() { todo!() }").len(), 1);
        assert_eq!(found("a.rs", "// FIXME later").len(), 1);
        assert!(found("a.rs", "let s = \"FIXME todo!()\";").is_empty());
    }

    #[test]
    fn a_test_that_is_ignored_is_found() {
        assert_eq!(found("a.rs", "#[test]\n#[ignore = \"slow\"]\nfn t() {}").len(), 1);
    }

    #[test]
    fn drawers_are_found_as_files_and_as_directories() {
        assert_eq!(found("hv/core/src/util.rs", "").len(), 1);
        assert_eq!(found("hv/core/src/common/mod.rs", "").len(), 1);
        assert!(found("hv/core/src/utility_bill.rs", "").is_empty());
    }
}
