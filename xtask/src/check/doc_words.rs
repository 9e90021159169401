//! Words of docs: phrases that `docs/style.md` forbids, and docs that say nothing.

use super::source::{Line, Source};
use super::tree::Tree;

/// The directories whose docs follow the style guide: all that hold our sources.
const HELD: &[&str] = &["abi", "fuzz", "guest", "hv", "sched-sim", "tests", "tools", "xtask/src"];

/// A phrase, and the rule of the style guide that it breaks.
const PHRASES: &[(&str, &str)] = &[
    ("those that", "plain-people"),
    ("those who", "plain-people"),
    ("those which", "plain-people"),
    ("whoever", "plain-people"),
    ("so many", "plain-amounts"),
    ("at the least", "plain-amounts"),
    ("at the wish", "usual-order"),
    ("be it", "usual-order"),
];

/// Docs that say nothing.
const EMPTY: &[&str] = &["This.", "That.", "It.", "Does this.", "Does that.", "The same."];

/// Finds each doc of the held directories that breaks one of these rules.
#[must_use]
pub fn check(tree: &Tree) -> Vec<String> {
    tree.sources.iter().filter(|source| source.lies_in(HELD)).flat_map(check_source).collect()
}

fn check_source(source: &Source) -> Vec<String> {
    docs(source).into_iter().flat_map(|(index, doc)| judge(&source.place(index), &doc)).collect()
}

fn judge(place: &str, doc: &str) -> Vec<String> {
    let words: Vec<String> = doc.split_whitespace().map(|word| word.to_lowercase()).collect();
    // A phrase is whole words: "be item" holds no "be it".
    let spaced = format!(" {} ", words.join(" ").replace([',', ';', ':', '.'], " "));
    let mut found: Vec<String> = PHRASES
        .iter()
        .filter(|(phrase, _)| spaced.contains(&format!(" {phrase} ")))
        .map(|(phrase, rule)| format!("{place}: \"{phrase}\" in a doc (docs/style.md: {rule})"))
        .collect();
    if EMPTY.contains(&doc.trim()) {
        found.push(format!("{place}: a doc that says nothing (docs/style.md: says-something)"));
    }
    found
}

/// Returns each doc as one text, with the index of its first line.
fn docs(source: &Source) -> Vec<(usize, String)> {
    let mut docs: Vec<(usize, String)> = Vec::new();
    let mut before: Option<char> = None;
    for (index, line) in source.lines.iter().enumerate() {
        let kind = kind(line);
        let Some(mark) = kind else {
            before = None;
            continue;
        };
        let text = line.comment.get(1..).unwrap_or_default();
        match docs.last_mut().filter(|_| before == Some(mark)) {
            Some((_, doc)) => {
                doc.push(' ');
                doc.push_str(text.trim());
            }
            None => docs.push((index, text.trim().to_owned())),
        }
        before = kind;
    }
    docs
}

/// Returns the character that makes a comment a doc, of an item or of what surrounds it; none for other lines.
fn kind(line: &Line) -> Option<char> {
    if line.has_code() || line.comment.starts_with("//") {
        return None;
    }
    line.comment.chars().next().filter(|mark| matches!(mark, '/' | '!'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        check_source(&Source::new("hv/core/src/a.rs", text))
    }

    #[test]
    fn forbidden_phrases_are_found_across_lines_and_named_by_their_rule() {
        assert_eq!(
            found("/// Wakes those\n/// that wait.\nfn wake() {}"),
            ["hv/core/src/a.rs:1: \"those that\" in a doc (docs/style.md: plain-people)"]
        );
        assert_eq!(found("//! For whoever reads it.").len(), 1);
        assert_eq!(found("/// So many, and no more.").len(), 1);
    }

    #[test]
    fn docs_that_say_nothing_are_found() {
        assert_eq!(found("/// This.\nconst A: u8 = 0;").len(), 1);
        assert_eq!(found("/// The same.\n///\n/// **Errors:** none.\nfn f() {}"), Vec::<String>::new());
    }

    #[test]
    fn other_comments_code_and_longer_words_are_left_alone() {
        assert!(found("// whoever reads this\nlet a = \"whoever\";").is_empty());
        assert!(found("//// whoever").is_empty());
        assert!(found("/// The number must be items.\nfn f() {}").is_empty());
        assert!(found("/// Ends with those\nfn f() {}\n/// that begin here.\nfn g() {}").is_empty());
    }

    #[test]
    fn sources_of_others_are_left_alone() {
        let sources = ["hv/core/src/a.rs", "elsewhere/src/a.rs"].map(|path| Source::new(path, "/// For whoever."));
        assert_eq!(check(&Tree { sources: sources.into(), ..Tree::default() }).len(), 1);
    }
}
