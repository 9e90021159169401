//! Page tables in the format of AMD's IOMMU: the memory of a domain that devices reach.
//!
//! They follow the nested page tables (see [`crate::guest::nested`]), whose lock the caller holds. A change becomes
//! visible by one store of one word. Tables are never freed while devices may walk them.
//!
//! **Source:** AMD I/O Virtualization Technology specification 3.07, 2.2.3.

use core::sync::atomic::{AtomicU64, Ordering};

use xenolith_hal::{FrameSource, Gfn, MapError, Mapping, Mfn, Mpa, PageKind, PageOrder, PageWords, Rights};

use crate::guest::frame_access::FrameAccess;

const PRESENT: u64 = 1;
/// What a table's reference says of the table: its level. 0 stands for a page.
const LEVEL_SHIFT: u32 = 9;
const LEVEL_MASK: u64 = 7 << LEVEL_SHIFT;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const MAY_READ: u64 = 1 << 61;
const MAY_WRITE: u64 = 1 << 62;

/// The level of the root table.
pub const ROOT_LEVEL: u32 = 4;
/// Frames that four levels can name.
const GFN_LIMIT: u64 = 1 << 36;

/// Counts the pages unmapped for devices: the IOMMUs' TLBs may hold them until they are flushed.
pub static TAKEN_AWAY: AtomicU64 = AtomicU64::new(0);

/// A four-level table.
pub struct IoTables<A> {
    access: A,
    root: Mfn,
}

fn table_entry(frame: Mfn, level: u32) -> u64 {
    PRESENT | u64::from(level) << LEVEL_SHIFT | (frame.0 << 12) & ADDRESS | MAY_READ | MAY_WRITE
}

fn page_entry(frame: u64, rights: Rights) -> u64 {
    let mut word = PRESENT | (frame << 12) & ADDRESS;
    if rights.contains(Rights::READ) {
        word |= MAY_READ;
    }
    if rights.contains(Rights::WRITE) {
        word |= MAY_WRITE;
    }
    word
}

const fn level_of(word: u64) -> u32 {
    ((word & LEVEL_MASK) >> LEVEL_SHIFT) as u32
}

/// Frames that an entry of a level stands for.
const fn span(level: u32) -> u64 {
    1 << (9 * (level - 1))
}

const fn index(gfn: u64, level: u32) -> usize {
    ((gfn / span(level)) & 511) as usize
}

/// Returns whether devices may use a mapping of this kind: memory, of whichever domain, but not registers of other
/// devices.
#[must_use]
pub const fn is_for_devices(kind: PageKind) -> bool {
    matches!(kind, PageKind::Ram | PageKind::Foreign | PageKind::Grant)
}

impl<A: FrameAccess> IoTables<A> {
    /// Creates an empty table; none if the pool is empty.
    pub fn new(access: A, frames: &mut dyn FrameSource) -> Option<Self> {
        Some(Self { access, root: frames.take()? })
    }

    /// Returns the address of the root table.
    #[must_use]
    pub const fn root(&self) -> Mpa {
        Mpa::from_mfn(self.root)
    }

    fn table(&self, frame: Mfn) -> Result<&PageWords, MapError> {
        self.access.frame(frame).ok_or(MapError::NoMemory)
    }

    fn slot(&self, table: Mfn, gfn: u64, level: u32) -> Result<&AtomicU64, MapError> {
        self.table(table)?.words().get(index(gfn, level)).ok_or(MapError::OutOfRange)
    }

    /// Returns the table below an entry of `level`: created if there is none, with the parts of the page that was
    /// mapped there.
    fn table_below(&self, slot: &AtomicU64, level: u32, frames: &mut dyn FrameSource) -> Result<Mfn, MapError> {
        let word = slot.load(Ordering::Acquire);
        if word & PRESENT != 0 && level_of(word) != 0 {
            return Ok(Mfn((word & ADDRESS) >> 12));
        }
        let frame = frames.take().ok_or(MapError::NoMemory)?;
        if word & PRESENT != 0 {
            let parts = (word..).step_by((span(level - 1) as usize) << 12);
            for (part, entry) in parts.zip(self.table(frame)?.words()) {
                entry.store(part, Ordering::Relaxed);
            }
        }
        slot.store(table_entry(frame, level - 1), Ordering::Release);
        Ok(frame)
    }

