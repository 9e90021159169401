//! The physmap (p2m) of a domain: the page at each guest frame, and changes to it, one at a time.

use crate::memory::frames::epoch::Epoch;
use crate::memory::frames::{Frames, PageRef, Pages, PagingPool};
use crate::memory::on_demand::OnDemand;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use xen_abi::Errno;
use xen_abi::memory_map::MemmapEntry;
use xenolith_hal::{
    DomId, FrameSource, Gfn, MapError, Mapping, Mfn, NestedSpace, PageKind, PageOrder, Rights, WRITTEN_WORDS,
};
use xenolith_sync::{SpinLock, rank};

/// When pages were last unmapped, as moments by which every CPU has flushed them from its TLB.
#[derive(Debug, Default)]
struct Removals {
    last: AtomicU64,
    /// The last moment for which CPUs were kicked.
    asked: AtomicU64,
    /// The last moment that is known to have passed.
    flushed: AtomicU64,
}

/// The p2m lock of a domain, and the paging pool that pays for its page tables.
#[derive(Debug)]
pub struct Physmap {
    pool: SpinLock<PagingPool, rank::P2m>,
    /// The highest guest frame that was ever mapped.
    highest: AtomicU64,
    removals: Removals,
    /// The guest frame at which the domain last mapped its shared_info page; all ones for none.
    shared_info: AtomicU64,
    /// Exits of writes to pages that are tracked, since they were last asked for.
    write_faults: AtomicU32,
    /// The memory map that the toolstack gave it.
    map: SpinLock<Vec<MemmapEntry>, rank::DomainPages>,
    /// What is to be populated on demand.
    pub(super) on_demand: OnDemand,
}

impl Physmap {
    /// Creates the p2m of a domain whose page tables are paid by `pool`.
    #[must_use]
    pub fn new(pool: PagingPool) -> Self {
        Self {
            pool: SpinLock::new(pool),
            highest: AtomicU64::new(0),
            removals: Removals::default(),
            shared_info: AtomicU64::new(Gfn::INVALID.0),
            write_faults: AtomicU32::new(0),
            map: SpinLock::new(Vec::new()),
            on_demand: OnDemand::default(),
        }
    }

    /// Returns how many frames are marked to be populated on demand.
    #[inline]
    pub fn marks(&self) -> u32 {
        self.on_demand.marks()
    }

    /// Returns the highest guest frame that was ever mapped; 0 if none was.
    pub fn highest(&self) -> Gfn {
        Gfn(self.highest.load(Ordering::Relaxed))
    }

    /// Returns the moment after everything that was unmapped so far, if it is not known to have passed, and whether
    /// this is the first call that asks for it.
    pub fn pending_flush(&self) -> Option<(Epoch, bool)> {
        let last = self.removals.last.load(Ordering::Acquire);
        if last <= self.removals.flushed.load(Ordering::Acquire) {
            return None;
        }
        Some((Epoch::from_bits(last), self.removals.asked.fetch_max(last, Ordering::AcqRel) < last))
    }

    /// Notes that translations which CPUs may have cached are void from now on, as if a page had been unmapped.
    pub fn note_stale(&self, frames: &Frames) {
        // Under the lock under which pages are unmapped, so that the later of two moments stays.
        let _pool = self.pool.lock();
        self.removals.last.store(frames.coming_moment().to_bits(), Ordering::Release);
    }

    /// Notes that every CPU has passed this moment.
    pub fn note_flushed(&self, moment: Epoch) {
        self.removals.flushed.fetch_max(moment.to_bits(), Ordering::AcqRel);
    }

    /// Returns the guest frame at which the domain last mapped its shared_info page.
    pub fn shared_info_place(&self) -> Option<Gfn> {
        Some(Gfn(self.shared_info.load(Ordering::Acquire))).filter(|place| *place != Gfn::INVALID)
    }

    /// Sets the guest frame of the domain's shared_info page.
    pub fn note_shared_info(&self, gfn: Gfn) {
        self.shared_info.store(gfn.0, Ordering::Release);
    }

