//! Scrubbing: clearing what the last owner left in a frame.

use super::state::{FrameState, FrameUse};
use super::table::Frame;
use super::{Frames, FreeFrame, Heap, OwnedFrame, Pages};
use xenolith_hal::{DomId, Mfn, PageOrder};
use xenolith_sync::atomic::Ordering;

/// The block that an idle CPU scrubs at a time: 64 KiB.
const A_LITTLE: PageOrder = PageOrder(4);

impl Heap {
    /// Returns a block to the allocator after it was scrubbed in whole or in part. Its region may be clean by now.
    fn restore(&mut self, block: FreeFrame, dirty: bool) {
        if dirty {
            self.note_dirty(block.mfn.0..block.mfn.0.saturating_add(block.order.pages()));
        }
        self.being_cleared = self.being_cleared.saturating_sub(block.order.pages());
        self.buddy.give(block.mfn, block.order);
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
    fn scrub_block(&self, pages: &impl Pages, most: PageOrder, enough: impl Fn() -> bool) -> bool {
        let unfinished = self.heap.lock().unfinished.pop();
        let next = || self.take_dirty_block(most).map(|(start, order)| (self.taken(start, order), 0));
        let Some((block, clear_words)) = unfinished.or_else(next) else { return false };
        let stopped = self.scrub_frames_until(pages, block.mfn, block.order.pages(), clear_words, enough);
        let mut heap = self.heap.lock();
        match stopped {
            Some(clear_words) if heap.unfinished.len() < heap.unfinished.capacity() => {
                heap.unfinished.push((block, clear_words));
            }
            _ => {
                drop(heap);
                let dirty = self.mark_free(&block);
                self.heap.lock().restore(block, dirty);
            }
        }
        true
    }

    /// Returns the blocks whose scrubbing was interrupted to the allocator; false if there was none.
    pub(super) fn put_unfinished_back(&self, heap: &mut Heap) -> bool {
        let mut any = false;
        while let Some((block, _)) = heap.unfinished.pop() {
            let dirty = self.mark_free(&block);
            heap.restore(block, dirty);
            any = true;
        }
        any
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

    fn take_dirty_block(&self, most: PageOrder) -> Option<(Mfn, PageOrder)> {
        let mut heap = self.heap.lock();
        loop {
            let region = heap.dirty_regions.highest_below(usize::MAX)?;
            let start = Mfn((region as u64) << PageOrder::SIZE_2M.0);
            if let Some((block, order)) = self.dirty_block_of(&heap, start, most)
                && heap.buddy.take_block(block, order)
            {
                heap.being_cleared = heap.being_cleared.saturating_add(order.pages());
                return Some((block, order));
            }
            heap.dirty_regions.remove(region);
        }
    }

    /// Finds a free block of at most `most` in a region of 2 MiB that holds a dirty frame, or such a part of a larger
    /// block.
    fn dirty_block_of(&self, heap: &Heap, region: Mfn, most: PageOrder) -> Option<(Mfn, PageOrder)> {
        let end = region.0.saturating_add(PageOrder::SIZE_2M.pages());
        let mut next = region.0;
        while next < end {
            let Some((_, order)) = heap.buddy.containing(Mfn(next)) else {
                next = next.saturating_add(1);
                continue;
            };
            let order = PageOrder(order.min(most.0));
            let start = next & !(order.pages() - 1);
            if self.table.block(Mfn(start), order.pages()).iter().any(|frame| frame.state().dirty) {
                return Some((Mfn(start), order));
            }
            next = start.saturating_add(order.pages());
        }
        None
    }
}
