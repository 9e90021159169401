//! The buddy allocator: free machine frames in blocks of powers of two.

use super::level_bitmap::LevelBitmap;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use core::ops::Range;
use xenolith_hal::{Mfn, PageOrder};

/// The largest block: 1 GiB.
pub const MAX_ORDER: u8 = 18;

/// Free blocks by order. Holes in the machine's memory are frames that were never added.
///
/// It takes a quarter of a byte for each frame below the limit. The highest fitting block is taken, so that low memory
/// is left for devices and guests that need it.
#[derive(Debug)]
pub struct Buddy {
    orders: Vec<LevelBitmap>,
    limit: u64,
    free: u64,
}

impl Buddy {
    /// Creates an empty allocator for frames below `limit`.
    ///
    /// **Errors:** no memory.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn new(limit: Mfn) -> Result<Self, TryReserveError> {
        let mut orders = Vec::new();
        orders.try_reserve_exact(usize::from(MAX_ORDER) + 1)?;
        for order in 0..=MAX_ORDER {
            orders.push(LevelBitmap::new((limit.0 >> order) as usize)?);
        }
        Ok(Self { orders, limit: limit.0, free: 0 })
    }

    /// Returns the number of free frames.
    pub const fn free_frames(&self) -> u64 {
        self.free
    }

    /// Takes a block whose end is at or below `below`.
    pub fn take(&mut self, order: PageOrder, below: Mfn) -> Option<Mfn> {
        self.take_preferring(order, below, |_| true)
    }

    /// Takes a block whose end is at or below `below`, if possible one whose start `suits`: the highest of each size is
    /// looked at. If none suits, the smallest block that is large enough is split.
    pub fn take_preferring(&mut self, order: PageOrder, below: Mfn, suits: impl Fn(Mfn) -> bool) -> Option<Mfn> {
        let bound = below.0.min(self.limit);
        // A block that is larger than asked may stick out above the bound as long as its lowest part does not.
        let last = bound.checked_sub(order_pages(order.0))?;
        let mut found = None;
        for larger in order.0..=MAX_ORDER {
            let end = (last >> larger).saturating_add(1);
            let Some(index) = self.orders.get(usize::from(larger))?.highest_below(end as usize) else { continue };
            let start = (index as u64) << larger;
            let part = start.saturating_add(order_pages(larger)).saturating_sub(order_pages(order.0)).min(last);
            let suits = suits(Mfn(part >> order.0 << order.0));
            if suits || found.is_none() {
                found = Some((start, larger));
            }
            if suits {
                break;
            }
        }
        let (start, larger) = found?;
        self.remove(larger, start);
        self.free = self.free.saturating_sub(order_pages(order.0));
        Some(Mfn(self.split(start, larger, order.0, bound)))
    }

    /// Splits a block: frees the parts that are not wanted and returns the start of the wanted one, the highest below
    /// the bound.
    #[expect(clippy::arithmetic_side_effects, reason = "a part of a block, whose end is a frame number of the table")]
    fn split(&mut self, start: u64, from: u8, to: u8, bound: u64) -> u64 {
        let mut start = start;
        for order in (to..from).rev() {
            let half = start + order_pages(order);
            let wanted_end = if half + order_pages(to) <= bound { half } else { start };
            let unwanted = if wanted_end == half { start } else { half };
            self.insert(order, unwanted);
            start = wanted_end;
        }
        start
    }

    /// Takes this block out of the free block around it; returns false if part of it is not free or it is not aligned.
    #[expect(clippy::arithmetic_side_effects, reason = "a part of a block, whose end is a frame number of the table")]
    pub fn take_block(&mut self, block: Mfn, size: PageOrder) -> bool {
        let Some((start, order)) = self.containing(block).filter(|(_, order)| *order >= size.0) else { return false };
        if !size.aligned(block.0) {
            return false;
        }
        self.remove(order, start);
        let mut start = start;
        for order in (size.0..order).rev() {
            let half = start + order_pages(order);
            if block.0 >= half {
                self.insert(order, start);
                start = half;
            } else {
                self.insert(order, half);
            }
        }
        self.free = self.free.saturating_sub(order_pages(size.0));
        true
    }

    /// Returns the free block that contains a frame.
    #[inline]
    pub fn containing(&self, frame: Mfn) -> Option<(u64, u8)> {
        (0..=MAX_ORDER).find(|order| self.contains(*order, frame.0)).map(|order| (frame.0 >> order << order, order))
    }

    /// Frees a block and merges it with its free neighbours. The caller owned it: no part of it is free.
    pub fn give(&mut self, start: Mfn, order: PageOrder) {
        let (mut start, mut order) = (start.0, order.0);
        self.free = self.free.saturating_add(order_pages(order));
        while order < MAX_ORDER {
            let buddy = start ^ order_pages(order);
            if !self.remove(order, buddy) {
                break;
            }
            start = start.min(buddy);
            order = order.wrapping_add(1);
        }
        self.insert(order, start);
    }

    /// Frees a range of frames of any length.
    pub fn give_range(&mut self, range: Range<u64>) {
        for (start, order) in blocks(range.start..range.end.min(self.limit)) {
            self.give(Mfn(start), order);
        }
    }

    fn contains(&self, order: u8, frame: u64) -> bool {
        self.orders.get(usize::from(order)).is_some_and(|blocks| blocks.contains((frame >> order) as usize))
    }

    #[inline]
    fn insert(&mut self, order: u8, start: u64) {
        if let Some(blocks) = self.orders.get_mut(usize::from(order)) {
            blocks.insert((start >> order) as usize);
        }
    }

    #[inline]
    fn remove(&mut self, order: u8, start: u64) -> bool {
        self.orders.get_mut(usize::from(order)).is_some_and(|blocks| blocks.remove((start >> order) as usize))
    }
}