    /// Returns how many writes to tracked pages have exited since this was last called with `reset`.
    pub fn write_faults(&self, reset: bool) -> u32 {
        if reset { self.write_faults.swap(0, Ordering::Relaxed) } else { self.write_faults.load(Ordering::Relaxed) }
    }

    /// Returns a copy of the domain's memory map (E820); None if memory is short.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn memory_map(&self) -> Option<Vec<MemmapEntry>> {
        let map = self.map.lock();
        let mut copy = Vec::new();
        copy.try_reserve_exact(map.len()).ok()?;
        copy.extend_from_slice(&map);
        Some(copy)
    }

    /// Replaces the domain's memory map.
    pub fn set_memory_map(&self, map: Vec<MemmapEntry>) {
        *self.map.lock() = map;
    }

    /// Returns how many pages the page tables take, and the hardware state of vCPUs; None while the p2m lock is held.
    pub fn pool_in_use_if_free(&self) -> Option<u32> {
        self.pool.try_lock().map(|pool| pool.used())
    }

    /// Calls `look` with the paging pool. Not to be called inside [`Memory::edit`].
    pub fn with_pool<T>(&self, look: impl FnOnce(&mut PagingPool) -> T) -> T {
        look(&mut self.pool.lock())
    }
}

/// The memory of one domain: its p2m, and the frames behind it.
pub struct Memory<'a, P: Pages, S: NestedSpace> {
    pub owner: DomId,
    pub frames: &'a Frames,
    pub pages: &'a P,
    pub space: &'a S,
    pub physmap: &'a Physmap,
}

impl<P: Pages, S: NestedSpace> Clone for Memory<'_, P, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P: Pages, S: NestedSpace> Copy for Memory<'_, P, S> {}

/// Why a page cannot be mapped at a guest frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlaceError {
    /// A grant, a foreign page or a device is mapped there, and must be unmapped by its own operation.
    Busy,
    /// The paging pool or machine memory is exhausted.
    NoMemory,
    /// Beyond what the domain can address, or not aligned.
    OutOfRange,
}

impl From<MapError> for PlaceError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::NoMemory => Self::NoMemory,
            MapError::Occupied => Self::Busy,
            MapError::Unaligned | MapError::OutOfRange => Self::OutOfRange,
        }
    }
}

impl<'a, P: Pages, S: NestedSpace> Memory<'a, P, S> {
    /// Looks up a guest frame.
    pub fn lookup(&self, gfn: Gfn) -> Option<Mapping> {
        self.space.lookup(gfn)
    }

    /// Looks up a guest frame for an access to its memory, which populates it if it is marked for that.
    #[inline]
    pub fn find(&self, gfn: Gfn) -> Option<Mapping> {
        self.lookup(gfn).or_else(|| self.demand(gfn))
    }

    /// Takes a reference to the page that the domain *itself* owns at a guest frame, also where it is mapped by a grant
    /// to itself. None for a hole, a device, a page of another domain, and, where `write` asks for it, a read-only
    /// page.
    #[inline]
    pub fn own_page(&self, gfn: Gfn, write: bool) -> Option<PageRef> {
        let mapping = self.find(gfn)?;
        let other = matches!(mapping.kind, PageKind::Foreign | PageKind::Mmio);
        if other || (write && !mapping.rights.contains(Rights::WRITE)) {
            return None;
        }
        self.frames.reference(mapping.mfn, self.owner)
    }

    /// Changes the p2m under its lock. `change` may look pages up, but must take no lock that stands before the p2m's.
    pub fn edit<T>(&self, change: impl FnOnce(&mut Editor<'_, 'a, P, S>) -> T) -> T {
        let mut pool = self.physmap.pool.lock();
        change(&mut Editor { memory: self, pool: &mut pool })
    }
}

/// The rights of memory whose writes a server of the device model gets. It may not be executed, as with Xen.
pub const WATCHED: Rights = Rights::READ;

