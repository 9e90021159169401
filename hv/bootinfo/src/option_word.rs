//! One word of the command line, and one of a list behind it.

use crate::option_values::parse_boolean;

/// Why an option, or a word of its list, was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no such name.
    Unknown,
    /// The value makes no sense. What may stand there.
    BadValue(&'static str),
    /// Xen has it, and this build does not.
    NotBuilt,
}

const BOOLEAN: &str = "a boolean (yes, no, on, off, 1, 0)";

/// A name, and what stands behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word<'a> {
    pub name: &'a str,
    pub value: Option<&'a str>,
    /// It was written `no-name`.
    pub negated: bool,
}

impl<'a> Word<'a> {
    pub fn new(text: &'a str) -> Self {
        Self::split(text, '=')
    }

    /// Splits a word into its name and the value behind `sign`.
    pub fn split(text: &'a str, sign: char) -> Self {
        let (name, value) = match text.split_once(sign) {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        match name.strip_prefix("no-") {
            Some(name) if value.is_none() => Self { name, value, negated: true },
            _ => Self { name, value, negated: false },
        }
    }

    /// Reads the value as a boolean: none at all means yes.
    pub fn boolean(self) -> Result<bool, Refusal> {
        match self.value {
            _ if self.negated => Ok(false),
            None => Ok(true),
            Some(value) => parse_boolean(value).ok_or(Refusal::BadValue(BOOLEAN)),
        }
    }

    /// Reads the value by `read`, or refuses it and says what is `allowed`.
    pub fn value<T>(self, allowed: &'static str, read: impl FnOnce(&'a str) -> Option<T>) -> Result<T, Refusal> {
        match self.value {
            Some(value) if !self.negated => read(value).ok_or(Refusal::BadValue(allowed)),
            _ => Err(Refusal::BadValue(allowed)),
        }
    }

    /// Accepts a boolean that asks for `state`, which this build always has, and refuses the other as not built.
    pub fn must_be(self, state: bool) -> Result<(), Refusal> {
        if self.boolean()? == state { Ok(()) } else { Err(Refusal::NotBuilt) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_negates_only_where_no_value_follows() {
        assert_eq!(Word::new("no-smep"), Word { name: "smep", value: None, negated: true });
        assert_eq!(Word::new("no-smep=1"), Word { name: "no-smep", value: Some("1"), negated: false });
        assert_eq!(Word::split("max-ver:2", ':'), Word { name: "max-ver", value: Some("2"), negated: false });
    }

    #[test]
    fn asking_for_what_is_so_anyway_is_no_fault() {
        assert_eq!(Word::new("no-intremap").must_be(false), Ok(()));
        assert_eq!(Word::new("intremap=off").must_be(false), Ok(()));
        assert_eq!(Word::new("intremap").must_be(false), Err(Refusal::NotBuilt));
    }
}
