//! Nested page tables kept in a map.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use xenolith_hal::{FrameSource, Gfn, MapError, Mapping, Mfn, NestedSpace, PageKind, PageOrder, Rights, WRITTEN_WORDS};

/// Guest frames there can be: 48 bits of address.
const LIMIT: u64 = 1 << 36;
/// The orders that pages come in, smallest first.
const ORDERS: [PageOrder; 3] = [PageOrder::SIZE_4K, PageOrder::SIZE_2M, PageOrder::SIZE_1G];

/// A domain's p2m. Unlike the hardware's, it never merges neighbours into superpages.
#[derive(Debug, Default)]
pub struct FakeSpace {
    inner: Mutex<Inner>,
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    /// The mapped pages, by first guest frame; no two overlap.
    pages: BTreeMap<u64, Mapping>,
    /// A frame for each GiB with a mapping in it, as real page tables take frames.
    tables: BTreeMap<u64, Mfn>,
    torn_down: bool,
    /// The frames whose writes are tracked, and the ones that were written.
    tracked: Range<u64>,
    written: BTreeSet<u64>,
}

impl Inner {
    /// Returns the page that holds a guest frame, with its first frame.
    fn holder(&self, gfn: u64) -> Option<(u64, Mapping)> {
        let (&first, mapping) = self.pages.range(..=gfn).next_back()?;
        (gfn - first < mapping.order.pages()).then_some((first, *mapping))
    }

    fn is_free(&self, first: u64, pages: u64) -> bool {
        self.holder(first).is_none() && self.pages.range(first..first.saturating_add(pages)).next().is_none()
    }

    /// Takes away the marks in a range, if nothing else is there and none is larger.
    fn take_marks(&mut self, first: u64, pages: u64) {
        let larger = self.holder(first).is_some_and(|(start, there)| start < first || there.order.pages() > pages);
        let range = first..first.saturating_add(pages);
        let marks = || self.pages.range(range.clone()).map(|(gfn, there)| (*gfn, there.kind == PageKind::OnDemand));
        if !larger && marks().all(|(_, mark)| mark) {
            let marks: Vec<u64> = marks().map(|(gfn, _)| gfn).collect();
            for gfn in marks {
                self.pages.remove(&gfn);
            }
        }
    }

    /// Notes writes to tracked frames of RAM that the guest may write.
    fn note(&mut self, frames: Vec<u64>) {
        let own = |inner: &Self, frame| {
            inner
                .holder(frame)
                .is_some_and(|(_, mapping)| mapping.kind == PageKind::Ram && mapping.rights.contains(Rights::WRITE))
        };
        let tracked: Vec<u64> =
            frames.into_iter().filter(|frame| self.tracked.contains(frame) && own(self, *frame)).collect();
        self.written.extend(tracked);
    }

    /// Splits a superpage into 512 pages of the next smaller order.
    fn split(&mut self, first: u64, mapping: Mapping) {
        let smaller = if mapping.order == PageOrder::SIZE_1G { PageOrder::SIZE_2M } else { PageOrder::SIZE_4K };
        self.pages.remove(&first);
        for part in 0..512 {
            let offset = part * smaller.pages();
            let mfn = Mfn(mapping.mfn.0 + offset);
            self.pages.insert(first + offset, Mapping { mfn, order: smaller, ..mapping });
        }
    }
}

