//! Pages that the hypervisor may read and write behind Rust's back, and a window to map pages in any way one likes.
//!
//! A [`Page`] is only ever read and written by volatile accesses, no reference to what it holds exists; so whatever
//! the hypervisor or another processor does with it, Rust's rules hold. Its virtual, guest-physical and (in a domain
//! that is mapped so) frame addresses are one number.

use core::cell::UnsafeCell;
#[cfg(feature = "modes")]
use core::sync::atomic::AtomicU32;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use xen_abi::Gfn;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::cpu;

/// Bytes of a page.
pub const PAGE_BYTES: usize = 4096;
const POOL_PAGES: usize = 2048;

/// A page of memory that others may change at any moment.
#[repr(C, align(4096))]
pub struct Page(UnsafeCell<[u8; PAGE_BYTES]>);

// SAFETY: all access is volatile and by value; torn values are the worst that can be read.
unsafe impl Sync for Page {}

// SAFETY: the section is one of zeroed memory like any other.
#[unsafe(link_section = ".bss.kit_pool")]
static POOL: [Page; POOL_PAGES] = [const { Page::new() }; POOL_PAGES];
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Takes `count` adjoining zeroed pages for ever. The first begins at a multiple of `align` pages.
///
/// # Panics
/// When the pool (8 MiB) is empty.
#[must_use]
pub fn take_many(count: usize, align: usize) -> &'static [Page] {
    let align = align.max(1);
    let first = (POOL.as_ptr() as usize) / PAGE_BYTES;
    let begin = (first + TAKEN.load(Ordering::Relaxed)).next_multiple_of(align) - first;
    TAKEN.store(begin + count, Ordering::Relaxed);
    POOL.get(begin..begin + count).expect("the pool of pages is empty")
}

/// Takes a zeroed page for ever.
///
/// # Panics
/// When the pool is empty.
#[must_use]
pub fn take() -> &'static Page {
    take_many(1, 1).first().expect("one page was asked for")
}

/// Returns how many pages are taken, for [`give_back`].
#[must_use]
pub fn taken() -> usize {
    TAKEN.load(Ordering::Relaxed)
}

/// Gives back what was taken since [`taken`] said `before`, and zeroes it. Nothing may use it any more, and all of it must
/// still be RAM.
pub fn give_back(before: usize) {
    let after = TAKEN.swap(before, Ordering::Relaxed);
    POOL.iter().take(after).skip(before).for_each(|page| page.fill(0));
}

impl Default for Page {
    fn default() -> Self {
        Self::new()
    }
}

impl Page {
    /// Creates a zeroed page, for a static of one's own.
    #[must_use]
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; PAGE_BYTES]))
    }

    /// Returns its address, virtual and guest-physical.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.0.get() as u64
    }

    /// Returns its guest frame number.
    #[must_use]
    pub fn gfn(&self) -> Gfn {
        Gfn(self.address() >> 12)
    }

    /// Reads a value at a byte offset.
    ///
    /// # Panics
    /// When it does not lie in the page or is not aligned.
    #[must_use]
    pub fn read<T: FromBytes + Copy>(&self, offset: usize) -> T {
        read_at(self.address() + self.check::<T>(offset))
    }

    /// Writes a value at a byte offset.
    ///
    /// # Panics
    /// When it does not lie in the page or is not aligned.
    pub fn write<T: IntoBytes + Immutable + Copy>(&self, offset: usize, value: T) {
        write_at(self.address() + self.check::<T>(offset), value);
    }

    /// Writes the same byte everywhere.
    pub fn fill(&self, byte: u8) {
        for offset in (0..PAGE_BYTES).step_by(8) {
            self.write(offset, u64::from_ne_bytes([byte; 8]));
        }
    }

    fn check<T>(&self, offset: usize) -> u64 {
        let fits = offset.checked_add(size_of::<T>()).is_some_and(|end| end <= PAGE_BYTES);
        assert!(fits && offset.is_multiple_of(align_of::<T>()), "outside the page");
        offset as u64
    }
}

