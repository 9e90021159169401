//! Bodies of messages: strings, each ended by a NUL byte.

/// An iterator over the strings of a body.
///
/// Bytes after the last NUL byte are not a string; [`Strings::rest`] returns them.
#[derive(Clone, Debug)]
pub struct Strings<'a> {
    left: &'a [u8],
}

impl<'a> Strings<'a> {
    /// Starts at the beginning of `body`.
    #[must_use]
    pub const fn new(body: &'a [u8]) -> Self {
        Self { left: body }
    }

    /// Returns the bytes that have not been iterated over, NUL bytes included.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.left
    }

    /// Splits `body` into its strings; None if its last byte is not NUL.
    #[must_use]
    pub fn all(body: &'a [u8]) -> Option<Vec<&'a [u8]>> {
        let mut strings = Self::new(body);
        let all = strings.by_ref().collect();
        strings.left.is_empty().then_some(all)
    }

    /// Returns the only string of `body`; None if it has another form.
    #[must_use]
    pub fn only(body: &'a [u8]) -> Option<&'a [u8]> {
        let mut strings = Self::new(body);
        let only = strings.next()?;
        strings.left.is_empty().then_some(only)
    }
}

impl<'a> Iterator for Strings<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.left.iter().position(|&byte| byte == 0)?;
        let (string, after) = self.left.split_at_checked(end)?;
        self.left = after.get(1..).unwrap_or_default();
        Some(string)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_end_at_their_nul_and_the_rest_may_hold_any() {
        let mut strings = Strings::new(b"/a\0v\0w");
        assert_eq!(strings.next(), Some(&b"/a"[..]));
        assert_eq!(strings.rest(), b"v\0w");
        assert_eq!(strings.next(), Some(&b"v"[..]));
        assert_eq!(strings.next(), None);
        assert_eq!(strings.rest(), b"w");
    }

    #[test]
    fn a_body_that_is_not_ended_by_a_nul_has_no_list_of_strings() {
        assert_eq!(Strings::all(b"a\0\0"), Some(vec![&b"a"[..], b""]));
        assert_eq!(Strings::all(b"a\0b"), None);
        assert_eq!(Strings::only(b"a\0"), Some(&b"a"[..]));
        assert_eq!(Strings::only(b"a\0b\0"), None);
        assert_eq!(Strings::only(b""), None);
    }
}
