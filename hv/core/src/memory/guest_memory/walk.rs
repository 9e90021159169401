//! Page walks of the guest's own page tables, as the processor does them.
#![expect(clippy::disallowed_methods, reason = "what `bitflags` writes extends a number")]

use crate::memory::physmap::Memory;
use bitflags::bitflags;
use core::sync::atomic::Ordering;
use xenolith_hal::{
    Gfn, Gpa, Gva, Machine, Mapping, Mfn, NestedSpace, PAGE_SIZE, PageKind, PageWords, PagingRegisters, Rights,
};

const CR0_PG: u64 = 1 << 31;
const CR0_WP: u64 = 1 << 16;
const CR4_PSE: u64 = 1 << 4;
const CR4_PAE: u64 = 1 << 5;
const CR4_SMEP_SMAP: u64 = 1 << 21;
const CR4_LA57: u64 = 1 << 12;
const EFER_LMA: u64 = 1 << 10;
const EFER_NXE: u64 = 1 << 11;
const RFLAGS_AC: u64 = 1 << 18;

/// Entries of a table of 8-byte entries.
const ENTRIES: usize = PAGE_SIZE / 8;
const ENTRY_PRESENT: u64 = 1;
const ENTRY_WRITE: u64 = 1 << 1;
const ENTRY_USER: u64 = 1 << 2;
const ENTRY_LARGE: u64 = 1 << 7;
const ENTRY_NO_EXECUTE: u64 = 1 << 63;
const ENTRY_FRAME: u64 = 0x000f_ffff_ffff_f000;

bitflags! {
    /// The rights that the access needs.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct Wanted: u8 {
        const WRITE = 1;
        const EXECUTE = 1 << 1;
        /// As the guest's user mode.
        const USER = 1 << 2;
    }
}

/// The address has no translation that allows the access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// There is a translation, and its rights forbid the access.
    pub present: bool,
}

impl Fault {
    const NOT_PRESENT: Self = Self { present: false };
    const FORBIDDEN: Self = Self { present: true };
}

/// Finds a page of RAM behind a guest frame; with `write` the caller is about to write to it.
#[inline]
pub fn ram_page<'m, M: Machine>(machine: &'m M, space: &M::Space, at: Gpa, write: bool) -> Option<&'m PageWords> {
    let page = page_of(machine, space.lookup(at.gfn())?, write);
    if write {
        space.note_written(at.gfn());
    }
    page
}

/// Returns the page of a p2m entry, if it is RAM and, where that is needed, writable.
#[inline]
fn page_of<M: Machine>(machine: &M, mapping: Mapping, write: bool) -> Option<&PageWords> {
    if mapping.kind == PageKind::Mmio || (write && !mapping.rights.contains(Rights::WRITE)) {
        return None;
    }
    machine.page(mapping.mfn)
}

/// A cache of one p2m lookup for accesses that follow each other. The last result is kept as far as its page reaches: a
/// guest's tables and what they map mostly lie in one superpage. It may be outdated no further than the result of any
/// lookup, since a page that is unmapped meanwhile is not reused before this CPU's next quiescent state; so a value
/// lives no longer than one copy.
pub struct Lookups<'l, 'a, M: Machine> {
    memory: &'l Memory<'a, M, M::Space>,
    last: Option<Near>,
}

/// The page that was found last, with what a second hit needs worked out.
#[derive(Clone, Copy)]
struct Near {
    /// The first guest frame of the page.
    first: u64,
    /// The bits of a frame that count inside the page.
    inside: u64,
    mapping: Mapping,
}

impl<'l, 'a, M: Machine> Lookups<'l, 'a, M> {
    /// Creates an empty cache.
    #[inline]
    pub const fn new(memory: &'l Memory<'a, M, M::Space>) -> Self {
        Self { memory, last: None }
    }

