//! The format of a nested page table entry.

use xenolith_hal::{Mapping, Mfn, PageKind, PageOrder, Rights};

const PRESENT: u64 = 1;
const WRITE: u64 = 1 << 1;
/// A nested walk counts as a user access, so without this bit nothing is allowed.
const USER: u64 = 1 << 2;
const WRITE_THROUGH: u64 = 1 << 3;
const CACHE_OFF: u64 = 1 << 4;
const ACCESSED: u64 = 1 << 5;
const DIRTY: u64 = 1 << 6;
const LARGE: u64 = 1 << 7;
/// Bits 9 to 11 are left to software.
const KIND_SHIFT: u32 = 9;
const KIND_MASK: u64 = 7 << KIND_SHIFT;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// Bits 52 to 62 are left to software too; a reference to a table keeps there how many entries the table uses.
const COUNT_SHIFT: u32 = 52;
const COUNT_MASK: u64 = 0x3ff << COUNT_SHIFT;
/// The page's writes are tracked: by the dirty bit where the page is writable. A superpage is write-protected meanwhile.
const TRACKED: u64 = 1 << 62;
const NO_EXECUTE: u64 = 1 << 63;

/// Entries of one table.
pub(super) const ENTRIES: u64 = 512;

/// The level of a table or of the entry in it: 1 holds 4 KiB pages, 4 is the root.
pub(super) type Level = u32;

/// Returns the order of a page that an entry at `level` maps.
pub(super) const fn order_at(level: Level) -> PageOrder {
    match level {
        1 => PageOrder::SIZE_4K,
        2 => PageOrder::SIZE_2M,
        _ => PageOrder::SIZE_1G,
    }
}

/// What an entry stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Meaning {
    Empty,
    /// A table of the next lower level, with the number of its entries in use.
    Table {
        frame: Mfn,
        used: u64,
    },
    Page,
}

/// One word of a table. Accessed is always set, and dirty except in a page that is tracked, so the hardware writes to no
/// other entry; and since a page always has the former, an entry that maps something is never 0, even with no rights at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry(pub(super) u64);

impl Entry {
    pub(super) const EMPTY: Self = Self(0);

    /// Returns a reference to a table. All rights: the page decides.
    pub(super) const fn table(frame: Mfn, used: u64) -> Self {
        Self(PRESENT | WRITE | USER | ACCESSED | ((frame.0 << 12) & ADDRESS) | ((used << COUNT_SHIFT) & COUNT_MASK))
    }

    /// Returns a page at `level`. A page that may not be read is not present to the hardware, which has no right to
    /// read.
    pub(super) fn page(mfn: Mfn, level: Level, rights: Rights, kind: PageKind) -> Self {
        let mut word = USER | ACCESSED | DIRTY | ((mfn.0 << 12) & ADDRESS) | ((kind as u64) << KIND_SHIFT);
        if rights.contains(Rights::READ) {
            word |= PRESENT;
        }
        if rights.contains(Rights::WRITE) {
            word |= WRITE;
        }
        if !rights.contains(Rights::EXECUTE) {
            word |= NO_EXECUTE;
        }
        if kind == PageKind::Mmio {
            word |= WRITE_THROUGH | CACHE_OFF;
        }
        if level > 1 {
            word |= LARGE;
        }
        Self(word)
    }

    pub(super) fn meaning(self, level: Level) -> Meaning {
        if self.0 == 0 {
            Meaning::Empty
        } else if level == 1 || self.0 & LARGE != 0 {
            Meaning::Page
        } else {
            Meaning::Table { frame: self.frame(), used: (self.0 & COUNT_MASK) >> COUNT_SHIFT }
        }
    }

    const fn frame(self) -> Mfn {
        Mfn((self.0 & ADDRESS) >> 12)
    }

    /// Returns the reference to a table with another count of used entries.
    pub(super) const fn with_used(self, used: u64) -> Self {
        Self((self.0 & !COUNT_MASK) | ((used << COUNT_SHIFT) & COUNT_MASK))
    }

    /// Returns the page of the next lower level that lies `index` pages into this page of `level`.
    pub(super) const fn part(self, level: Level, index: u64) -> Self {
        let moved = self.0.wrapping_add((index << (9 * (level - 2))) << 12);
        let part = Self(if level == 2 { moved & !LARGE } else { moved });
        if level == 2 && part.is_tracked() { part.writable() } else { part }
    }

    /// Returns the page at `level` as one that is tracked and was not written; itself if it is not the domain's own
    /// memory or may not be written.
    pub(super) const fn tracked(self, level: Level) -> Self {
        let own = (self.0 & KIND_MASK) >> KIND_SHIFT == PageKind::Ram as u64;
        if !own || self.0 & (WRITE | TRACKED) == 0 {
            return self;
        }
        let marked = (self.0 | TRACKED) & !DIRTY;
        Self(if level == 1 { marked | WRITE } else { marked & !WRITE })
    }

