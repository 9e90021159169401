//! Machine memory: the owner and the references of each frame, the allocator, and deferred freeing.
//!
//! A frame is free again only when its owner has released it *and* every reference to it is gone *and*, if a guest
//! could reach it, a grace period has passed ([`epoch`]).

pub mod account;
mod buddy;
pub mod epoch;
mod heap;
mod level_bitmap;
mod limbo;
pub mod pool;
mod reclaim;
mod scrub;
pub mod state;
mod table;
mod token;

pub use account::Account;
pub use heap::ClaimError;
pub use pool::PagingPool;
pub use state::{FrameState, FrameUse};
pub use token::{FreeFrame, OwnedFrame, PageRef, SharedFrame};

use account::Accounts;
use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use arrayvec::ArrayVec;
use buddy::{Buddy, MAX_ORDER, blocks};
use core::ops::Range;
use epoch::Epochs;
use heap::Heap;
use level_bitmap::LevelBitmap;
use limbo::Limbo;
use table::{Frame, FrameTable, disjoint};
use xenolith_hal::{DomId, Machine, Mfn, PageOrder, PageWords};
use xenolith_sync::atomic::{AtomicU64, Ordering};
use xenolith_sync::{Padded, SpinLock, rank};

/// The contents of machine frames, and the devices that may reach them.
pub trait Pages {
    /// Returns a page of RAM that the core may use; None for anything else.
    fn page(&self, mfn: Mfn) -> Option<&PageWords>;

    /// Flushes the devices' TLB; false if an IOMMU does not answer. Nothing that was unmapped is freed until it is true.
    fn flush_devices(&self) -> bool {
        true
    }
}

impl<M: Machine> Pages for M {
    fn page(&self, mfn: Mfn) -> Option<&PageWords> {
        Machine::page(self, mfn)
    }

    fn flush_devices(&self) -> bool {
        Machine::flush_devices(self)
    }
}

/// No bound for the address of a block.
pub const ANYWHERE: Mfn = Mfn(u64::MAX);

/// Why a domain did not get a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AllocationError {
    /// The domain has as many as it may have.
    OverMaximum,
    /// No free block is large enough. More may become free soon: [`Frames::waiting`].
    NoMemory,
    /// No domain can have this identifier.
    NoDomain,
}

/// The frames of the machine that the hypervisor allocates.
#[derive(Debug)]
pub struct Frames {
    table: FrameTable,
    accounts: Accounts,
    heap: SpinLock<Heap, rank::Frames>,
    epochs: Epochs,
    limbo: Box<[Padded<SpinLock<Limbo, rank::Frames>>]>,
    /// Frames whose freeing is deferred.
    waiting: AtomicU64,
    /// Free frames that must be scrubbed before use.
    dirty: AtomicU64,
}

impl Frames {
    /// Creates the frame table and the allocator for frames below `limit`, of which those in `ram` are free, on a
    /// machine of `cpus` CPUs, all of which are idle.
    ///
    /// `ram` is the unused RAM: without the image, the heap, modules. Overlapping ranges are counted once.
    ///
    /// **Errors:** no memory for the tables: 16 bytes a frame in each GiB with RAM, half a byte a frame below `limit`.
    pub fn new(limit: Mfn, ram: &[Range<Mfn>], cpus: usize) -> Result<Self, TryReserveError> {
        Self::for_domains(limit, ram, cpus, DomId::FIRST_RESERVED.0)
    }

