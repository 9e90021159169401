//! The command register.

use xenolith_hal::Gpa;

/// Bits of the command register that change what a guest can reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Command(pub u16);

impl Command {
    /// Offset of the register.
    pub const REGISTER: u16 = 4;

    /// Returns whether the function responds at its memory addresses.
    #[must_use]
    pub const fn memory(self) -> bool {
        self.0 & 2 != 0
    }

    /// Returns whether the function responds at its ports.
    #[must_use]
    pub const fn ports(self) -> bool {
        self.0 & 1 != 0
    }

    /// Returns whether the function may write to memory, message interrupts included (bus mastering).
    #[must_use]
    pub const fn bus_master(self) -> bool {
        self.0 & 4 != 0
    }

    /// Returns whether memory decoding changes from `self` to `new`: true if ranges must be mapped in the guest, false
    /// if unmapped, None for no change.
    #[must_use]
    pub const fn memory_change(self, new: Self) -> Option<bool> {
        if self.memory() == new.memory() { None } else { Some(new.memory()) }
    }
}

/// A range of guest physical memory at which a function responds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MemoryRange {
    pub start: Gpa,
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_change_of_memory_decoding_maps_or_unmaps() {
        assert_eq!(Command(0).memory_change(Command(6)), Some(true));
        assert_eq!(Command(7).memory_change(Command(5)), Some(false));
        assert_eq!(Command(2).memory_change(Command(0x407)), None);
        assert!(Command(4).bus_master() && !Command(4).ports() && Command(1).ports());
    }
}