    /// Finds a page of RAM behind a guest frame; with `write` the caller is about to write to it.
    #[inline]
    pub fn ram_page(&mut self, at: Gpa, write: bool) -> Option<&'a PageWords> {
        let mapping = self.mapping(at.gfn())?;
        if write {
            self.memory.space.note_written(at.gfn());
        }
        page_of(self.memory.pages, mapping, write)
    }

    #[inline]
    fn mapping(&mut self, gfn: Gfn) -> Option<Mapping> {
        if let Some(near) = self.last
            && gfn.0 & !near.inside == near.first
        {
            // Both sides of a large page begin at a multiple of its size.
            return Some(Mapping { mfn: Mfn(near.mapping.mfn.0 | (gfn.0 & near.inside)), ..near.mapping });
        }
        let found = self.memory.find(gfn)?;
        let inside = found.order.pages().wrapping_sub(1);
        let mapping = Mapping { mfn: Mfn(found.mfn.0 & !inside), ..found };
        self.last = Some(Near { first: gfn.0 & !inside, inside, mapping });
        Some(found)
    }
}

/// One level of a page table: where its index is in an address, and the format of its entries.
struct Level {
    shift: u32,
    index_mask: u64,
    may_be_large: bool,
}

const fn level(shift: u32, index_bits: u32, may_be_large: bool) -> Level {
    Level { shift, index_mask: !(u64::MAX << index_bits), may_be_large }
}

const PAE: [Level; 3] = [level(30, 2, false), level(21, 9, true), level(12, 9, false)];
const LEGACY: [Level; 2] = [level(22, 10, true), level(12, 10, false)];

/// Translates a guest virtual address by the guest's tables as they are at this moment; a guest that changes them
/// meanwhile gets the result of one order or the other. Accessed and dirty bits are not set.
///
/// Only the bits that index tables count: a non-canonical address is translated like the canonical one, as in real Xen.
/// The guest reaches no more by it than by its own tables.
///
/// **Errors:** [`Fault`] where the processor would raise a page fault. **Source:** AMD manual volume 2, chapter 5.
pub fn translate<M: Machine>(
    lookups: &mut Lookups<'_, '_, M>,
    paging: &PagingRegisters,
    at: Gva,
    wanted: Wanted,
) -> Result<Gpa, Fault> {
    if paging.cr0 & CR0_PG == 0 {
        return if at.0 >> 32 == 0 { Ok(Gpa(at.0)) } else { Err(Fault::NOT_PRESENT) };
    }
    if paging.efer & EFER_LMA != 0 {
        return long_walk(lookups, paging, at, wanted);
    }
    if at.0 >> 32 != 0 {
        return Err(Fault::NOT_PRESENT);
    }
    let (levels, entry_size): (&[Level], usize) = if paging.cr4 & CR4_PAE != 0 { (&PAE, 8) } else { (&LEGACY, 4) };
    let mut walk = Walk { lookups, paging, entry_size };
    walk.down(levels, at, wanted)
}

/// Walks the tables of long mode. Apart from the other modes' for speed: nearly every copy of a guest's memory begins
/// here.
#[inline]
fn long_walk<M: Machine>(
    lookups: &mut Lookups<'_, '_, M>,
    paging: &PagingRegisters,
    at: Gva,
    wanted: Wanted,
) -> Result<Gpa, Fault> {
    /// Bits of addresses below which entries may map pages: 1 GiB and 2 MiB.
    const LARGEST: u32 = 30;
    let mut table = paging.cr3 & ENTRY_FRAME;
    let mut shift: u32 = if paging.cr4 & CR4_LA57 != 0 { 48 } else { 39 };
    // The rights that all levels give, and what any of them forbids.
    let (mut allowed, mut no_execute) = (ENTRY_WRITE | ENTRY_USER, 0);
    loop {
        let page = lookups.ram_page(Gpa(table), false).ok_or(Fault::NOT_PRESENT)?;
        let word = page.words().get((at.0 >> shift) as usize % ENTRIES).ok_or(Fault::NOT_PRESENT)?;
        let entry = word.load(Ordering::Acquire);
        if entry & ENTRY_PRESENT == 0 {
            return Err(Fault::NOT_PRESENT);
        }
        allowed &= entry;
        no_execute |= entry;
        if shift == 12 || (entry & ENTRY_LARGE != 0 && shift <= LARGEST) {
            check(paging, allowed, no_execute & ENTRY_NO_EXECUTE != 0, wanted)?;
            let inside = !(u64::MAX << shift);
            return Ok(Gpa((entry & ENTRY_FRAME & !inside) | (at.0 & inside)));
        }
        table = entry & ENTRY_FRAME;
        // From 48 or 39 down to 12, where it ends.
        shift = shift.wrapping_sub(9);
    }
}