    /// Does the same as [`Frames::new`], with accounts only for domains below a number.
    ///
    /// **Errors:** no memory for the tables.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn for_domains(limit: Mfn, ram: &[Range<Mfn>], cpus: usize, domains: u16) -> Result<Self, TryReserveError> {
        let table = FrameTable::new(limit, ram)?;
        let limit = table.limit();
        let mut heap = Heap {
            buddy: Buddy::new(limit)?,
            dirty_regions: LevelBitmap::new(((limit.0 >> PageOrder::SIZE_2M.0) as usize).saturating_add(1))?,
            claims: 0,
            cached: 0,
            being_cleared: 0,
            unfinished: Vec::new(),
        };
        heap.unfinished.try_reserve_exact(cpus)?;
        for range in disjoint(ram)? {
            let range = range.start..range.end.min(limit.0);
            heap.note_dirty(range.clone());
            heap.buddy.give_range(range);
        }
        let dirty = heap.buddy.free_frames();
        let mut limbo = Vec::new();
        let slots = cpus.clamp(1, reclaim::MOST_SLOTS);
        limbo.try_reserve_exact(slots)?;
        limbo.extend((0..slots).map(|_| Padded(SpinLock::new(Limbo::new()))));
        Ok(Self {
            table,
            accounts: Accounts::new(domains)?,
            heap: SpinLock::new(heap),
            epochs: Epochs::new(cpus)?,
            limbo: limbo.into_boxed_slice(),
            waiting: AtomicU64::new(0),
            dirty: AtomicU64::new(dirty),
        })
    }

    /// Frees frames that were the hypervisor's own until now, as far as they are in the frame table.
    pub fn add(&self, run: Range<Mfn>) {
        for (start, order) in blocks(run.start.0..run.end.0) {
            if self.table.block(Mfn(start), order.pages()).len() as u64 == order.pages() {
                self.free_block(Mfn(start), order);
            }
        }
    }

    /// Returns the account of a domain; None for an identifier that no domain can have.
    pub fn account(&self, domain: DomId) -> Option<&Account> {
        self.accounts.get(domain)
    }

    /// Returns the state of a frame; None where there is no RAM.
    pub fn state(&self, mfn: Mfn) -> Option<FrameState> {
        Some(self.table.get(mfn)?.state())
    }

    /// Returns the frame number one past the highest frame.
    pub fn limit(&self) -> Mfn {
        self.table.limit()
    }

    /// Returns the number of free frames, claimed ones and dirty ones included, but without the
    /// caches of domains.
    pub fn free_pages(&self) -> u64 {
        let heap = self.heap.lock();
        heap.buddy.free_frames().saturating_add(heap.being_cleared).saturating_sub(heap.cached)
    }

    /// Returns the number of free frames that are not scrubbed yet.
    pub fn scrub_pending(&self) -> u64 {
        self.dirty.load(Ordering::Relaxed)
    }

    /// Returns the number of frames that are claimed and not allocated.
    pub fn claimed_pages(&self) -> u64 {
        let heap = self.heap.lock();
        heap.claims.saturating_sub(heap.cached)
    }

    /// Allocates a scrubbed block that ends at or below `below`.
    pub fn take(&self, pages: &impl Pages, order: PageOrder, below: Mfn) -> Option<FreeFrame> {
        let frame = self.take_unscrubbed(pages, order, below)?;
        self.scrub_frames(pages, frame.mfn, frame.order.pages());
        Some(frame)
    }

    /// Allocates a block without scrubbing it: for callers that overwrite all of it.
    pub fn take_unscrubbed(&self, pages: &impl Pages, order: PageOrder, below: Mfn) -> Option<FreeFrame> {
        self.take_for(pages, order, below, None, false).map(|mfn| self.taken(mfn, order))
    }

    /// Takes a block for an account, out of its cache if `cached` says so.
    fn take_for(
        &self,
        pages: &impl Pages,
        order: PageOrder,
        below: Mfn,
        claimant: Option<&Account>,
        cached: bool,
    ) -> Option<Mfn> {
        if order.0 > MAX_ORDER {
            return None;
        }
        let attempt = || self.heap.lock().take(order, below, claimant, cached);
        let mut got = attempt();
        if got.is_none() && self.put_unfinished_back() {
            got = attempt();
        }
        for _ in 0..reclaim::PARTS_FOR_ONE {
            if got.is_some() || !self.collect_parts(pages) {
                break;
            }
            got = attempt();
        }
        got
    }

    /// Allocates this block, unscrubbed, if all of it is free: for memory whose address matters.
    pub fn take_block(&self, start: Mfn, order: PageOrder) -> Option<FreeFrame> {
        if order.0 > MAX_ORDER {
            return None;
        }
        let attempt = || self.heap.lock().buddy.take_block(start, order);
        let got = attempt() || (self.put_unfinished_back() && attempt());
        got.then(|| self.taken(start, order))
    }

    /// Marks the frames of a block that left the allocator.
    #[inline]
    fn taken(&self, mfn: Mfn, order: PageOrder) -> FreeFrame {
        for frame in self.table.block(mfn, order.pages()) {
            let dirty = frame.state().dirty;
            frame.replace(FrameState::unowned(FrameUse::Taken, dirty));
        }
        FreeFrame { mfn, order }
    }

    /// Frees a block that no guest ever saw.
    pub fn give_back(&self, frame: FreeFrame) {
        self.free_block(frame.mfn, frame.order);
    }

    /// Makes a block the memory of a domain.
    ///
    /// **Errors:** the block, with the reason.
    pub fn assign(&self, frame: FreeFrame, owner: DomId) -> Result<OwnedFrame, (FreeFrame, AllocationError)> {
        let Some(account) = self.accounts.get(owner) else { return Err((frame, AllocationError::NoDomain)) };
        if !account.charge(frame.order.pages() as u32) {
            return Err((frame, AllocationError::OverMaximum));
        }
        Ok(self.own(frame, owner))
    }

    fn own(&self, block: FreeFrame, owner: DomId) -> OwnedFrame {
        let FreeFrame { mfn, order } = block;
        for frame in self.table.block(mfn, order.pages()) {
            self.forget_dirty(frame);
            frame.replace(FrameState::owned(owner, FrameUse::Guest));
        }
        OwnedFrame { mfn, order, owner }
    }

    /// Allocates a scrubbed block that ends at or below `below` as memory of a domain, out of its claim if it has one.
    ///
    /// **Errors:** see [`AllocationError`].
    pub fn allocate(
        &self,
        pages: &impl Pages,
        owner: DomId,
        order: PageOrder,
        below: Mfn,
    ) -> Result<OwnedFrame, AllocationError> {
        self.allocate_from(pages, owner, order, below, false)
    }

    /// Allocates a scrubbed block out of a domain's cache; see [`Frames::set_cache`].
    ///
    /// **Errors:** [`AllocationError::OverMaximum`] if the cache has not as many pages, [`AllocationError::NoMemory`] if
    /// they are not free yet, or not beside each other.
    pub fn allocate_cached(
        &self,
        pages: &impl Pages,
        owner: DomId,
        order: PageOrder,
    ) -> Result<OwnedFrame, AllocationError> {
        self.allocate_from(pages, owner, order, ANYWHERE, true)
    }

    fn allocate_from(
        &self,
        pages: &impl Pages,
        owner: DomId,
        order: PageOrder,
        below: Mfn,
        cached: bool,
    ) -> Result<OwnedFrame, AllocationError> {
        let account = self.accounts.get(owner).ok_or(AllocationError::NoDomain)?;
        let count = if order.0 <= MAX_ORDER { order.pages() as u32 } else { return Err(AllocationError::NoMemory) };
        let may = if cached { account.cached() >= count } else { account.charge(count) };
        if !may {
            return Err(AllocationError::OverMaximum);
        }
        let taken = self.take_for(pages, order, below, Some(account), cached);
        if cached && taken.is_some() {
            account.charge_cached(count);
        } else if !cached && taken.is_none() {
            account.uncharge(count);
        }
        let mfn = taken.ok_or(AllocationError::NoMemory)?;
        Ok(self.own_cleared(pages, mfn, order, owner))
    }

    /// Releases a block frame by frame, part of which a guest may have seen.
    pub fn retire(&self, frame: OwnedFrame) {
        for (mfn, _) in self.table.run(frame.mfn, frame.order.pages()) {
            self.release(mfn, frame.owner);
        }
    }

    /// Releases a frame of a domain's memory that is no longer in its p2m. Returns true the first time: the frame is
    /// freed when all references are gone and a grace period has passed.
    pub fn release(&self, mfn: Mfn, owner: DomId) -> bool {
        self.disown(mfn, owner, FrameUse::Guest)
    }

    fn disown(&self, mfn: Mfn, owner: DomId, used_as: FrameUse) -> bool {
        let Some(before) = self.table.get(mfn).and_then(|frame| frame.disown(owner, used_as)) else { return false };
        if before.references == 1 {
            self.uncount(before);
        }
        self.defer(mfn);
        true
    }

    /// Allocates a scrubbed frame that `owner` may map but that stays the hypervisor's.
    #[inline]
    pub fn take_shared(&self, pages: &impl Pages, owner: DomId) -> Option<SharedFrame> {
        let account = self.accounts.get(owner)?;
        let FreeFrame { mfn, .. } = self.take(pages, PageOrder::SIZE_4K, ANYWHERE)?;
        let frame = self.table.get(mfn)?;
        account.add_shared();
        frame.replace(FrameState::owned(owner, FrameUse::Shared));
        Some(SharedFrame { mfn, owner })
    }

    /// Releases a frame that a domain could see; it is freed when it is no longer mapped anywhere.
    pub fn release_shared(&self, shared: SharedFrame) {
        self.disown(shared.mfn, shared.owner, FrameUse::Shared);
    }

    pub(super) fn take_table(&self, pages: &impl Pages, owner: DomId) -> Option<Mfn> {
        let FreeFrame { mfn, .. } = self.take(pages, PageOrder::SIZE_4K, ANYWHERE)?;
        self.table.get(mfn)?.replace(FrameState::owned(owner, FrameUse::Table));
        Some(mfn)
    }

    pub(super) fn release_table(&self, mfn: Mfn, owner: DomId) -> bool {
        self.disown(mfn, owner, FrameUse::Table)
    }

    /// Takes a reference to a frame, if `owner` owns it and it is a domain's memory or shared by the hypervisor. Works
    /// on a frame that its owner released as long as other references exist.
    pub fn reference(&self, mfn: Mfn, owner: DomId) -> Option<PageRef> {
        self.table.get(mfn)?.reference(owner).then_some(PageRef { mfn })
    }

    /// Drops a reference through which no guest could reach the frame.
    pub fn put(&self, reference: PageRef) {
        if let Some(frame) = self.table.get(reference.mfn)
            && let Some(last) = frame.unreference(1)
        {
            self.free_unreferenced(reference.mfn, frame, last);
        }
    }

    /// Drops a reference through which a guest could reach the frame until just now: after a grace period.
    pub fn put_later(&self, reference: PageRef) {
        self.defer(reference.mfn);
    }

    /// Frees a frame whose last reference is gone; `last` is its state before.
    fn free_unreferenced(&self, mfn: Mfn, frame: &Frame, last: FrameState) {
        self.make_free(frame, last);
        self.heap.lock().give_single(mfn);
    }

    /// Marks a frame whose last reference is gone as free; [`Heap::give_single`] follows.
    #[inline]
    fn make_free(&self, frame: &Frame, last: FrameState) {
        self.uncount(last);
        frame.replace(FrameState::unowned(FrameUse::Free, true));
        if !last.dirty {
            self.dirty.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Gives single frames to the allocator that are marked as free.
    #[inline]
    fn give_singles(&self, single: &mut ArrayVec<Mfn, 8>) {
        if single.is_empty() {
            return;
        }
        let mut heap = self.heap.lock();
        single.drain(..).for_each(|mfn| heap.give_single(mfn));
    }

    /// Subtracts a frame from its owner's account.
    fn uncount(&self, state: FrameState) {
        if let Some(account) = self.accounts.get(state.owner) {
            match state.used_as {
                FrameUse::Guest => account.uncharge(1),
                FrameUse::Shared => account.remove_shared(),
                _ => {}
            }
        }
    }

    fn free_block(&self, mfn: Mfn, order: PageOrder) {
        let mut soiled: u64 = 0;
        for frame in self.table.block(mfn, order.pages()) {
            soiled = soiled.saturating_add((!frame.state().dirty).into());
            frame.replace(FrameState::unowned(FrameUse::Free, true));
        }
        self.dirty.fetch_add(soiled, Ordering::Relaxed);
        let mut heap = self.heap.lock();
        heap.note_dirty(mfn.0..mfn.0.saturating_add(order.pages()));
        heap.buddy.give(mfn, order);
    }
}
