//! Paths of nodes.

use std::fmt;
use std::sync::Arc;

use xen_abi::io::xenstore as wire;

/// Length of the longest absolute path in bytes.
pub const ABSOLUTE_MAX: usize = wire::XENSTORE_ABS_PATH_MAX;
/// Length of the longest relative path in bytes.
pub const RELATIVE_MAX: usize = wire::XENSTORE_REL_PATH_MAX;

/// Why bytes are not a valid path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPath {
    /// It is longer than the limit.
    TooLong,
    /// It is empty, ends in a slash, or has two slashes in a row.
    Shape,
    /// It has a byte that is not allowed in a path.
    Character(u8),
}

impl fmt::Display for BadPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(
                formatter,
                "the path is longer than {ABSOLUTE_MAX} bytes, or {RELATIVE_MAX} where it is relative"
            ),
            Self::Shape => formatter.write_str("the path is empty, or has an empty part"),
            Self::Character(byte) => {
                write!(formatter, "the path holds {:?}; letters, digits and - / _ @ are allowed", char::from(*byte))
            }
        }
    }
}

impl std::error::Error for BadPath {}

/// A valid absolute path: `/` or `/part/part`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath(Arc<str>);

impl StorePath {
    /// Returns the path of the root, `/`.
    #[must_use]
    pub fn root() -> Self {
        Self("/".into())
    }

    /// Returns the home directory of a domain, to which its relative paths are relative.
    #[must_use]
    pub fn of_domain(domain: u16) -> Self {
        Self(format!("/local/domain/{domain}").into())
    }

    /// Validates an absolute path.
    ///
    /// **Errors:** [`BadPath`]; [`BadPath::Shape`] also if it does not start with a slash.
    pub fn absolute(path: &[u8]) -> Result<Self, BadPath> {
        if path.len() > ABSOLUTE_MAX {
            return Err(BadPath::TooLong);
        }
        if path == b"/" {
            return Ok(Self::root());
        }
        let parts = path.strip_prefix(b"/").ok_or(BadPath::Shape)?;
        if let Some(&bad) = parts.iter().find(|&&byte| !may_stand(byte)) {
            return Err(BadPath::Character(bad));
        }
        if parts.split(|&byte| byte == b'/').any(<[u8]>::is_empty) {
            return Err(BadPath::Shape);
        }
        Ok(Self(String::from_utf8_lossy(path).into()))
    }

    /// Validates a path that a domain sent: absolute, or relative to the domain's home directory.
    ///
    /// **Errors:** [`BadPath`].
    pub fn sent_by(domain: u16, path: &[u8]) -> Result<Self, BadPath> {
        if path.starts_with(b"/") {
            return Self::absolute(path);
        }
        if path.len() > RELATIVE_MAX {
            return Err(BadPath::TooLong);
        }
        if path.is_empty() {
            return Err(BadPath::Shape);
        }
        Self::absolute(&[Self::of_domain(domain).as_bytes(), b"/", path].concat())
    }

    /// Returns the path as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Iterates over its parts, starting at the root.
    pub fn parts(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// Returns the path of the parent; None for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let (parent, name) = self.0.rsplit_once('/')?;
        match (parent, name) {
            ("", "") => None,
            ("", _) => Some(Self::root()),
            _ => Some(Self(parent.into())),
        }
    }

    /// Returns its last part; empty for the root.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(_, name)| name)
    }

    /// Returns the path of a child.
    ///
    /// **Errors:** [`BadPath`] if `name` is not a single valid part or the path becomes too long.
    pub fn child(&self, name: &str) -> Result<Self, BadPath> {
        if name.is_empty() || name.contains('/') {
            return Err(BadPath::Shape);
        }
        self.join(name)
    }

    /// Appends the relative path `below`.
    ///
    /// **Errors:** [`BadPath`] if `below` is not valid or the path becomes too long.
    pub fn join(&self, below: &str) -> Result<Self, BadPath> {
        let base = self.0.strip_suffix('/').unwrap_or(&self.0);
        Self::absolute(format!("{base}/{below}").as_bytes())
    }

    /// Returns whether the path is `above` or a descendant of it.
    #[must_use]
    pub fn lies_in(&self, above: &Self) -> bool {
        &*above.0 == "/" || self.0.strip_prefix(&*above.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::str::FromStr for StorePath {
    type Err = BadPath;

    fn from_str(path: &str) -> Result<Self, BadPath> {
        Self::absolute(path.as_bytes())
    }
}

/// Returns whether a byte is allowed in a path.
const fn may_stand(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'_' | b'@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_break_a_rule_are_refused_by_name() {
        assert_eq!(StorePath::absolute(b""), Err(BadPath::Shape));
        assert_eq!(StorePath::absolute(b"a"), Err(BadPath::Shape));
        assert_eq!(StorePath::absolute(b"/a/"), Err(BadPath::Shape));
        assert_eq!(StorePath::absolute(b"//a"), Err(BadPath::Shape));
        assert_eq!(StorePath::absolute(b"/a*"), Err(BadPath::Character(b'*')));
        assert_eq!(StorePath::absolute(&[b"/".as_slice(), &[b'a'; 3072]].concat()), Err(BadPath::TooLong));
        assert!(StorePath::absolute(&[b"/".as_slice(), &[b'a'; 3071]].concat()).is_ok());
    }

    #[test]
    fn a_relative_path_lies_in_the_senders_directory() {
        assert_eq!(StorePath::sent_by(3, b"x/y").unwrap().as_str(), "/local/domain/3/x/y");
        assert_eq!(StorePath::sent_by(3, b"/x").unwrap().as_str(), "/x");
        assert_eq!(StorePath::sent_by(3, &[b'a'; 2049]), Err(BadPath::TooLong));
        assert!(StorePath::sent_by(3, &[b'a'; 2048]).is_ok());
    }

    #[test]
    fn parents_children_and_names_fit_together() {
        let path: StorePath = "/a/b".parse().unwrap();
        assert_eq!(path.name(), "b");
        assert_eq!(path.parent().unwrap().as_str(), "/a");
        assert_eq!(path.parent().unwrap().parent(), Some(StorePath::root()));
        assert_eq!(StorePath::root().parent(), None);
        assert_eq!(StorePath::root().child("a").unwrap().child("b").unwrap(), path);
        assert_eq!(path.child("b/c"), Err(BadPath::Shape));
        assert_eq!(path.parts().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_path_lies_in_itself_and_in_what_is_above_but_not_in_a_longer_name() {
        let path: StorePath = "/a/b".parse().unwrap();
        for above in ["/", "/a", "/a/b"] {
            assert!(path.lies_in(&above.parse().unwrap()));
        }
        assert!(!path.lies_in(&"/a/bc".parse().unwrap()) && !"/a/bc".parse::<StorePath>().unwrap().lies_in(&path));
    }
}
