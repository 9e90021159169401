//! Where what lies in the memory of a PVH domain: RAM, the pages of rings, ACPI tables, the kernel and its modules.
//!
//! Frames and addresses are as libxl chooses them, so tools that look there find them. **Source:** measured
//! on domains of `xl` 4.17.

use std::fmt;

use xen_abi::memory_map::{E820_ACPI, E820_RAM, E820_RESERVED, MemmapEntry};

use crate::kernel::Kernel;

/// Length of a page in bytes.
pub const PAGE: u64 = 4096;

/// RAM below 4 GiB ends here at the latest; the rest begins at 4 GiB.
const LOW_RAM_MAX: u64 = 0xf000_0000;
const HIGH_RAM: u64 = 1 << 32;

/// Frames of the pages that the toolstack allocates beside RAM.
pub const PAGING_FRAME: u64 = 0xf_eff8;
pub const MONITOR_FRAME: u64 = 0xf_eff9;
pub const SHARING_FRAME: u64 = 0xf_effa;
pub const BUFFERED_IO_FRAME: u64 = 0xf_effb;
pub const STORE_FRAME: u64 = 0xf_effc;
pub const IO_FRAME: u64 = 0xf_effd;
pub const IDENTITY_FRAME: u64 = 0xf_effe;
pub const CONSOLE_FRAME: u64 = 0xf_efff;
/// How many of them there are, from [`PAGING_FRAME`] on.
pub const SPECIAL_FRAMES: u64 = 8;

/// The guest physical address of the ACPI tables.
pub const ACPI_ADDRESS: u64 = 0xfc00_0000;

/// Base 2 logarithms of the pages in 2 MiB and in 1 GiB.
const LARGE_ORDER: u32 = 9;
const HUGE_ORDER: u32 = 18;

/// The RAM of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ram {
    /// Guest physical address after the last byte of RAM below 4 GiB.
    pub low_end: u64,
    /// Guest physical address after the last byte of RAM above 4 GiB; 4 GiB if there is none.
    pub high_end: u64,
}

/// Frames that are allocated alike: `2^order` pages at each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extents {
    pub order: u32,
    pub frames: Vec<u64>,
}

impl Extents {
    /// Returns how many pages they have together.
    #[must_use]
    pub fn pages(&self) -> u64 {
        (self.frames.len() as u64) << self.order
    }

    /// Returns one of a size in pieces of the next smaller size.
    #[must_use]
    pub fn split(order: u32, frame: u64) -> Self {
        let smaller = if order > LARGE_ORDER { LARGE_ORDER } else { 0 };
        Self { order: smaller, frames: (frame..frame.saturating_add(1 << order)).step_by(1 << smaller).collect() }
    }
}

impl Ram {
    /// Lays out `bytes` of RAM, a multiple of the page size.
    #[must_use]
    pub const fn of(bytes: u64) -> Self {
        let low_end = if bytes < LOW_RAM_MAX { bytes } else { LOW_RAM_MAX };
        Self { low_end, high_end: HIGH_RAM.saturating_add(bytes.saturating_sub(low_end)) }
    }

    /// Returns the extents that make it, the largest first: 1 GiB and 2 MiB where that fits, and single pages.
    #[must_use]
    pub fn extents(&self) -> [Extents; 3] {
        let mut all = [HUGE_ORDER, LARGE_ORDER, 0].map(|order| Extents { order, frames: Vec::new() });
        // Both ranges begin at a multiple of 1 GiB.
        for (start, end) in [(0, self.low_end / PAGE), (HIGH_RAM / PAGE, self.high_end / PAGE)] {
            let mut next = start;
            for Extents { order, frames } in &mut all {
                let until = end.saturating_sub(end % (1 << *order));
                frames.extend((next..until).step_by(1 << *order));
                next = next.max(until);
            }
        }
        all
    }

    /// Returns the memory map, with `acpi` bytes of tables.
    #[must_use]
    pub fn map(&self, acpi: u64) -> Vec<MemmapEntry> {
        let special = MemmapEntry::new(PAGING_FRAME * PAGE, SPECIAL_FRAMES * PAGE, E820_RESERVED);
        let tables = MemmapEntry::new(ACPI_ADDRESS, acpi.next_multiple_of(PAGE), E820_ACPI);
        let low = MemmapEntry::new(0, self.low_end, E820_RAM);
        let high = MemmapEntry::new(HIGH_RAM, self.high_end.saturating_sub(HIGH_RAM), E820_RAM);
        [low, tables, special, high].into_iter().filter(|entry| entry.length() > 0).collect()
    }
}