impl FakeSpace {
    /// Does what the processor does when the guest writes.
    pub fn guest_writes(&self, gfn: Gfn) {
        self.note_written(gfn);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NestedSpace for FakeSpace {
    fn lookup(&self, gfn: Gfn) -> Option<Mapping> {
        let (first, mapping) = self.inner().holder(gfn.0)?;
        let there = Mapping { mfn: Mfn(mapping.mfn.0 + (gfn.0 - first)), ..mapping };
        Some(there).filter(|there| there.kind != PageKind::OnDemand)
    }

    fn mark_at(&self, gfn: Gfn) -> (bool, PageOrder) {
        let inner = self.inner();
        if let Some((_, there)) = inner.holder(gfn.0) {
            return (there.kind == PageKind::OnDemand, there.order);
        }
        let empty = |order: &PageOrder| inner.is_free(gfn.0 & !(order.pages() - 1), order.pages());
        (false, ORDERS.into_iter().rfind(empty).unwrap_or(PageOrder::SIZE_4K))
    }

    fn map(&self, gfn: Gfn, mapping: Mapping, frames: &mut dyn FrameSource) -> Result<(), MapError> {
        let pages = mapping.order.pages();
        if !ORDERS.contains(&mapping.order) || !gfn.0.is_multiple_of(pages) || !mapping.mfn.0.is_multiple_of(pages) {
            return Err(MapError::Unaligned);
        }
        if gfn.0.checked_add(pages).is_none_or(|end| end > LIMIT) {
            return Err(MapError::OutOfRange);
        }
        let mut inner = self.inner();
        if inner.torn_down {
            return Err(MapError::OutOfRange);
        }
        inner.take_marks(gfn.0, pages);
        if !inner.is_free(gfn.0, pages) {
            return Err(MapError::Occupied);
        }
        let gib = gfn.0 >> PageOrder::SIZE_1G.0;
        if let Entry::Vacant(place) = inner.tables.entry(gib) {
            place.insert(frames.take().ok_or(MapError::NoMemory)?);
        }
        inner.pages.insert(gfn.0, mapping);
        inner.note((gfn.0..gfn.0 + pages).collect());
        Ok(())
    }

    fn unmap(&self, gfn: Gfn, _frames: &mut dyn FrameSource) -> Result<Option<Mapping>, MapError> {
        let mut inner = self.inner();
        while let Some((first, mapping)) = inner.holder(gfn.0) {
            if mapping.order == PageOrder::SIZE_4K {
                inner.pages.remove(&first);
                self.generation.fetch_add(1, Ordering::SeqCst);
                return Ok(Some(mapping));
            }
            inner.split(first, mapping);
        }
        Ok(None)
    }

    fn set_rights(&self, gfn: Gfn, rights: Rights, _frames: &mut dyn FrameSource) -> Result<(), MapError> {
        let mut inner = self.inner();
        while let Some((first, mapping)) = inner.holder(gfn.0) {
            if mapping.order == PageOrder::SIZE_4K {
                inner.pages.insert(first, Mapping { rights, ..mapping });
                inner.note(vec![first]);
                self.generation.fetch_add(1, Ordering::SeqCst);
                break;
            }
            inner.split(first, mapping);
        }
        Ok(())
    }

    fn take_next(&self, from: Gfn, _frames: &mut dyn FrameSource) -> Option<(Gfn, Mapping)> {
        let mut inner = self.inner();
        let holder = inner.holder(from.0).map(|(first, _)| first);
        let first = holder.or_else(|| inner.pages.range(from.0..).next().map(|(first, _)| *first))?;
        let taken = inner.pages.remove(&first)?;
        self.generation.fetch_add(1, Ordering::SeqCst);
        Some((Gfn(first), taken))
    }

    fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    fn flush(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
    }

    fn set_tracked(&self, frames: Range<u64>) {
        let mut inner = self.inner();
        inner.written.retain(|frame| frames.contains(frame));
        inner.tracked = frames;
    }

    fn retrack(&self, from: Gfn, _frames: &mut dyn FrameSource) -> Option<Gfn> {
        self.inner().pages.range(from.0..).next().map(|(first, mapping)| Gfn(first + mapping.order.pages()))
    }

    fn written(&self, first: Gfn, clean: bool, _frames: &mut dyn FrameSource) -> [u64; WRITTEN_WORDS] {
        let mut inner = self.inner();
        let mut bits = [0; WRITTEN_WORDS];
        let found: Vec<u64> = inner.written.range(first.0..first.0 + 512).copied().collect();
        for frame in found {
            let bit = (frame - first.0) as usize;
            if inner.holder(frame).is_some() {
                bits[bit / 64] |= 1 << (bit % 64);
            }
            if clean {
                inner.written.remove(&frame);
            }
        }
        bits
    }

    fn note_written(&self, gfn: Gfn) {
        self.inner().note(vec![gfn.0]);
    }

    /// Nothing is ever protected here.
    fn permit_write(&self, _gfn: Gfn, _frames: &mut dyn FrameSource) -> bool {
        false
    }

    fn tear_down(&self, frames: &mut dyn FrameSource) {
        let mut inner = self.inner();
        inner.torn_down = true;
        inner.pages.clear();
        for table in std::mem::take(&mut inner.tables).into_values() {
            frames.give_back(table);
        }
        self.generation.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pool(Vec<Mfn>);

    impl FrameSource for Pool {
        fn take(&mut self) -> Option<Mfn> {
            self.0.pop()
        }

        fn give_back(&mut self, frame: Mfn) {
            self.0.push(frame);
        }
    }

    fn page(mfn: u64, order: PageOrder) -> Mapping {
        Mapping { mfn: Mfn(mfn), order, rights: Rights::ALL, kind: PageKind::Ram }
    }

    #[test]
    fn a_large_page_is_split_when_one_frame_of_it_is_taken_away() {
        let (space, mut pool) = (FakeSpace::default(), Pool(vec![Mfn(9)]));
        space.map(Gfn(0x200), page(0x400, PageOrder::SIZE_2M), &mut pool).unwrap();
        assert_eq!(space.unmap(Gfn(0x203), &mut pool), Ok(Some(page(0x403, PageOrder::SIZE_4K))));
        assert_eq!(space.lookup(Gfn(0x203)), None);
        assert_eq!(space.lookup(Gfn(0x204)), Some(page(0x404, PageOrder::SIZE_4K)));
        assert_eq!(space.generation(), 1);
    }

    #[test]
    fn what_overlaps_or_is_not_aligned_is_refused() {
        let (space, mut pool) = (FakeSpace::default(), Pool(vec![Mfn(9)]));
        space.map(Gfn(0x201), page(1, PageOrder::SIZE_4K), &mut pool).unwrap();
        assert_eq!(space.map(Gfn(0x200), page(0x400, PageOrder::SIZE_2M), &mut pool), Err(MapError::Occupied));
        assert_eq!(space.map(Gfn(0x401), page(0x400, PageOrder::SIZE_2M), &mut pool), Err(MapError::Unaligned));
        assert_eq!(space.map(Gfn(LIMIT), page(1, PageOrder::SIZE_4K), &mut pool), Err(MapError::OutOfRange));
    }

    #[test]
    fn the_next_page_is_taken_whole_and_holes_are_passed_over() {
        let (space, mut pool) = (FakeSpace::default(), Pool(vec![Mfn(9), Mfn(8)]));
        let far = Gfn(1 << 30);
        space.map(Gfn(0x200), page(0x400, PageOrder::SIZE_2M), &mut pool).unwrap();
        space.map(far, page(1, PageOrder::SIZE_4K), &mut pool).unwrap();
        assert_eq!(space.take_next(Gfn(0x300), &mut pool), Some((Gfn(0x200), page(0x400, PageOrder::SIZE_2M))));
        assert_eq!(space.take_next(Gfn(0), &mut pool), Some((far, page(1, PageOrder::SIZE_4K))));
        assert_eq!(space.take_next(Gfn(0), &mut pool), None);
    }

    #[test]
    fn an_empty_pool_means_no_memory_and_tear_down_gives_all_back() {
        let (space, mut pool) = (FakeSpace::default(), Pool(vec![Mfn(9)]));
        space.map(Gfn(0), page(1, PageOrder::SIZE_4K), &mut pool).unwrap();
        let elsewhere = Gfn(1 << 30);
        assert_eq!(space.map(elsewhere, page(2, PageOrder::SIZE_4K), &mut pool), Err(MapError::NoMemory));
        space.tear_down(&mut pool);
        assert_eq!((pool.0, space.lookup(Gfn(0))), (vec![Mfn(9)], None));
    }
}