    /// Maps for devices what a domain has at a frame, in place of what was mapped for them there. Kinds that are not
    /// for devices are left out.
    ///
    /// **Errors:** `NoMemory`, `OutOfRange`, `Unaligned`. A part may be mapped then.
    pub fn map(&self, gfn: Gfn, mapping: Mapping, frames: &mut dyn FrameSource) -> Result<(), MapError> {
        let level = match mapping.order {
            PageOrder::SIZE_4K => 1,
            PageOrder::SIZE_2M => 2,
            PageOrder::SIZE_1G => 3,
            _ => return Err(MapError::Unaligned),
        };
        if !is_for_devices(mapping.kind) {
            return Ok(());
        }
        self.map_identity(gfn, mapping.mfn, level, mapping.rights, frames)
    }

    /// Maps like [`IoTables::map`], for a page of `level` of any kind.
    fn map_identity(
        &self,
        gfn: Gfn,
        mfn: Mfn,
        level: u32,
        rights: Rights,
        frames: &mut dyn FrameSource,
    ) -> Result<(), MapError> {
        if gfn.0 >= GFN_LIMIT {
            return Err(MapError::OutOfRange);
        }
        let mut table = self.root;
        for above in (level + 1..=ROOT_LEVEL).rev() {
            table = self.table_below(self.slot(table, gfn.0, above)?, above, frames)?;
        }
        self.fill(self.slot(table, gfn.0, level)?, level, mfn.0, rights)
    }

    /// Identity-maps memory that the firmware reserves for devices.
    ///
    /// **Errors:** as [`IoTables::map`].
    pub fn map_reserved(&self, frame: Mfn, rights: Rights, frames: &mut dyn FrameSource) -> Result<(), MapError> {
        self.map_identity(Gfn(frame.0), frame, 1, rights, frames)
    }

    /// Maps a page at an entry; at each entry of the table below, if there is one.
    fn fill(&self, slot: &AtomicU64, level: u32, frame: u64, rights: Rights) -> Result<(), MapError> {
        let word = slot.load(Ordering::Acquire);
        if word & PRESENT == 0 || level_of(word) == 0 {
            slot.store(page_entry(frame, rights), Ordering::Release);
            return Ok(());
        }
        let below = self.table(Mfn((word & ADDRESS) >> 12))?;
        for (part, entry) in (frame..).step_by(span(level - 1) as usize).zip(below.words()) {
            self.fill(entry, level - 1, part, rights)?;
        }
        Ok(())
    }

    /// Unmaps a page of 4 KiB for devices; returns true if it was mapped. The IOMMUs' TLBs may hold it: see
    /// [`TAKEN_AWAY`].
    ///
    /// **Errors:** `NoMemory` if a superpage had to be split; nothing was changed.
    pub fn unmap(&self, gfn: Gfn, frames: &mut dyn FrameSource) -> Result<bool, MapError> {
        if gfn.0 >= GFN_LIMIT {
            return Ok(false);
        }
        let mut table = self.root;
        for level in (2..=ROOT_LEVEL).rev() {
            let slot = self.slot(table, gfn.0, level)?;
            if slot.load(Ordering::Acquire) & PRESENT == 0 {
                return Ok(false);
            }
            table = self.table_below(slot, level, frames)?;
        }
        let had = self.slot(table, gfn.0, 1)?.swap(0, Ordering::AcqRel) & PRESENT != 0;
        if had {
            TAKEN_AWAY.fetch_add(1, Ordering::SeqCst);
        }
        Ok(had)
    }

