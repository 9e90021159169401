//! The identifier that a domain keeps for its life, and that the hypervisor knows as its handle.

use std::fmt;
use std::fs;
use std::io;
use std::str::FromStr;

/// A UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl Uuid {
    /// Returns a new random one, made by Linux.
    ///
    /// **Errors:** `/proc` is not mounted.
    pub fn random() -> io::Result<Self> {
        let text = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
        text.trim().parse().map_err(|()| io::ErrorKind::InvalidData.into())
    }
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl FromStr for Uuid {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let groups: Vec<&str> = text.split('-').collect();
        if groups.iter().map(|group| group.len()).ne([8, 4, 4, 4, 12]) {
            return Err(());
        }
        let digits = groups.concat().chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<u32>>>().ok_or(())?;
        let mut bytes = [0; 16];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
            *byte = pair.iter().fold(0, |sum: u8, digit| sum.wrapping_mul(16).wrapping_add(digit.to_le_bytes()[0]));
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_spelled_is_read_back() {
        let text = "bec21a3c-ece3-11f1-aceb-aff6d12fb0df";
        let uuid: Uuid = text.parse().unwrap();
        assert_eq!((uuid.0[0], uuid.0[15], uuid.to_string().as_str()), (0xbe, 0xdf, text));
        assert_ne!(Uuid::random().unwrap(), Uuid::random().unwrap());
    }

    #[test]
    fn what_has_another_form_is_refused() {
        for text in ["", "bec21a3c", "bec21a3cece311f1acebaff6d12fb0df", "gec21a3c-ece3-11f1-aceb-aff6d12fb0df"] {
            assert_eq!(text.parse::<Uuid>(), Err(()), "{text}");
        }
        assert_eq!("bec21a3c-ece3-11f1-aceb-aff6d12fb0é".parse::<Uuid>(), Err(()));
    }
}
