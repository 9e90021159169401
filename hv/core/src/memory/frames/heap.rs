//! Free frames and claims on them.

use super::account::Account;
use super::buddy::Buddy;
use super::level_bitmap::LevelBitmap;
use super::{AllocationError, Frames, FreeFrame};
use alloc::vec::Vec;
use core::ops::Range;
use xenolith_hal::{DomId, Mfn, PageOrder};

/// Free frames and the claims of domains (Xen's `XENMEM_claim_pages`).
#[derive(Debug)]
pub(super) struct Heap {
    pub(super) buddy: Buddy,
    /// Regions of 2 MiB in which free frames may be dirty.
    pub(super) dirty_regions: LevelBitmap,
    /// The sum of all accounts' claims and of `cached`.
    pub(super) claims: u64,
    /// The sum of what all accounts keep for populate-on-demand.
    pub(super) cached: u64,
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

    /// Sets what an account keeps, whether that much is free or not.
    fn set_cached(&mut self, account: &Account, pages: u32) {
        for sum in [&mut self.claims, &mut self.cached] {
            *sum = sum.saturating_sub(account.cached().into()).saturating_add(pages.into());
        }
        account.set_cached(pages);
    }

    /// Takes a block for an account: with its claim's help, or with `cached` out of its cache alone.
    pub(super) fn take(
        &mut self,
        order: PageOrder,
        below: Mfn,
        claimant: Option<&Account>,
        cached: bool,
    ) -> Option<Mfn> {
        let count = order.pages();
        let unclaimed = if cached { 0 } else { self.unclaimed() };
        let kept = claimant.map_or(0, |account| if cached { account.cached() } else { account.claimed() });
        if unclaimed < count && u64::from(kept) < count {
            return None;
        }
        let mfn = self.take_block(order, below)?;
        if let Some(account) = claimant {
            let left = kept.saturating_sub(count as u32);
            if cached {
                self.set_cached(account, left);
            } else {
                account.set_claimed(left);
                self.claims = self.claims.saturating_sub(kept.saturating_sub(left).into());
            }
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

    /// Keeps free memory for a domain: its cache for populate-on-demand, which counts as its own. Less than before is
    /// always to be had.
    ///
    /// **Errors:** [`AllocationError::NoMemory`] if not enough is free; [`AllocationError::OverMaximum`] past its maximum.
    pub fn set_cache(&self, domain: DomId, pages: u32) -> Result<(), AllocationError> {
        let account = self.accounts.get(domain).ok_or(AllocationError::NoDomain)?;
        let attempt = || {
            let mut heap = self.heap.lock();
            let more = pages.saturating_sub(account.cached());
            if u64::from(more) > heap.unclaimed() {
                return Err(AllocationError::NoMemory);
            }
            if more > 0 && account.total().checked_add(pages).is_none_or(|total| total > account.max()) {
                return Err(AllocationError::OverMaximum);
            }
            heap.set_cached(account, pages);
            Ok(())
        };
        match attempt() {
            Err(AllocationError::NoMemory) if self.put_unfinished_back() => attempt(),
            done => done,
        }
    }

    /// Adds pages that a domain has released to its cache. They may still wait for a grace period; nobody else gets them. A
    /// domain that is going keeps nothing.
    pub fn add_to_cache(&self, domain: DomId, pages: u32) {
        let Some(account) = self.accounts.get(domain) else { return };
        let mut heap = self.heap.lock();
        if account.max() > 0 {
            heap.set_cached(account, account.cached().saturating_add(pages));
        }
    }
}
