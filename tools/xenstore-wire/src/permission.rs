//! Permissions of nodes.

use std::fmt;

/// Access rights of a domain to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    None,
    Read,
    Write,
    Both,
}

impl Access {
    /// Returns whether reading is allowed.
    #[must_use]
    pub const fn reads(self) -> bool {
        matches!(self, Self::Read | Self::Both)
    }

    /// Returns whether writing is allowed.
    #[must_use]
    pub const fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Both)
    }

    /// Returns whether all rights of `wanted` are included.
    #[must_use]
    pub const fn allows(self, wanted: Self) -> bool {
        (!wanted.reads() || self.reads()) && (!wanted.writes() || self.writes())
    }

    /// Returns the letter for it in a permission string.
    #[must_use]
    pub const fn letter(self) -> char {
        match self {
            Self::None => 'n',
            Self::Read => 'r',
            Self::Write => 'w',
            Self::Both => 'b',
        }
    }
}

/// One permission of a node. The first one of a node names its owner, and the access of all domains that no other entry
/// names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    pub access: Access,
    pub domain: u16,
}

impl Permission {
    /// Parses a letter and a domain ID, such as `r5`. None if it has another form.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (&letter, number) = text.split_first()?;
        let access = match letter {
            b'n' => Access::None,
            b'r' => Access::Read,
            b'w' => Access::Write,
            b'b' => Access::Both,
            _ => return None,
        };
        let domain = std::str::from_utf8(number).ok()?.parse().ok()?;
        Some(Self { access, domain })
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", self.access.letter(), self.domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_read_as_they_are_spelled() {
        for text in ["n0", "r5", "w32752", "b65535"] {
            assert_eq!(Permission::parse(text.as_bytes()).unwrap().to_string(), text);
        }
        for bad in ["", "n", "x1", "r-1", "r65536", "r5 "] {
            assert_eq!(Permission::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn both_allows_each_and_each_allows_itself_alone() {
        assert!(Access::Both.allows(Access::Read) && Access::Both.allows(Access::Write));
        assert!(Access::Read.allows(Access::Read) && !Access::Read.allows(Access::Write));
        assert!(Access::None.allows(Access::None) && !Access::Write.allows(Access::Both));
    }
}
