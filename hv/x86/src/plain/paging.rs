//! The hypervisor's own page tables: built once at boot, added to when devices and stacks come.
//!
//! No page is both writable and executable. **Source:** AMD APM volume 2, 5.3 and 5.4, 7.8 (PAT).
#![expect(clippy::disallowed_methods, reason = "what `bitflags` writes extends a number")]

use core::sync::atomic::{AtomicU64, Ordering};

use bitflags::bitflags;
use x86_64::instructions::tlb;
use x86_64::registers::control::{Cr3, Cr3Flags, Cr4, Cr4Flags};
use x86_64::registers::model_specific::Msr;
use x86_64::structures::paging::PhysFrame;
use x86_64::{PhysAddr, VirtAddr};
use xenolith_bootinfo::MachineRange;

use crate::plain::layout::{PAGE, PAGE_1G, PAGE_2M};

bitflags! {
    /// The bits of an entry.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub struct EntryFlags: u64 {
        /// The entry leads somewhere.
        const PRESENT = 1;
        /// Writable.
        const WRITABLE = 1 << 1;
        /// PAT bit 0.
        const WRITE_THROUGH = 1 << 3;
        /// PAT bit 1.
        const NO_CACHE = 1 << 4;
        /// A page and not a table (levels 2 and 3).
        const LARGE = 1 << 7;
        /// Not executable.
        const NO_EXECUTE = 1 << 63;
    }
}

impl EntryFlags {
    /// Code.
    pub const TEXT: Self = Self::PRESENT;
    /// Constants.
    pub const READ_ONLY: Self = Self::PRESENT.union(Self::NO_EXECUTE);
    /// Variables and the direct map.
    pub const DATA: Self = Self::READ_ONLY.union(Self::WRITABLE);
    /// Device registers: uncached.
    pub const DEVICE: Self = Self::DATA.union(Self::NO_CACHE).union(Self::WRITE_THROUGH);
}

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const ENTRIES: usize = 512;
const PAT: Msr = Msr::new(0x277);
/// Entries 0 to 7: WB, WT, UC-, UC, WC, WP, UC-, UC. The first four are what they are after a reset.
const PAT_VALUE: u64 = 0x0007_0501_0007_0406;

type Table = [AtomicU64; ENTRIES];

/// Why something could not be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PagingError {
    /// No frame for a table.
    NoFrame,
    /// Something else is mapped there.
    Occupied,
    /// The addresses are not whole pages.
    Unaligned,
    /// A page that can be written must not be executable.
    WritableCode,
}

/// A tree of page tables.
pub struct PageTables {
    root: u64,
    /// What has to be added to a machine address to reach it now.
    offset: u64,
    large_1g: bool,
}

/// Where frames for tables come from. They are zero, and nobody else has them.
pub type TakeFrame<'a> = &'a mut dyn FnMut() -> Option<u64>;

impl PageTables {
    /// Creates an empty tree, whose tables are reached at `offset` above their machine addresses.
    ///
    /// # Safety
    /// All frames that `take` gives, here and in later calls, are zero, unused, and mapped writable at `offset`.
    pub unsafe fn new(offset: u64, take: TakeFrame<'_>) -> Option<Self> {
        // CPUID 0x8000_0001 EDX bit 26: pages of 1 GiB.
        let large_1g = core::arch::x86_64::__cpuid(0x8000_0001).edx & 1 << 26 != 0;
        Some(Self { root: take()?, offset, large_1g })
    }

    fn table(&self, frame: u64) -> &Table {
        let pointer = self.offset.wrapping_add(frame) as *const Table;
        // SAFETY: `frame` was given by the source of frames, so it is mapped at `offset` (promised to `new`), a page
        // long and aligned; tables are never freed, and are only reached as atomics.
        unsafe { &*pointer }
    }

    fn entry(&self, table: u64, address: u64, level: u32) -> &AtomicU64 {
        let index = (address >> (12 + 9 * level)) as usize % ENTRIES;
        &self.table(table)[index]
    }

    /// Returns the entry for `address` in the table of `level` (0 for pages of 4 KiB), with the tables above it.
    fn walk(&self, address: u64, level: u32, take: TakeFrame<'_>) -> Result<&AtomicU64, PagingError> {
        let mut table = self.root;
        for above in (level + 1..4).rev() {
            let entry = self.entry(table, address, above);
            let value = entry.load(Ordering::Relaxed);
            let flags = EntryFlags::from_bits_retain(value);
            if flags.contains(EntryFlags::PRESENT) {
                if flags.contains(EntryFlags::LARGE) {
                    return Err(PagingError::Occupied);
                }
                table = value & ADDRESS;
            } else {
                let frame = take().ok_or(PagingError::NoFrame)?;
                let flags = EntryFlags::PRESENT | EntryFlags::WRITABLE;
                entry.store(frame | flags.bits(), Ordering::Release);
                table = frame;
            }
        }
        Ok(self.entry(table, address, level))
    }