/// Where the kernel and what belongs to it lie. All numbers are guest physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The start information, with the lists and the command line behind it.
    pub start_info: u64,
    /// The initial RAM disc; of no meaning without one.
    pub ramdisk: u64,
}

/// Why things do not fit into a domain's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoesNotFit {
    /// What reaches furthest, in bytes.
    pub needed: u64,
    /// RAM below 4 GiB, in bytes.
    pub low_end: u64,
}

impl fmt::Display for DoesNotFit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { needed, low_end } = self;
        write!(f, "kernel, initial RAM disc and command line end at {needed:#x}, its RAM below 4 GiB at {low_end:#x}")
    }
}

impl Placement {
    /// Places the start information (`start_info_bytes`) behind the kernel, and the initial RAM disc behind both.
    ///
    /// **Errors:** [`DoesNotFit`].
    pub fn of(kernel: &Kernel<'_>, start_info_bytes: u64, ramdisk_bytes: u64, ram: &Ram) -> Result<Self, DoesNotFit> {
        let start_info = kernel.end().next_multiple_of(PAGE);
        let ramdisk = start_info.saturating_add(start_info_bytes).next_multiple_of(PAGE);
        let needed = ramdisk.saturating_add(ramdisk_bytes);
        if needed > ram.low_end {
            return Err(DoesNotFit { needed, low_end: ram.low_end });
        }
        Ok(Self { start_info, ramdisk })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn memory_above_the_hole_lies_at_4_gib() {
        let ram = Ram::of(0x1_0000_0000);
        assert_eq!((ram.low_end, ram.high_end), (0xf000_0000, 0x1_1000_0000));
        let map = ram.map(100);
        let ranges: Vec<_> = map.iter().map(|entry| (entry.address(), entry.length(), entry.kind())).collect();
        let wanted = [
            (0, 0xf000_0000, E820_RAM),
            (0xfc00_0000, 0x1000, E820_ACPI),
            (0xfeff_8000, 0x8000, E820_RESERVED),
            (0x1_0000_0000, 0x1000_0000, E820_RAM),
        ];
        assert_eq!(ranges, wanted);
        assert_eq!(Ram::of(64 << 20).map(1).len(), 3);
    }

    proptest! {
        #[test]
        fn extents_are_all_of_the_ram_once(mib in 1_u64..9000) {
            let ram = Ram::of(mib << 20);
            let extents = ram.extents();
            prop_assert_eq!(extents.iter().map(Extents::pages).sum::<u64>(), mib << 8);
            let mut ranges = Vec::new();
            for Extents { order, frames } in &extents {
                prop_assert!(frames.iter().all(|frame| frame % (1 << order) == 0));
                ranges.extend(frames.iter().map(|&frame| (frame, frame + (1 << order))));
            }
            ranges.sort();
            prop_assert!(ranges.array_windows().all(|[one, other]| one.1 <= other.0), "no frame is in two");
            let inside = |start, end| end <= ram.low_end / PAGE || (start >= 1 << 20 && end <= ram.high_end / PAGE);
            prop_assert!(ranges.iter().all(|&(start, end)| inside(start, end)));
            prop_assert!(extents[1].frames.len() < 2 * 512 && extents[2].frames.len() < 2 * 512);
        }
    }

    #[test]
    fn five_gib_are_three_and_one_huge_and_the_rest_around_the_hole_large() {
        let [huge, large, small] = Ram::of(5 << 30).extents();
        assert_eq!(huge.frames, [0, 1 << 18, 2 << 18, 4 << 18]);
        assert_eq!((large.frames.len(), small.frames.len()), (384 + 128, 0));
        assert_eq!((large.frames[0], large.frames[384]), (3 << 18, 5 << 18));
        let pieces = Extents::split(18, 1 << 18);
        assert_eq!((pieces.order, pieces.frames.len(), pieces.frames[1]), (9, 512, (1 << 18) + 512));
        assert_eq!(Extents::split(9, 512).pages(), 512);
    }
}
