//! Scrubbing: clearing what the last owner left in a frame.

use super::state::{FrameState, FrameUse};
use super::table::Frame;
use super::{Frames, FreeFrame, Heap, OwnedFrame, Pages};
use xenolith_hal::{DomId, Mfn, PageOrder};
use xenolith_sync::atomic::Ordering;

/// The block that an idle CPU scrubs at a time: 64 KiB.
const A_LITTLE: PageOrder = PageOrder(4);
/// How many regions of 2 MiB are looked through at most before somebody else gets his turn.
const REGIONS_A_SEARCH: u32 = 64;

/// What came of looking for something to clear.
enum Found {
    Block(Mfn, PageOrder),
    /// Nothing so far; there is more to be looked through.
    NothingYet,
    Nothing,
}

impl Heap {
    /// Returns a block to the allocator after it was scrubbed in whole or in part. Its region may be clean by now.
    fn restore(&mut self, block: FreeFrame, dirty: bool) {
        if dirty {
            self.note_dirty(block.mfn.0..block.mfn.0.saturating_add(block.order.pages()));
        }
        self.being_cleared = self.being_cleared.saturating_sub(block.order.pages());
        self.buddy.give(block.mfn, block.order);
    }

    /// Returns the first frame of a region that may hold dirty frames, and unmarks the region.
    fn take_dirty_region(&mut self) -> Option<Mfn> {
        let region = self.dirty_regions.highest_below(usize::MAX)?;
        self.dirty_regions.remove(region);
        Some(Mfn((region as u64) << PageOrder::SIZE_2M.0))
    }

    /// Takes the free block that a frame lies in, or the part of the size `most` of a larger one, to be scrubbed.
    fn take_part(&mut self, frame: Mfn, most: PageOrder) -> Option<(Mfn, PageOrder)> {
        let (_, order) = self.buddy.containing(frame)?;
        let order = PageOrder(order.min(most.0));
        let start = Mfn(frame.0 >> order.0 << order.0);
        if !self.buddy.take_block(start, order) {
            return None;
        }
        self.being_cleared = self.being_cleared.saturating_add(order.pages());
        Some((start, order))
    }
}

impl Frames {
    /// Scrubs the dirty frames of a run that no one but the caller can reach.
    pub(super) fn scrub_frames(&self, pages: &impl Pages, start: Mfn, count: u64) {
        self.scrub_frames_until(pages, start, count, 0, || false);
    }

    /// Scrubs the dirty frames of a run. Skips the first `clear_words` words of the first dirty frame, and stops when
    /// `enough` returns true: then returns how many words of the next frame are zero. Returns None when all are.
    fn scrub_frames_until(
        &self,
        pages: &impl Pages,
        start: Mfn,
        count: u64,
        clear_words: usize,
        enough: impl Fn() -> bool,
    ) -> Option<usize> {
        let last = start.0.saturating_add(count).saturating_sub(1);
        let mut from = clear_words;
        for (mfn, frame) in self.table.run(start, count) {
            if frame.state().dirty {
                let stopped = pages.page(mfn).and_then(|page| page.clear_from(core::mem::take(&mut from), &enough));
                if stopped.is_some() {
                    return stopped;
                }
                self.forget_dirty(frame);
                if enough() {
                    return (mfn.0 < last).then_some(0);
                }
            }
        }
        None
    }

    /// Scrubs a block that has just left the allocator, and makes it the memory of a domain, in one pass.
    pub(super) fn own_cleared(&self, pages: &impl Pages, mfn: Mfn, order: PageOrder, owner: DomId) -> OwnedFrame {
        let owned = FrameState::owned(owner, FrameUse::Guest);
        let mut cleared: u64 = 0;
        for (frame, at) in self.table.block(mfn, order.pages()).iter().zip(mfn.0..) {
            if frame.state().dirty {
                if let Some(page) = pages.page(Mfn(at)) {
                    page.clear();
                }
                cleared = cleared.saturating_add(1);
            }
            frame.replace(owned);
        }
        self.dirty.fetch_sub(cleared, Ordering::Relaxed);
        OwnedFrame { mfn, order, owner }
    }

    /// Marks the frame as clean: it was scrubbed, or its new owner overwrites it.
    pub(super) fn forget_dirty(&self, frame: &Frame) {
        let state = frame.state();
        if state.dirty {
            self.dirty.fetch_sub(1, Ordering::Relaxed);
            frame.replace(FrameState { dirty: false, ..state });
        }
    }