    /// Unmaps everything for devices in the page of `level` around a frame. A larger page that they have there is
    /// split; without a frame for that they lose it whole, rather than keep what is soon somebody else's. Tables stay.
    pub fn take_away(&self, gfn: Gfn, level: u32, frames: &mut dyn FrameSource) {
        let mut table = self.root;
        for above in (level + 1..=ROOT_LEVEL).rev() {
            let Ok(slot) = self.slot(table, gfn.0, above) else { return };
            if slot.load(Ordering::Acquire) & PRESENT == 0 {
                return;
            }
            let Ok(below) = self.table_below(slot, above, frames) else {
                slot.store(0, Ordering::Release);
                TAKEN_AWAY.fetch_add(1, Ordering::SeqCst);
                return;
            };
            table = below;
        }
        if let Ok(slot) = self.slot(table, gfn.0, level) {
            self.clear(slot, level);
            TAKEN_AWAY.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn clear(&self, slot: &AtomicU64, level: u32) {
        let word = slot.load(Ordering::Acquire);
        if word & PRESENT == 0 || level_of(word) == 0 || level <= 1 {
            slot.store(0, Ordering::Release);
        } else if let Ok(below) = self.table(Mfn((word & ADDRESS) >> 12)) {
            below.words().iter().for_each(|entry| self.clear(entry, level - 1));
        }
    }

    /// Looks up the frame and the rights of a device's access, as the hardware does.
    #[must_use]
    pub fn walk(&self, gfn: Gfn) -> Option<(Mfn, Rights)> {
        let mut table = self.root;
        let mut level = ROOT_LEVEL;
        loop {
            let word = self.slot(table, gfn.0, level).ok()?.load(Ordering::Acquire);
            if word & PRESENT == 0 {
                return None;
            }
            let frame = (word & ADDRESS) >> 12;
            match level_of(word) {
                0 => {
                    let mut rights = Rights::empty();
                    rights.set(Rights::READ, word & MAY_READ != 0);
                    rights.set(Rights::WRITE, word & MAY_WRITE != 0);
                    return Some((Mfn(frame | gfn.0 & (span(level) - 1)), rights));
                }
                below => {
                    table = Mfn(frame);
                    level = below;
                }
            }
        }
    }

    fn give_back_below(&self, table: Mfn, level: u32, frames: &mut dyn FrameSource) {
        if level > 1
            && let Ok(page) = self.table(table)
        {
            for word in page.words().iter().map(|word| word.load(Ordering::Acquire)) {
                if word & PRESENT != 0 && level_of(word) != 0 {
                    self.give_back_below(Mfn((word & ADDRESS) >> 12), level - 1, frames);
                }
            }
        }
        frames.give_back(table);
    }

    /// Frees every table. No device may use them any more.
    pub fn tear_down(&self, frames: &mut dyn FrameSource) {
        self.give_back_below(self.root, ROOT_LEVEL, frames);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::guest::frame_pool::Pool;

    fn tables(frames: u64) -> (IoTables<Pool>, Pool) {
        let mut pool = Pool::new(frames);
        (IoTables::new(pool.clone(), &mut pool).unwrap(), pool)
    }

    fn mapping(mfn: u64, order: PageOrder, kind: PageKind) -> Mapping {
        Mapping { mfn: Mfn(mfn), order, rights: Rights::ALL, kind }
    }

    #[test]
    fn a_large_page_with_a_hole_is_reached_all_around_it() {
        let (tables, mut pool) = tables(8);
        tables.map(Gfn(1 << 18), mapping(1 << 18, PageOrder::SIZE_1G, PageKind::Ram), &mut pool).unwrap();
        let hole = Gfn((1 << 18) + 513);
        assert_eq!(tables.unmap(hole, &mut pool), Ok(true));
        assert_eq!(tables.unmap(hole, &mut pool), Ok(false));
        assert_eq!(tables.walk(hole), None);
        for gfn in [1 << 18, (1 << 18) + 512, (1 << 18) + 514, (1 << 18) + 1024, (1 << 19) - 1] {
            assert_eq!(tables.walk(Gfn(gfn)), Some((Mfn(gfn), Rights::DATA)), "{gfn:#x}");
        }
        assert_eq!(tables.walk(Gfn(1 << 19)), None);
    }

    #[test]
    fn a_grant_for_reading_cannot_be_written_and_registers_cannot_be_reached() {
        let (tables, mut pool) = tables(8);
        let grant = Mapping { rights: Rights::READ, ..mapping(77, PageOrder::SIZE_4K, PageKind::Grant) };
        tables.map(Gfn(5), grant, &mut pool).unwrap();
        assert_eq!(tables.walk(Gfn(5)), Some((Mfn(77), Rights::READ)));
        tables.map(Gfn(6), mapping(6, PageOrder::SIZE_4K, PageKind::Mmio), &mut pool).unwrap();
        tables.map(Gfn(7), mapping(7, PageOrder::SIZE_4K, PageKind::Shared), &mut pool).unwrap();
        assert_eq!((tables.walk(Gfn(6)), tables.walk(Gfn(7))), (None, None));
    }

    #[test]
    fn a_whole_page_is_taken_away_however_it_was_put_together() {
        let (tables, mut pool) = tables(16);
        tables.map(Gfn(512), mapping(512, PageOrder::SIZE_2M, PageKind::Ram), &mut pool).unwrap();
        tables.map(Gfn(1024), mapping(7, PageOrder::SIZE_4K, PageKind::Ram), &mut pool).unwrap();
        tables.take_away(Gfn(1024), 2, &mut pool);
        assert_eq!((tables.walk(Gfn(1024)), tables.walk(Gfn(512)).is_some()), (None, true));
        tables.take_away(Gfn(512), 2, &mut pool);
        tables.take_away(Gfn(1 << 20), 2, &mut pool);
        assert_eq!(tables.walk(Gfn(1023)), None);
    }

    #[test]
    fn without_memory_nothing_is_taken_away() {
        let (tables, mut pool) = tables(3);
        tables.map(Gfn(512), mapping(512, PageOrder::SIZE_2M, PageKind::Ram), &mut pool).unwrap();
        assert_eq!(tables.unmap(Gfn(512), &mut pool), Err(MapError::NoMemory));
        assert!(tables.walk(Gfn(512)).is_some());
    }

    #[test]
    fn every_table_is_given_back() {
        let (tables, mut pool) = tables(16);
        for gfn in [0, 1 << 9, 1 << 18, 1 << 27] {
            tables.map(Gfn(gfn), mapping(9, PageOrder::SIZE_4K, PageKind::Ram), &mut pool).unwrap();
        }
        tables.tear_down(&mut pool);
        assert_eq!(pool.taken(), 0);
    }

    #[test]
    fn a_taken_page_is_counted() {
        let (tables, mut pool) = tables(8);
        tables.map(Gfn(3), mapping(9, PageOrder::SIZE_4K, PageKind::Foreign), &mut pool).unwrap();
        let before = TAKEN_AWAY.load(Ordering::SeqCst);
        tables.unmap(Gfn(3), &mut pool).unwrap();
        assert!(TAKEN_AWAY.load(Ordering::SeqCst) > before);
    }

    proptest! {
        #[test]
        fn devices_reach_what_was_mapped_last(
            steps in proptest::collection::vec((0u64..4, 0u64..3000, 0u8..4), 1..60),
        ) {
            let (tables, mut pool) = tables(64);
            let mut model: BTreeMap<u64, u64> = BTreeMap::new();
            for (number, gfn, what) in steps {
                match what {
                    0 => {
                        let gfn = gfn & !511;
                        let mfn = (number + 1) << 18;
                        tables.map(Gfn(gfn), mapping(mfn, PageOrder::SIZE_2M, PageKind::Ram), &mut pool).unwrap();
                        model.extend((0..512).map(|page| (gfn + page, mfn + page)));
                    }
                    1 | 2 => {
                        let mfn = 0x5000 + number;
                        tables.map(Gfn(gfn), mapping(mfn, PageOrder::SIZE_4K, PageKind::Foreign), &mut pool).unwrap();
                        model.insert(gfn, mfn);
                    }
                    _ => {
                        let had = tables.unmap(Gfn(gfn), &mut pool).unwrap();
                        prop_assert_eq!(had, model.remove(&gfn).is_some());
                    }
                }
            }
            for gfn in 0..4096 {
                prop_assert_eq!(tables.walk(Gfn(gfn)).map(|(mfn, _)| mfn.0), model.get(&gfn).copied());
            }
        }
    }
}