    /// Maps `range` at `address` with the largest pages that fit.
    ///
    /// **Errors:** see [`PagingError`]; what was mapped before the error stays.
    pub fn map(
        &mut self,
        address: u64,
        range: MachineRange,
        flags: EntryFlags,
        take: TakeFrame<'_>,
    ) -> Result<(), PagingError> {
        if !(address | range.start | range.end).is_multiple_of(PAGE) {
            return Err(PagingError::Unaligned);
        }
        if flags.contains(EntryFlags::WRITABLE) && !flags.contains(EntryFlags::NO_EXECUTE) {
            return Err(PagingError::WritableCode);
        }
        let mut done = 0;
        while done < range.length() {
            let (from, to) = (address.wrapping_add(done), range.start.wrapping_add(done));
            let rest = range.length().wrapping_sub(done);
            let fits = |size: u64| (from | to).is_multiple_of(size) && rest >= size;
            let (level, size) = match () {
                () if self.large_1g && fits(PAGE_1G) => (2, PAGE_1G),
                () if fits(PAGE_2M) => (1, PAGE_2M),
                () => (0, PAGE),
            };
            let large = if level > 0 { EntryFlags::LARGE } else { EntryFlags::empty() };
            let entry = self.walk(from, level, take)?;
            let value = to | (flags | large).bits();
            match entry.compare_exchange(0, value, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => {}
                // Mapping a device twice the same way is no conflict.
                Err(there) if there & (ADDRESS | PRESENT_BITS) == value & (ADDRESS | PRESENT_BITS) => {}
                Err(_) => return Err(PagingError::Occupied),
            }
            done = done.wrapping_add(size);
        }
        Ok(())
    }

    /// Unmaps the page of 4 KiB at `address`, if there is one.
    pub fn unmap_page(&mut self, address: u64) {
        if let Ok(entry) = self.walk(address, 0, &mut || None) {
            entry.store(0, Ordering::Release);
        }
    }

    /// Loads the tree into CR3 of this CPU.
    ///
    /// # Safety
    ///
    /// The tree maps the running code, its stack and all data it uses, with rights enough.
    pub unsafe fn activate(&self) {
        let frame = PhysFrame::containing_address(PhysAddr::new_truncate(self.root));
        // SAFETY: promised by the caller.
        unsafe { Cr3::write(frame, Cr3Flags::empty()) };
    }

    /// Returns the machine address of the top table.
    #[must_use]
    pub const fn root(&self) -> u64 {
        self.root
    }

    /// Sets the `offset` at which tables are reached from now on.
    ///
    /// # Safety
    ///
    /// All tables of the tree, and all frames that come later, are mapped there.
    pub const unsafe fn reach_at(&mut self, offset: u64) {
        self.offset = offset;
    }
}

/// Present, writable and not executable: the bits that must agree for two mappings to be the same.
const PRESENT_BITS: u64 = 1 << 63 | 0b11;

/// Which protections this CPU has and the command line allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protections {
    /// The hypervisor cannot run a user page.
    pub smep: bool,
    /// The hypervisor cannot read or write a user page.
    pub smap: bool,
}

/// Sets up this CPU's PAT and the protections it has (SMEP, SMAP); returns them.
pub fn set_up_this_cpu(wanted: Protections) -> Protections {
    let mut pat = PAT;
    // SAFETY: the first four entries stay as they are after a reset, and no page uses another one yet.
    unsafe { pat.write(PAT_VALUE) };
    let features = core::arch::x86_64::__cpuid_count(7, 0).ebx;
    let highest = core::arch::x86_64::__cpuid(0).eax;
    let has = |bit: u32| highest >= 7 && features & 1 << bit != 0;
    let got = Protections { smep: wanted.smep && has(7), smap: wanted.smap && has(20) };
    let mut flags = Cr4Flags::PHYSICAL_ADDRESS_EXTENSION | Cr4Flags::PAGE_GLOBAL;
    flags.set(Cr4Flags::SUPERVISOR_MODE_EXECUTION_PROTECTION, got.smep);
    flags.set(Cr4Flags::SUPERVISOR_MODE_ACCESS_PREVENTION, got.smap);
    // SAFETY: the flags only add protections that the CPU has; no page of the hypervisor's is a user page.
    unsafe { Cr4::update(|cr4| cr4.insert(flags)) };
    got
}

