//! A Rust file parted into what is code and what is comment, line by line, so that rules judge the right half.

use std::path::{Path, PathBuf};

/// One line. String contents are left out of the code, so a word in a message is no use of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub code: String,
    pub comment: String,
    /// What stands in strings.
    pub text: String,
}

impl Line {
    /// Returns whether code stands on it.
    #[must_use]
    pub fn has_code(&self) -> bool {
        !self.code.trim().is_empty()
    }

    /// Returns whether a comment, and no code, stands on it.
    #[must_use]
    pub fn is_comment(&self) -> bool {
        !self.has_code() && !self.comment.trim().is_empty()
    }

    /// Returns whether `word` stands in the code as a whole word.
    #[must_use]
    pub fn has_word(&self, word: &str) -> bool {
        words(&self.code).any(|found| found == word)
    }
}

/// Returns the words of a piece of code.
pub fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// One Rust file of the tree.
#[derive(Clone, Debug)]
pub struct Source {
    /// From the root of the tree.
    pub path: PathBuf,
    pub lines: Vec<Line>,
}

impl Source {
    /// Parts `text`.
    #[must_use]
    pub fn new(path: impl AsRef<Path>, text: &str) -> Self {
        Self { path: path.as_ref().to_path_buf(), lines: part(text) }
    }

    /// Returns true for a file below one of these directories.
    #[must_use]
    pub fn lies_in(&self, directories: &[&str]) -> bool {
        directories.iter().any(|directory| self.path.starts_with(directory))
    }

    /// Returns "path:line", counted from 1, for the line with this index.
    #[must_use]
    pub fn place(&self, index: usize) -> String {
        format!("{}:{}", self.path.display(), index.saturating_add(1))
    }
}

enum State {
    Code,
    LineComment,
    /// With its depth.
    BlockComment(usize),
    Text,
    /// With the number of hashes that close it.
    RawText(usize),
}

fn part(text: &str) -> Vec<Line> {
    let mut lines = vec![Line::default()];
    let mut state = State::Code;
    let characters: Vec<char> = text.chars().collect();
    let mut at = 0;
    while let Some(&c) = characters.get(at) {
        let next = characters.get(at + 1).copied();
        if c == '\n' {
            if matches!(state, State::LineComment) {
                state = State::Code;
            }
            lines.push(Line::default());
            at += 1;
            continue;
        }
        let Some(line) = lines.last_mut() else { break };
        let mut taken = 1;
        match state {
            State::Code => match (c, next) {
                ('/', Some('/')) => (state, taken) = (State::LineComment, 2),
                ('/', Some('*')) => (state, taken) = (State::BlockComment(1), 2),
                ('"', _) => {
                    line.code.push('"');
                    state = State::Text;
                }
                ('r', Some('"' | '#')) if !ends_in_word(&line.code) => {
                    let hashes = characters.iter().skip(at + 1).take_while(|&&c| c == '#').count();
                    if characters.get(at + 1 + hashes) == Some(&'"') {
                        line.code.push('"');
                        (state, taken) = (State::RawText(hashes), hashes + 2);
                    } else {
                        line.code.push(c);
                    }
                }
                ('\'', _) => {
                    line.code.push('\'');
                    taken = character_literal(characters.get(at..).unwrap_or_default());
                }
                _ => line.code.push(c),
            },
            State::LineComment => line.comment.push(c),
            State::BlockComment(depth) => match (c, next) {
                ('*', Some('/')) if depth == 1 => (state, taken) = (State::Code, 2),
                ('*', Some('/')) => (state, taken) = (State::BlockComment(depth - 1), 2),
                ('/', Some('*')) => (state, taken) = (State::BlockComment(depth + 1), 2),
                _ => line.comment.push(c),
            },
            State::Text => match c {
                '\\' if next != Some('\n') => taken = 2,
                '"' => {
                    line.code.push('"');
                    state = State::Code;
                }
                _ => line.text.push(c),
            },
            State::RawText(hashes) => {
                let closing = characters.iter().skip(at + 1).take_while(|&&c| c == '#').count();
                if c == '"' && closing >= hashes {
                    line.code.push('"');
                    (state, taken) = (State::Code, hashes + 1);
                } else {
                    line.text.push(c);
                }
            }
        }
        at += taken;
    }
    lines
}

/// Returns whether the code ends in a word: a raw string's `r` must not be the end of a name such as `for`; a byte
/// string's `br` is fine.
fn ends_in_word(code: &str) -> bool {
    let word: String = code.chars().rev().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    !word.is_empty() && word != "b" && word != "c"
}

/// Returns how many characters a character literal takes; 1 for a lifetime's apostrophe.
fn character_literal(rest: &[char]) -> usize {
    match rest {
        [_, '\\', _, tail @ ..] => {
            let until = tail.iter().take(10).position(|&c| c == '\'');
            until.map_or(1, |until| until + 4)
        }
        [_, _, '\'', ..] => 3,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Vec<String> {
        part(text).into_iter().map(|line| line.code).collect()
    }

    #[test]
    fn comments_and_strings_are_not_code() {
        assert_eq!(code("a // unsafe\n/* b\n/* */ c */d"), ["a ", "", "d"]);
        assert_eq!(code("f(\"unsafe \\\" // x\") // y"), ["f(\"\") "]);
        assert_eq!(code("r#\"unsafe \" \"# + br\"x\""), ["\"\" + b\"\""]);
    }

    #[test]
    fn character_literals_do_not_open_strings_and_lifetimes_are_left_alone() {
        assert_eq!(code("'\"' 'a' &'a str '\\'' '\\u{7f}' x"), ["' ' &'a str ' ' x"]);
    }

    #[test]
    fn what_strings_say_is_kept_apart() {
        let line = part("f(\"a {b}\", r#\"c \" d\"#) // e").remove(0);
        assert_eq!((line.code.as_str(), line.text.as_str()), ("f(\"\", \"\") ", "a {b}c \" d"));
    }

    #[test]
    fn a_name_that_ends_in_r_before_a_string_opens_no_raw_string() {
        assert_eq!(code("for\"a\\\"b\"c"), ["for\"\"c"]);
    }

    #[test]
    fn words_are_whole_words() {
        let line = Line { code: "not_unsafe(unsafely)".into(), ..Line::default() };
        assert!(!line.has_word("unsafe"));
        assert!(Line { code: "x(unsafe{y})".into(), ..Line::default() }.has_word("unsafe"));
    }
}