/// Returns true for memory whose writes a server of the device model gets.
pub fn is_watched(there: Mapping) -> bool {
    there.kind == PageKind::Ram && there.rights == WATCHED
}

/// A p2m under its lock.
pub struct Editor<'p, 'a, P: Pages, S: NestedSpace> {
    memory: &'p Memory<'a, P, S>,
    pool: &'p mut PagingPool,
}

impl<'a, P: Pages, S: NestedSpace> Editor<'_, 'a, P, S> {
    /// Returns the memory that is changed.
    pub const fn memory(&self) -> &Memory<'a, P, S> {
        self.memory
    }

    /// Looks up a guest frame.
    pub fn lookup(&self, gfn: Gfn) -> Option<Mapping> {
        self.memory.space.lookup(gfn)
    }

    /// Maps a block at an empty range. A page of the hypervisor's is referenced for as long as it is mapped, so it is
    /// never free while the domain sees it, wherever and however often.
    ///
    /// **Errors:** see [`MapError`]; out of range too for a page of the hypervisor's that the domain may not see.
    pub fn map(&mut self, gfn: Gfn, mapping: Mapping) -> Result<(), MapError> {
        let memory = self.memory;
        let marks = if memory.physmap.marks() == 0 { 0 } else { self.make_way(gfn, mapping.order)? };
        let shared = match mapping.kind {
            PageKind::Shared => Some(memory.frames.reference(mapping.mfn, memory.owner).ok_or(MapError::OutOfRange)?),
            _ => None,
        };
        let mut source = self.pool.source(memory.frames, memory.pages, memory.owner);
        let mapped = memory.space.map(gfn, mapping, &mut source as &mut dyn FrameSource);
        match (shared, mapped) {
            (Some(page), Err(_)) => memory.frames.put(page),
            (Some(page), Ok(())) => {
                let _ = page.into_mapping();
            }
            (None, _) => {}
        }
        mapped?;
        memory.physmap.on_demand.count(marks, mapping);
        let last = gfn.0.saturating_add(mapping.order.pages()).saturating_sub(1);
        memory.physmap.highest.fetch_max(last, Ordering::Relaxed);
        Ok(())
    }

    /// Unmaps one page, or a mark for populate-on-demand, and returns the page that was mapped. The caller disposes of the page or, for a grant and a foreign page,
    /// of the reference.
    ///
    /// **Errors:** see [`MapError`].
    pub fn unmap(&mut self, gfn: Gfn) -> Result<Option<Mapping>, MapError> {
        let memory = self.memory;
        let unmapped = memory.space.unmap(gfn, &mut self.pool.source(memory.frames, memory.pages, memory.owner))?;
        if unmapped.is_some() {
            memory.physmap.removals.last.store(memory.frames.coming_moment().to_bits(), Ordering::Release);
        }
        if let Some(Mapping { mfn, kind: PageKind::Shared, .. }) = unmapped {
            memory.frames.put_later(PageRef::of_mapping(mfn));
        }
        if let Some(Mapping { kind: PageKind::OnDemand, .. }) = unmapped {
            memory.physmap.on_demand.forget(1);
            return Ok(None);
        }
        Ok(unmapped)
    }

    /// Gives a page of the guest's own memory these rights. A frame without memory has none already. Only plain memory becomes
    /// watched, and watched memory becomes plain alone; a device's place stays that.
    ///
    /// **Errors:** `EINVAL` for any other page; `ENOMEM` for tables.
    pub fn set_rights(&mut self, gfn: Gfn, rights: Rights) -> Result<(), Errno> {
        let Some(there) = self.lookup(gfn) else { return if rights.is_empty() { Ok(()) } else { Err(Errno::EINVAL) } };
        if there.kind != PageKind::Ram {
            return Err(Errno::EINVAL);
        }
        if there.rights == rights {
            return Ok(());
        }
        let pair = [there.rights, rights];
        if there.rights.is_empty() || (pair.contains(&WATCHED) && !pair.contains(&Rights::ALL)) {
            return Err(Errno::EINVAL);
        }
        let memory = self.memory;
        let mut source = self.pool.source(memory.frames, memory.pages, memory.owner);
        memory.space.set_rights(gfn, rights, &mut source).map_err(|_| Errno::ENOMEM)?;
        memory.physmap.removals.last.store(memory.frames.coming_moment().to_bits(), Ordering::Release);
        Ok(())
    }

    /// Makes a page plain memory if its writes are watched now.
    ///
    /// **Errors:** `ENOMEM` for tables.
    pub fn unwatch(&mut self, gfn: Gfn) -> Result<(), Errno> {
        if self.lookup(gfn).is_some_and(is_watched) { self.set_rights(gfn, Rights::ALL) } else { Ok(()) }
    }

    /// Unmaps the first page at or above a frame, whole, and returns its first frame and what was mapped. The caller
    /// disposes of it as after [`Editor::unmap`].
    pub fn take_next(&mut self, from: Gfn) -> Option<(Gfn, Mapping)> {
        let memory = self.memory;
        let mut source = self.pool.source(memory.frames, memory.pages, memory.owner);
        let (gfn, taken) = memory.space.take_next(from, &mut source)?;
        if taken.kind == PageKind::Shared {
            memory.frames.put_later(PageRef::of_mapping(taken.mfn));
        }
        if taken.kind == PageKind::OnDemand {
            memory.physmap.on_demand.forget(taken.order.pages());
        }
        Some((gfn, taken))
    }

    /// Makes pages follow what is tracked; see [`NestedSpace::retrack`].
    pub fn retrack(&mut self, from: Gfn) -> Option<Gfn> {
        let memory = self.memory;
        memory.space.retrack(from, &mut self.pool.source(memory.frames, memory.pages, memory.owner))
    }

    /// Returns which of 512 frames were written; see [`NestedSpace::written`].
    pub fn written(&mut self, first: Gfn, clean: bool) -> [u64; WRITTEN_WORDS] {
        let memory = self.memory;
        memory.space.written(first, clean, &mut self.pool.source(memory.frames, memory.pages, memory.owner))
    }

    /// Lets the guest write to a page that is write-protected to be tracked; see [`NestedSpace::permit_write`].
    pub fn permit_write(&mut self, gfn: Gfn) -> bool {
        let memory = self.memory;
        let mut source = self.pool.source(memory.frames, memory.pages, memory.owner);
        let permitted = memory.space.permit_write(gfn, &mut source);
        if permitted {
            memory.physmap.write_faults.fetch_add(1, Ordering::Relaxed);
        }
        permitted
    }

    /// Frees the page tables; nothing can be mapped any more. Nothing may be mapped, and no vCPU may run.
    pub fn tear_down(&mut self) {
        let memory = self.memory;
        memory.space.tear_down(&mut self.pool.source(memory.frames, memory.pages, memory.owner));
    }

    /// Maps one page at a guest frame in place of the domain's own memory there, if any, and returns that. The old page
    /// stays the domain's: the caller decides what becomes of it.
    ///
    /// **Errors:** [`PlaceError`]; nothing was changed.
    pub fn place(&mut self, gfn: Gfn, mfn: Mfn, rights: Rights, kind: PageKind) -> Result<Option<Mapping>, PlaceError> {
        let there = self.lookup(gfn);
        if there.is_some_and(|there| !matches!(there.kind, PageKind::Ram | PageKind::Shared)) {
            return Err(PlaceError::Busy);
        }
        let before = if there.is_some() { self.unmap(gfn)? } else { None };
        let placed = self.map(gfn, Mapping { mfn, order: PageOrder::SIZE_4K, rights, kind });
        if let (Err(_), Some(before)) = (placed, before) {
            // The tables that it stood in are still there, so this does not fail; if it did, the page would stay the
            // domain's without a place.
            let _ = self.map(gfn, Mapping { order: PageOrder::SIZE_4K, ..before });
        }
        placed?;
        Ok(before)
    }
}