    /// Returns true for a mark for populate-on-demand.
    pub(super) const fn is_mark(self) -> bool {
        (self.0 & KIND_MASK) >> KIND_SHIFT == PageKind::OnDemand as u64
    }

    /// Returns the mark as one whose frames count as written: they were, before the memory was taken away.
    pub(super) const fn written_mark(self) -> Self {
        Self(self.0 | TRACKED | DIRTY)
    }

    /// Returns the page as one that is not tracked.
    pub(super) const fn untracked(self) -> Self {
        if self.is_tracked() { Self((self.0 & !TRACKED) | WRITE | DIRTY) } else { self }
    }

    pub(super) const fn is_tracked(self) -> bool {
        self.0 & TRACKED != 0
    }

    pub(super) const fn is_written(self) -> bool {
        self.0 & DIRTY != 0
    }

    /// Returns true if the page is tracked and was written, in one test: it is asked of every page of a guest.
    pub(super) const fn is_seen_written(self) -> bool {
        self.0 & (TRACKED | DIRTY) == TRACKED | DIRTY
    }

    pub(super) const fn is_writable(self) -> bool {
        self.0 & WRITE != 0
    }

    pub(super) const fn written(self) -> Self {
        Self(self.0 | DIRTY)
    }

    pub(super) const fn writable(self) -> Self {
        Self(self.0 | WRITE)
    }

    /// Returns the page of `level` that 512 pages starting with this one (of the next lower level) make up, if it is
    /// aligned.
    pub(super) fn joined(self, level: Level) -> Option<Self> {
        order_at(level).aligned(self.frame().0).then_some(Self(self.0 | LARGE))
    }

    /// Returns what the page at `level` says about the frame `offset` 4 KiB pages behind its start.
    pub(super) fn mapping(self, level: Level, offset: u64) -> Option<Mapping> {
        let mut rights = Rights::empty();
        rights.set(Rights::READ, self.0 & PRESENT != 0);
        rights.set(Rights::WRITE, self.0 & (WRITE | TRACKED) != 0);
        rights.set(Rights::EXECUTE, self.0 & NO_EXECUTE == 0);
        Some(Mapping {
            mfn: self.frame().checked_add(offset)?,
            order: order_at(level),
            rights,
            kind: PageKind::from_bits(((self.0 & KIND_MASK) >> KIND_SHIFT) as u8)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_rights_kind_and_frame() {
        for bits in 0..=Rights::ALL.bits() {
            let rights = Rights::from_bits(bits).unwrap();
            for kind in (0..6).map(|bits| PageKind::from_bits(bits).unwrap()) {
                for level in 1..=3 {
                    let entry = Entry::page(Mfn(0x1234 << 18), level, rights, kind);
                    assert_eq!(entry.meaning(level), Meaning::Page);
                    let mapping = entry.mapping(level, 5).unwrap();
                    let expected = Mapping { mfn: Mfn((0x1234 << 18) + 5), order: order_at(level), rights, kind };
                    assert_eq!(mapping, expected);
                }
            }
        }
    }

    #[test]
    fn a_page_without_the_right_to_read_is_not_present_to_the_hardware() {
        let entry = Entry::page(Mfn(7), 1, Rights::WRITE, PageKind::Ram);
        assert_eq!(entry.0 & PRESENT, 0);
        assert_ne!(entry, Entry::EMPTY);
    }

    #[test]
    fn device_memory_is_not_cached() {
        let entry = Entry::page(Mfn(7), 1, Rights::DATA, PageKind::Mmio);
        assert_eq!(entry.0 & 0x18, 0x18);
        assert_eq!(Entry::page(Mfn(7), 1, Rights::DATA, PageKind::Ram).0 & 0x18, 0);
    }

    #[test]
    fn a_table_keeps_its_frame_and_how_full_it_is() {
        for used in [0, 1, 511, 512] {
            let entry = Entry::table(Mfn(0xff_ffff_ffff), 3).with_used(used);
            assert_eq!(entry.meaning(2), Meaning::Table { frame: Mfn(0xff_ffff_ffff), used });
        }
    }

    #[test]
    fn a_page_is_the_sum_of_its_parts() {
        let whole = Entry::page(Mfn(1 << 18), 3, Rights::ALL, PageKind::Ram);
        let part = whole.part(3, 9);
        assert_eq!(part, Entry::page(Mfn((1 << 18) + 9 * 512), 2, Rights::ALL, PageKind::Ram));
        assert_eq!(part.part(2, 3), Entry::page(Mfn((1 << 18) + 9 * 512 + 3), 1, Rights::ALL, PageKind::Ram));
        assert_eq!(whole.part(3, 0).joined(3), Some(whole));
        assert_eq!(part.joined(3), None);
    }
}