/// A walk of the tables of protected mode, with PAE or with two levels.
struct Walk<'w, 'l, 'a, M: Machine> {
    lookups: &'w mut Lookups<'l, 'a, M>,
    paging: &'w PagingRegisters,
    entry_size: usize,
}

impl<M: Machine> Walk<'_, '_, '_, M> {
    fn down(&mut self, levels: &[Level], at: Gva, wanted: Wanted) -> Result<Gpa, Fault> {
        let root_mask = if self.entry_size == 4 { ENTRY_FRAME } else { 0xffff_ffe0 };
        let mut table = self.paging.cr3 & root_mask;
        let mut allowed = ENTRY_WRITE | ENTRY_USER;
        let mut no_execute = 0;
        for (depth, level) in levels.iter().enumerate() {
            let index = (at.0 >> level.shift) & level.index_mask;
            // An entry of a table, which begins at a multiple of its size.
            let entry = self.entry(Gpa(table.wrapping_add(index.wrapping_mul(self.entry_size as u64))))?;
            if entry & ENTRY_PRESENT == 0 {
                return Err(Fault::NOT_PRESENT);
            }
            let is_pae_root = self.entry_size == 8 && depth == 0;
            if !is_pae_root {
                allowed &= entry;
                no_execute |= entry & ENTRY_NO_EXECUTE;
            }
            let large = level.may_be_large && entry & ENTRY_LARGE != 0 && self.large_pages_are_on();
            if large || level.shift == 12 {
                check(self.paging, allowed, no_execute != 0, wanted)?;
                let inside = !(u64::MAX << level.shift);
                return Ok(Gpa((self.frame(entry, large) & !inside) | (at.0 & inside)));
            }
            table = entry & ENTRY_FRAME;
        }
        Err(Fault::NOT_PRESENT)
    }

    const fn large_pages_are_on(&self) -> bool {
        self.entry_size == 8 || self.paging.cr4 & CR4_PSE != 0
    }

    /// Returns the frame of a leaf entry; a 4 MiB page keeps address bits 32 to 39 in its bits 13 to 20.
    const fn frame(&self, entry: u64, large: bool) -> u64 {
        if self.entry_size == 4 && large {
            (entry & 0xffc0_0000) | ((entry & 0x001f_e000) << 19)
        } else {
            entry & ENTRY_FRAME
        }
    }

    fn entry(&mut self, at: Gpa) -> Result<u64, Fault> {
        let page = self.lookups.ram_page(at, false).ok_or(Fault::NOT_PRESENT)?;
        let value = if self.entry_size == 8 {
            page.load_u64(at.page_offset())
        } else {
            page.load_u32(at.page_offset()).map(u64::from)
        };
        value.ok_or(Fault::NOT_PRESENT)
    }
}

/// Checks the rights of a translation.
#[inline]
fn check(paging: &PagingRegisters, allowed: u64, no_execute: bool, wanted: Wanted) -> Result<(), Fault> {
    let user_page = allowed & ENTRY_USER != 0;
    let user = wanted.contains(Wanted::USER);
    let writable = allowed & ENTRY_WRITE != 0 || (!user && paging.cr0 & CR0_WP == 0);
    let smap = paging.cr4 & CR4_SMEP_SMAP != 0 && paging.rflags & RFLAGS_AC == 0;
    let denied = (user && !user_page)
        || (!user && user_page && smap && !wanted.contains(Wanted::EXECUTE))
        || (wanted.contains(Wanted::WRITE) && !writable)
        || (wanted.contains(Wanted::EXECUTE) && no_execute && paging.efer & EFER_NXE != 0);
    if denied { Err(Fault::FORBIDDEN) } else { Ok(()) }
}

/// Returns the bytes from an address to the end of its page.
#[must_use]
pub const fn bytes_to_page_end(at: Gva) -> usize {
    PAGE_SIZE.wrapping_sub(at.page_offset())
}
