//! The capability list of a function.

use alloc::vec::Vec;

/// Offset of the first pointer, and of the status register that says whether there is a list.
const POINTER: u16 = 0x34;
const COMMAND_AND_STATUS: u16 = 4;
const HAS_LIST: u32 = 1 << 20;
/// The most entries of a list: 192 bytes of 4 each.
const MAX: usize = 48;

/// One entry of the list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capability {
    pub id: u8,
    /// Offset in the configuration space, a multiple of 4 from 0x40.
    pub register: u16,
}

impl Capability {
    /// Message-signalled interrupts (MSI).
    pub const MSI: u8 = 5;
    /// Message-signalled interrupts with a table (MSI-X).
    pub const MSI_X: u8 = 0x11;
}

/// Walks the capability list of a function, whose doublewords `read` returns. A list with a cycle yields each entry
/// once.
#[must_use]
pub fn capabilities(read: impl Fn(u16) -> u32) -> Vec<Capability> {
    let mut found: Vec<Capability> = Vec::new();
    if read(COMMAND_AND_STATUS) & HAS_LIST == 0 {
        return found;
    }
    let mut register = (read(POINTER) & 0xfc) as u16;
    while register >= 0x40 && found.len() < MAX && found.iter().all(|seen| seen.register != register) {
        let [id, next, ..] = read(register).to_le_bytes();
        if id == 0xff {
            break;
        }
        found.push(Capability { id, register });
        register = u16::from(next & 0xfc);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(register: u16) -> u32 {
        match register {
            4 => 0x0010_0000,
            0x34 => 0xc8,
            0xc8 => 0x0000_d001,
            0xd0 => 0x0080_a005,
            0xa0 => 0x0004_0011,
            _ => 0,
        }
    }

    #[test]
    fn the_list_is_followed_from_entry_to_entry() {
        let found: Vec<_> = capabilities(device).into_iter().map(|entry| (entry.id, entry.register)).collect();
        assert_eq!(found, [(1, 0xc8), (Capability::MSI, 0xd0), (Capability::MSI_X, 0xa0)]);
    }

    #[test]
    fn a_list_that_is_not_there_is_empty() {
        assert!(capabilities(|register| if register == 4 { 0 } else { device(register) }).is_empty());
        assert!(capabilities(|_| u32::MAX).is_empty());
    }

    #[test]
    fn a_circle_ends() {
        let circle = |register| match register {
            0xa0 => 0x0000_c811,
            register => device(register),
        };
        assert_eq!(capabilities(circle).len(), 3);
        assert_eq!(
            capabilities(|register| if register == 4 { HAS_LIST } else { u32::from(register) << 8 | 0x40 }).len(),
            1
        );
    }
}
