//! Free frames and claims on them.

use super::account::Account;
use super::buddy::Buddy;
use super::level_bitmap::LevelBitmap;
use super::{Frames, FreeFrame};
use alloc::vec::Vec;
use core::ops::Range;
use xenolith_hal::{DomId, Mfn, PageOrder};

/// Free frames and the claims of domains (Xen's `XENMEM_claim_pages`).
#[derive(Debug)]
pub(super) struct Heap {
    pub(super) buddy: Buddy,
    /// Regions of 2 MiB in which free frames may be dirty.
    pub(super) dirty_regions: LevelBitmap,
    /// The sum of all accounts' claims.
    pub(super) claims: u64,
    /// Free frames that are out of the allocator while a CPU scrubs them.
    pub(super) being_cleared: u64,
    /// Blocks whose scrubbing was interrupted, limited by the vector's capacity, and how many words of the first dirty
    /// frame are zero. They count as being scrubbed.
    pub(super) unfinished: Vec<(FreeFrame, usize)>,
}

/// Why a claim was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClaimError {
    /// The domain has a claim, or has as many pages already, or may not have that many.
    Invalid,
    /// Not enough memory is free.
    NoMemory,
}

impl Heap {
    fn unclaimed(&self) -> u64 {
        self.buddy.free_frames().saturating_sub(self.claims)
    }

    pub(super) fn take(&mut self, order: PageOrder, below: Mfn, claimant: Option<&Account>) -> Option<Mfn> {
        let count = order.pages();
        let claimed = claimant.map_or(0, |account| u64::from(account.claimed()));
        if self.unclaimed() < count && claimed < count {
            return None;
        }
        let mfn = self.take_block(order, below)?;
        if let Some(account) = claimant {
            let used = claimed.min(count);
            account.set_claimed(claimed.saturating_sub(used) as u32);
            self.claims = self.claims.saturating_sub(used);
        }
        Some(mfn)
    }

    /// Takes a block; a large one where nothing is to be cleared, if that is found at once.
    fn take_block(&mut self, order: PageOrder, below: Mfn) -> Option<Mfn> {
        if order < PageOrder::SIZE_2M {
            return self.buddy.take(order, below);
        }
        let Self { buddy, dirty_regions, .. } = self;
        let is_clean = |start: Mfn| !dirty_regions.contains((start.0 >> PageOrder::SIZE_2M.0) as usize);
        buddy.take_preferring(order, below, is_clean)
    }

    fn claim(&mut self, account: &Account, pages: u64) -> Result<(), ClaimError> {
        if pages == 0 {
            self.claims = self.claims.saturating_sub(u64::from(account.claimed()));
            account.set_claimed(0);
            return Ok(());
        }
        let total = account.total();
        let wanted = u32::try_from(pages).ok().filter(|pages| *pages > total && *pages <= account.max());
        let more = wanted.filter(|_| account.claimed() == 0).ok_or(ClaimError::Invalid)?.saturating_sub(total);
        if u64::from(more) > self.unclaimed() {
            return Err(ClaimError::NoMemory);
        }
        self.claims = self.claims.saturating_add(u64::from(more));
        account.set_claimed(more);
        Ok(())
    }

    /// Takes in a frame that is dirty.
    #[inline]
    pub(super) fn give_single(&mut self, mfn: Mfn) {
        self.dirty_regions.insert((mfn.0 >> PageOrder::SIZE_2M.0) as usize);
        self.buddy.give(mfn, PageOrder::SIZE_4K);
    }

    pub(super) fn note_dirty(&mut self, frames: Range<u64>) {
        let first = frames.start >> PageOrder::SIZE_2M.0;
        let last = frames.end.saturating_sub(1) >> PageOrder::SIZE_2M.0;
        for region in first..=last {
            self.dirty_regions.insert(region as usize);
        }
    }
}

impl Frames {
    /// Claims free memory for a domain until it has `pages` pages in all; 0 ends the claim.
    ///
    /// **Errors:** [`ClaimError`].
    pub fn claim(&self, domain: DomId, pages: u64) -> Result<(), ClaimError> {
        let account = self.accounts.get(domain).ok_or(ClaimError::Invalid)?;
        let attempt = || self.heap.lock().claim(account, pages);
        match attempt() {
            Err(ClaimError::NoMemory) if self.put_unfinished_back() => attempt(),
            claimed => claimed,
        }
    }
}