const fn order_pages(order: u8) -> u64 {
    PageOrder(order).pages()
}

/// Splits a range of frames into the largest aligned blocks.
pub fn blocks(range: Range<u64>) -> impl Iterator<Item = (u64, PageOrder)> {
    let mut next = range.start;
    core::iter::from_fn(move || {
        let left = range.end.checked_sub(next).filter(|left| *left > 0)?;
        let by_size = left.ilog2();
        let order = by_size.min(next.trailing_zeros()).min(u32::from(MAX_ORDER)) as u8;
        let start = next;
        // Up to the end of the range.
        next = next.wrapping_add(order_pages(order));
        Some((start, PageOrder(order)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeSet;
    use proptest::prelude::*;

    const ANYWHERE: Mfn = Mfn(u64::MAX);

    fn with<const N: usize>(ranges: [Range<u64>; N]) -> Buddy {
        let mut buddy = Buddy::new(Mfn(1 << 20)).unwrap();
        for range in ranges {
            buddy.give_range(range);
        }
        buddy
    }

    #[test]
    fn a_gigabyte_comes_back_whole_after_it_was_taken_in_pages() {
        let mut buddy = with([0..1 << 18; 1]);
        let mut taken: Vec<Mfn> = Vec::new();
        while let Some(frame) = buddy.take(PageOrder::SIZE_4K, ANYWHERE) {
            taken.push(frame);
        }
        assert_eq!((taken.len(), buddy.free_frames()), (1 << 18, 0));
        for frame in taken {
            buddy.give(frame, PageOrder::SIZE_4K);
        }
        assert_eq!(buddy.take(PageOrder::SIZE_1G, ANYWHERE), Some(Mfn(0)));
    }

    #[test]
    fn no_block_reaches_over_a_hole() {
        let mut buddy = with([0..511, 512..1024]);
        assert_eq!(buddy.take(PageOrder::SIZE_2M, ANYWHERE), Some(Mfn(512)));
        assert_eq!(buddy.take(PageOrder::SIZE_2M, ANYWHERE), None);
    }

    #[test]
    fn a_block_below_a_bound_ends_below_it() {
        let mut buddy = with([0..1 << 18; 1]);
        assert_eq!(buddy.take(PageOrder::SIZE_2M, Mfn(1100)), Some(Mfn(512)));
        assert_eq!(buddy.take(PageOrder::SIZE_4K, Mfn(3)), Some(Mfn(2)));
        assert_eq!(buddy.take(PageOrder::SIZE_4K, Mfn(0)), None);
    }

    #[test]
    fn a_named_block_is_cut_out_of_a_larger_one() {
        let mut buddy = with([0..1024; 1]);
        assert!(buddy.take_block(Mfn(700), PageOrder::SIZE_4K));
        assert!(!buddy.take_block(Mfn(700), PageOrder::SIZE_4K));
        assert!(!buddy.take_block(Mfn(512), PageOrder::SIZE_2M));
        assert!(!buddy.take_block(Mfn(1), PageOrder(1)));
        assert!(buddy.take_block(Mfn(0), PageOrder::SIZE_2M));
        assert_eq!(buddy.free_frames(), 511);
        buddy.give(Mfn(700), PageOrder::SIZE_4K);
        buddy.give(Mfn(0), PageOrder::SIZE_2M);
        assert_eq!(buddy.take(PageOrder(10), ANYWHERE), Some(Mfn(0)));
    }

    #[test]
    fn a_block_that_suits_comes_before_a_smaller_one_that_does_not() {
        let mut buddy = Buddy::new(Mfn(1 << 12)).unwrap();
        buddy.give(Mfn(0), PageOrder(10));
        buddy.give(Mfn(3 << 9), PageOrder::SIZE_2M);
        buddy.give(Mfn(7 << 9), PageOrder::SIZE_2M);
        // The larger block is clean, and the two others are not.
        let clean = |start: Mfn| start.0 < 3 << 9;
        let mut taken = || buddy.take_preferring(PageOrder::SIZE_2M, ANYWHERE, clean).map(|start| start.0 >> 9);
        assert_eq!([taken(), taken(), taken(), taken()], [Some(1), Some(7), Some(3), Some(0)]);
    }

    proptest! {
        /// Compares with a plain set of free frames: blocks never overlap, lie where they may, and are merged when
        /// freed.
        #[test]
        fn it_hands_out_only_free_frames_and_counts_them(
            holes in prop::collection::btree_set(0u64..4096, 0..8),
            steps in prop::collection::vec((any::<bool>(), 0u8..11, 0u64..5000, any::<prop::sample::Index>()), 1..120),
        ) {
            let mut buddy = Buddy::new(Mfn(4096)).unwrap();
            let mut free: BTreeSet<u64> = (0..4096).filter(|frame| !holes.contains(frame)).collect();
            for frame in &free {
                buddy.give(Mfn(*frame), PageOrder::SIZE_4K);
            }
            let mut taken: Vec<(u64, u8)> = Vec::new();
            for (take, order, below, pick) in steps {
                if take {
                    let size = 1u64 << order;
                    let possible = (0..4096 / size).map(|i| i * size)
                        .any(|s| s + size <= below && (s..s + size).all(|f| free.contains(&f)));
                    let got = buddy.take(PageOrder(order), Mfn(below));
                    prop_assert_eq!(got.is_some(), possible);
                    if let Some(Mfn(start)) = got {
                        prop_assert!(start % size == 0 && start + size <= below);
                        for frame in start..start + size {
                            prop_assert!(free.remove(&frame));
                        }
                        taken.push((start, order));
                    }
                } else if !taken.is_empty() {
                    let (start, order) = taken.swap_remove(pick.index(taken.len()));
                    buddy.give(Mfn(start), PageOrder(order));
                    free.extend(start..start + (1 << order));
                }
                prop_assert_eq!(buddy.free_frames(), free.len() as u64);
            }
        }

        #[test]
        fn a_range_is_cut_into_aligned_blocks_without_gaps(start in 0u64..1 << 20, length in 0u64..1 << 20) {
            let mut next = start;
            for (at, order) in blocks(start..start + length) {
                prop_assert_eq!(at, next);
                prop_assert!(order.aligned(at));
                next += order.pages();
            }
            prop_assert_eq!(next, start + length);
        }
    }
}
