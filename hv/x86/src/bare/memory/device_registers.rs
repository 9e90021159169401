//! Memory-mapped device registers (MMIO).

use xenolith_bootinfo::MachineRange;
use xenolith_hal::IoSize;

use super::address_space;
use crate::plain::layout::{DEVICE_MAP, DIRECT_MAP_BYTES, PAGE};
use crate::plain::paging::EntryFlags;

/// A block of device registers, mapped uncached for ever.
#[derive(Debug, Clone, Copy)]
pub struct DeviceRegisters {
    base: u64,
    length: u64,
}

impl DeviceRegisters {
    /// Maps `length` bytes at a machine address; none when there is no memory for page tables, or no such address.
    ///
    /// # Safety
    /// A device decodes the range, or nothing does: it is no RAM, and accesses to it do what the caller wants.
    #[must_use]
    pub unsafe fn map(machine_address: u64, length: u64) -> Option<Self> {
        let range = MachineRange::new(machine_address, length)?;
        if range.end > DIRECT_MAP_BYTES {
            return None;
        }
        let pages = range.grow_to(PAGE);
        address_space::map(DEVICE_MAP.wrapping_add(pages.start), pages, EntryFlags::DEVICE).ok()?;
        Some(Self { base: DEVICE_MAP.wrapping_add(machine_address), length })
    }

    /// Returns the registers that were mapped at `base` before, as [`Self::base`] returned it.
    ///
    /// # Safety
    ///
    /// `base` and `length` come from one value that `map` made.
    #[must_use]
    pub const unsafe fn again(base: u64, length: u64) -> Self {
        Self { base, length }
    }

    /// Returns the address at which the block is mapped.
    #[must_use]
    pub const fn base(self) -> u64 {
        self.base
    }

    fn place(self, offset: u64, size: u64) -> Option<u64> {
        let fits = offset.is_multiple_of(size) && offset.checked_add(size)? <= self.length;
        fits.then(|| self.base.wrapping_add(offset))
    }

    /// Reads the 32-bit register at `offset`; all ones if it is outside the block.
    #[must_use]
    pub fn read(self, offset: u64) -> u32 {
        let Some(place) = self.place(offset, 4) else { return u32::MAX };
        // SAFETY: the place lies in the block, which is mapped for ever, and is aligned.
        unsafe { (place as *const u32).read_volatile() }
    }

    /// Writes the 32-bit register at `offset`; dropped if it is outside the block.
    pub fn write(self, offset: u64, value: u32) {
        let Some(place) = self.place(offset, 4) else { return };
        // SAFETY: as in `read`; what device registers do was promised to `map`.
        unsafe { (place as *mut u32).write_volatile(value) };
    }

    /// Reads the 64-bit register at `offset`; all ones if it is outside the block.
    #[must_use]
    pub fn read_wide(self, offset: u64) -> u64 {
        let Some(place) = self.place(offset, 8) else { return u64::MAX };
        // SAFETY: as in `read`.
        unsafe { (place as *const u64).read_volatile() }
    }

    /// Writes the 64-bit register at `offset`; dropped if it is outside the block.
    pub fn write_wide(self, offset: u64, value: u64) {
        let Some(place) = self.place(offset, 8) else { return };
        // SAFETY: as in `write`.
        unsafe { (place as *mut u64).write_volatile(value) };
    }

    /// Reads a register of this width at `offset`; all ones if it is outside the block.
    #[must_use]
    pub fn read_sized(self, offset: u64, size: IoSize) -> u32 {
        let Some(place) = self.place(offset, size.bytes().into()) else { return size.mask() };
        // SAFETY: as in `read`.
        unsafe {
            match size {
                IoSize::Byte => (place as *const u8).read_volatile().into(),
                IoSize::Word => (place as *const u16).read_volatile().into(),
                IoSize::Dword => (place as *const u32).read_volatile(),
            }
        }
    }

    /// Writes a register of this width at `offset`; dropped if it is outside the block.
    pub fn write_sized(self, offset: u64, size: IoSize, value: u32) {
        let Some(place) = self.place(offset, size.bytes().into()) else { return };
        // SAFETY: as in `write`.
        unsafe {
            match size {
                IoSize::Byte => (place as *mut u8).write_volatile(value as u8),
                IoSize::Word => (place as *mut u16).write_volatile(value as u16),
                IoSize::Dword => (place as *mut u32).write_volatile(value),
            }
        }
    }
}