/// Reads a value that lies anywhere. Faults where nothing is mapped: then call it within [`crate::catch`].
///
/// The address must be aligned and hold nothing that a Rust reference covers mutably: pool pages, window pages, memory
/// the hypervisor gave.
#[must_use]
pub fn read_at<T: FromBytes + Copy>(address: u64) -> T {
    // SAFETY: a volatile read of plain data; a fault is caught or ends the kernel.
    unsafe { (address as *const T).read_volatile() }
}

/// Writes a value anywhere, as [`read_at`] reads it.
pub fn write_at<T: IntoBytes + Immutable + Copy>(address: u64, value: T) {
    // SAFETY: a volatile write to memory that Rust knows only as volatile bytes (see `read_at`).
    unsafe { (address as *mut T).write_volatile(value) };
}

/// How a window page may be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    ReadOnly,
    ReadWrite,
    /// Read, write and run at CPL 3 as well.
    User,
}

#[repr(C, align(4096))]
struct Table([AtomicU64; 512]);
static ENTRIES: Table = Table([const { AtomicU64::new(0) }; 512]);
/// The same for page tables of two levels.
#[cfg(feature = "modes")]
#[repr(C, align(4096))]
struct NarrowTable([AtomicU32; 1024]);
#[cfg(feature = "modes")]
static NARROW_ENTRIES: NarrowTable = NarrowTable([const { AtomicU32::new(0) }; 1024]);

unsafe extern "C" {
    static kit_pml4: [AtomicU64; 512];
    static kit_pdpt: [AtomicU64; 512];
    static kit_page_directories: [AtomicU64; 2048];
}

/// Where the window of 512 single pages begins: in the hole of every PC's map, and below 4 GiB, so that 32-bit code
/// reaches it.
pub const WINDOW: u64 = 0xd000_0000;

/// Returns the address of the table for the 4 MiB of the window in page tables of two levels.
#[cfg(feature = "modes")]
#[must_use]
pub fn two_level_table() -> u64 {
    &raw const NARROW_ENTRIES as u64
}

/// Returns the virtual address of page `slot` (0..512) of the window.
#[must_use]
pub fn window(slot: u64) -> u64 {
    WINDOW + slot * PAGE_BYTES as u64
}

/// Maps guest frame `gfn` at page `slot` of the window and answers its address.
///
/// # Panics
/// When `slot` is not below 512.
pub fn map(slot: u64, gfn: Gfn, access: Access) -> u64 {
    let bits = match access {
        Access::ReadOnly => 1,
        Access::ReadWrite => 3,
        Access::User => 7,
    };
    set(slot, gfn.0 << 12 | bits)
}

/// Leaves page `slot` of the window unmapped and answers its address.
///
/// # Panics
/// When `slot` is not below 512.
pub fn unmap(slot: u64) -> u64 {
    set(slot, 0)
}

fn set(slot: u64, entry: u64) -> u64 {
    // SAFETY: the symbols are the static tables; atomics may be changed while the processor walks them.
    let (top, pointers, directories) = unsafe { (&kit_pml4, &kit_pdpt, &kit_page_directories) };
    let directory = directories.get((WINDOW >> 21) as usize).expect("the window lies below 4 GiB");
    directory.store(&raw const ENTRIES as u64 | 7, Ordering::Relaxed);
    // What is not for CPL 3 says so further down.
    let ([first, ..], [_, _, _, fourth, ..]) = (top, pointers);
    for above in [first, fourth] {
        above.fetch_or(4, Ordering::Relaxed);
    }
    ENTRIES.0.get(slot as usize).expect("the window has 512 pages").store(entry, Ordering::Release);
    #[cfg(feature = "modes")]
    if let Some(narrow) = NARROW_ENTRIES.0.get(slot as usize) {
        // A frame that two levels cannot name is not there for them.
        narrow.store(u32::try_from(entry).unwrap_or(0), Ordering::Release);
    }
    cpu::forget_translation(window(slot));
    window(slot)
}
