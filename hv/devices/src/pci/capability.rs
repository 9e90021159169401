//! The capability list of a function.

/// Offset of the first pointer, and of the status register that says whether there is a list.
const POINTER: u16 = 0x34;
const COMMAND_AND_STATUS: u16 = 4;
const HAS_LIST: u32 = 1 << 20;

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
pub fn capabilities(read: impl Fn(u16) -> u32) -> impl Iterator<Item = Capability> {
    let has_list = read(COMMAND_AND_STATUS) & HAS_LIST != 0;
    let mut register = if has_list { (read(POINTER) & 0xfc) as u16 } else { 0 };
    // A bit for each of the 64 doublewords where an entry can be.
    let mut seen = 0u64;
    core::iter::from_fn(move || {
        let entry = 1 << (register / 4);
        if register < 0x40 || seen & entry != 0 {
            return None;
        }
        seen |= entry;
        let [id, next, ..] = read(register).to_le_bytes();
        let found = Capability { id, register };
        register = u16::from(next & 0xfc);
        (id != 0xff).then_some(found)
    })
    .fuse()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

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
        let found: Vec<_> = capabilities(device).map(|entry| (entry.id, entry.register)).collect();
        assert_eq!(found, [(1, 0xc8), (Capability::MSI, 0xd0), (Capability::MSI_X, 0xa0)]);
    }

    #[test]
    fn a_list_that_is_not_there_is_empty() {
        assert_eq!(capabilities(|register| if register == 4 { 0 } else { device(register) }).count(), 0);
        assert_eq!(capabilities(|_| u32::MAX).count(), 0);
    }

    #[test]
    fn a_circle_ends() {
        let circle = |register| match register {
            0xa0 => 0x0000_c811,
            register => device(register),
        };
        assert_eq!(capabilities(circle).count(), 3);
        let itself = |register| if register == 4 { HAS_LIST } else { u32::from(register) << 8 | 0x40 };
        assert_eq!(capabilities(itself).count(), 1);
    }
}
