//! Where things lie in the hypervisor's address space.
//!
//! | from | what |
//! |---|---|
//! | `0xffff_8000_0000_0000` | the direct map: all RAM but the image, at its machine address; never executable |
//! | `0xffff_c000_0000_0000` | devices, at their machine address; uncached |
//! | `0xffff_e000_0000_0000` | stacks, each with unmapped memory below it |
//! | `0xffff_ffff_8000_0000` | the image, at its load address |
//!
//! All of the lower half stays unmapped: a null pointer, or a guest's address taken for one of ours, faults.

/// Where the image's link addresses begin.
pub const KERNEL_BASE: u64 = 0xffff_ffff_8000_0000;
/// Where machine address 0 appears in the direct map.
pub const DIRECT_MAP: u64 = 0xffff_8000_0000_0000;
/// How much the direct map can hold; RAM above is not used.
pub const DIRECT_MAP_BYTES: u64 = 1 << 46;
/// Where machine address 0 appears in the map of devices.
pub const DEVICE_MAP: u64 = 0xffff_c000_0000_0000;
/// Where the stacks begin.
pub const STACKS: u64 = 0xffff_e000_0000_0000;

/// The size of a page.
pub const PAGE: u64 = 4096;
/// The size of a page of the second level.
pub const PAGE_2M: u64 = 2 << 20;
/// The size of a page of the third level.
pub const PAGE_1G: u64 = 1 << 30;

/// Returns the address at which RAM appears in the direct map.
#[must_use]
pub const fn direct(machine_address: u64) -> u64 {
    DIRECT_MAP.wrapping_add(machine_address)
}

/// Returns the machine address of something in the direct map or in the image; none for any other place.
#[must_use]
pub const fn machine_address(address: u64) -> Option<u64> {
    if address >= KERNEL_BASE {
        Some(address.wrapping_sub(KERNEL_BASE))
    } else if address >= DIRECT_MAP && address < DIRECT_MAP + DIRECT_MAP_BYTES {
        Some(address.wrapping_sub(DIRECT_MAP))
    } else {
        None
    }
}