    /// Scrubs one free block of at most 2 MiB. Returns false if nothing is dirty.
    pub fn scrub_some(&self, pages: &impl Pages) -> bool {
        self.scrub_block(pages, PageOrder::SIZE_2M, || false)
    }

    /// Scrubs one free block of at most 64 KiB: for an idle CPU, so that later allocations find clean memory. Stops
    /// within a quarter of a page when `enough` reports other work, and continues there the next time. Returns false if
    /// nothing is dirty.
    pub fn scrub_a_little(&self, pages: &impl Pages, enough: impl Fn() -> bool) -> bool {
        self.scrub_pending() > 0 && self.scrub_block(pages, A_LITTLE, enough)
    }

    /// Scrubs a block of at most `most`. A block that is left half done is kept aside until a CPU continues it or needs
    /// it: merging it with its neighbours would take too long for the work that interrupted it.
    #[expect(clippy::disallowed_methods, reason = "only where there is room")]
    fn scrub_block(&self, pages: &impl Pages, most: PageOrder, enough: impl Fn() -> bool) -> bool {
        let unfinished = self.heap.lock().unfinished.pop();
        let (block, clear_words) = match unfinished {
            Some(unfinished) => unfinished,
            None => match self.take_dirty_block(most, &enough) {
                Found::Block(start, order) => (self.taken(start, order), 0),
                Found::NothingYet => return true,
                Found::Nothing => return false,
            },
        };
        let stopped = self.scrub_frames_until(pages, block.mfn, block.order.pages(), clear_words, enough);
        let mut heap = self.heap.lock();
        match stopped {
            Some(clear_words) if heap.unfinished.len() < heap.unfinished.capacity() => {
                heap.unfinished.push((block, clear_words));
            }
            _ => {
                drop(heap);
                self.put_scrubbed_back(block);
            }
        }
        true
    }

    /// Returns the blocks whose scrubbing was interrupted to the allocator, one for each CPU at most; false if there was none.
    pub(super) fn put_unfinished_back(&self) -> bool {
        let mut any = false;
        loop {
            // In a statement of its own, so that the lock is not held while the block is looked through.
            let unfinished = self.heap.lock().unfinished.pop();
            let Some((block, _)) = unfinished else { return any };
            self.put_scrubbed_back(block);
            any = true;
        }
    }

    /// Returns a block to the allocator, scrubbed or not.
    fn put_scrubbed_back(&self, block: FreeFrame) {
        let dirty = self.mark_free(&block);
        self.heap.lock().restore(block, dirty);
    }

    /// Marks the frames of a block as free, and dirty ones as dirty; returns true if there is a dirty one.
    fn mark_free(&self, block: &FreeFrame) -> bool {
        let mut any = false;
        for frame in self.table.block(block.mfn, block.order.pages()) {
            let dirty = frame.state().dirty;
            frame.replace(FrameState::unowned(FrameUse::Free, dirty));
            any |= dirty;
        }
        any
    }

    /// Searches regions that may hold dirty frames, a constant number of them, until one does or `enough` returns true. The lock is held for one region's name and for one block, never for a search.
    fn take_dirty_block(&self, most: PageOrder, enough: &impl Fn() -> bool) -> Found {
        for _ in 0..REGIONS_A_SEARCH {
            let region = self.heap.lock().take_dirty_region();
            let Some(region) = region else { return Found::Nothing };
            if let Some((block, order)) = self.take_dirty_block_of(region, most) {
                return Found::Block(block, order);
            }
            if enough() {
                break;
            }
        }
        Found::NothingYet
    }

    /// Takes a free block of at most `most` that holds a dirty frame out of a region of 2 MiB, or such a part of a larger
    /// block.
    ///
    /// The region's frames are looked at without the lock. A CPU that frees a frame marks the frame first and its
    /// region afterwards, under the lock; here the region was unmarked first. So the region of a frame that is missed is
    /// marked again.
    fn take_dirty_block_of(&self, region: Mfn, most: PageOrder) -> Option<(Mfn, PageOrder)> {
        let frames = self.table.block(region, PageOrder::SIZE_2M.pages());
        let dirty = |frame: &Frame| {
            let state = frame.state();
            state.dirty && state.used_as == FrameUse::Free
        };
        for (_, mfn) in frames.iter().zip(region.0..).filter(|(frame, _)| dirty(frame)) {
            let mut heap = self.heap.lock();
            if let Some(taken) = heap.take_part(Mfn(mfn), most) {
                // It may have others.
                heap.note_dirty(region.0..mfn.saturating_add(1));
                return Some(taken);
            }
        }
        None
    }
}