/// Flushes one translation on this CPU (INVLPG).
pub fn forget(address: u64) {
    tlb::flush(VirtAddr::new_truncate(address));
}

/// Flushes the whole TLB of this CPU.
pub fn forget_all() {
    tlb::flush_all();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::alloc::{Layout, alloc_zeroed};
    use std::vec::Vec;

    /// Returns a page of the test's own memory, whose address stands for its machine address.
    fn take() -> Option<u64> {
        // SAFETY: the layout is not empty.
        Some(unsafe { alloc_zeroed(Layout::from_size_align(4096, 4096).unwrap()) } as u64)
    }

    fn tables() -> PageTables {
        // SAFETY: `take` gives zeroed pages that nobody else has, at their own addresses.
        unsafe { PageTables::new(0, &mut take) }.unwrap()
    }

    /// Returns what the CPU would find for `address`: the machine address, and the entry.
    fn find(tables: &PageTables, address: u64) -> Option<(u64, EntryFlags)> {
        let mut table = tables.root;
        for level in (0..4).rev() {
            let value = tables.entry(table, address, level).load(Ordering::Relaxed);
            let flags = EntryFlags::from_bits_retain(value);
            if !flags.contains(EntryFlags::PRESENT) {
                return None;
            }
            if level == 0 || flags.contains(EntryFlags::LARGE) {
                let inside = (1 << (12 + 9 * level)) - 1;
                return Some((value & ADDRESS & !inside | address & inside, flags));
            }
            table = value & ADDRESS;
        }
        None
    }

    #[test]
    fn a_page_that_is_writable_and_executable_is_refused() {
        let range = MachineRange { start: 0, end: PAGE };
        let flags = EntryFlags::PRESENT | EntryFlags::WRITABLE;
        assert_eq!(tables().map(0, range, flags, &mut take), Err(PagingError::WritableCode));
    }

    #[test]
    fn what_is_mapped_stays_as_it_is() {
        let mut tables = tables();
        let range = MachineRange { start: 0x20_0000, end: 0x40_0000 };
        tables.map(0x20_0000, range, EntryFlags::DATA, &mut take).unwrap();
        let inside = MachineRange { start: 0x30_0000, end: 0x30_1000 };
        assert_eq!(tables.map(0x30_0000, inside, EntryFlags::DATA, &mut take), Err(PagingError::Occupied));
        assert_eq!(tables.map(0x20_0000, range, EntryFlags::READ_ONLY, &mut take), Err(PagingError::Occupied));
        assert_eq!(tables.map(0x20_0000, range, EntryFlags::DATA, &mut take), Ok(()));
    }

    #[test]
    fn an_unmapped_page_is_gone_and_its_neighbours_are_not() {
        let mut tables = tables();
        tables.map(0x1000, MachineRange { start: 0x1000, end: 0x4000 }, EntryFlags::TEXT, &mut take).unwrap();
        tables.unmap_page(0x2000);
        let present = [0x1000, 0x2000, 0x3000].map(|address| find(&tables, address).is_some());
        assert_eq!(present, [true, false, true]);
    }

    #[test]
    fn no_frame_for_a_table_is_an_error() {
        let range = MachineRange { start: 0, end: PAGE };
        assert_eq!(tables().map(0, range, EntryFlags::DATA, &mut || None), Err(PagingError::NoFrame));
    }

    proptest! {
        #[test]
        fn every_page_of_a_range_and_no_other_is_found(
            start in 0..2048_u64,
            pages in 1..2048_u64,
            shift in prop::sample::select(&[0_u64, 1, 512, 513][..]),
            huge in any::<bool>(),
        ) {
            let mut tables = tables();
            tables.large_1g = huge;
            let range = MachineRange { start: start * PAGE, end: (start + pages) * PAGE };
            let address = (1 << 40) + range.start + shift * PAGE;
            tables.map(address, range, EntryFlags::DATA, &mut take).unwrap();
            for page in 0..pages {
                let (found, flags) = find(&tables, address + page * PAGE + 7).unwrap();
                prop_assert_eq!(found, range.start + page * PAGE + 7);
                prop_assert!(flags.contains(EntryFlags::DATA));
            }
            let outside: Vec<_> = [address - 1, address + pages * PAGE].into_iter().collect();
            prop_assert!(outside.into_iter().all(|address| find(&tables, address).is_none()));
        }
    }
}
