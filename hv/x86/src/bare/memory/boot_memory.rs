//! Physical memory as bytes, while the boot page tables map the first 4 GiB at their own addresses.

use xenolith_bootinfo::PhysicalMemory;

/// The first 4 GiB, through the identity map of the boot page tables.
pub struct BootMemory {
    // Made by `new` only.
    _private: (),
}

/// The end of the identity map.
const REACH: u64 = 1 << 32;

impl BootMemory {
    /// # Safety
    /// The boot page tables are in use for as long as the value lives.
    #[must_use]
    pub const unsafe fn new() -> Self {
        Self { _private: () }
    }
}

impl PhysicalMemory for BootMemory {
    fn read(&self, address: u64, into: &mut [u8]) -> bool {
        let end = address.checked_add(into.len() as u64);
        // Page 0 holds the firmware's vectors; a read at address 0 would be a read through a null pointer.
        if address == 0 || end.is_none_or(|end| end > REACH) {
            return false;
        }
        for (offset, byte) in into.iter_mut().enumerate() {
            let source = (address as usize).wrapping_add(offset) as *const u8;
            // SAFETY: every address from 1 to 4 GiB is mapped by the boot page tables (promised to `new`). What is no
            // RAM reads as something; nothing of Rust's lies at these addresses.
            *byte = unsafe { source.read_volatile() };
        }
        true
    }
}
