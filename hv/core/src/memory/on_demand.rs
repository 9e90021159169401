//! Populate-on-demand (Xen's PoD): a domain starts with less memory than it may have, and finds all of its frames there.
//!
//! Frames without memory yet carry a mark in the p2m. A domain's cache is free memory that is kept for it
//! ([`Frames::set_cache`](super::frames::Frames::set_cache)), and marks get pages from there as they are touched: by the
//! guest, by the hypervisor on its behalf, by other domains. There are more marks than pages in the cache until the
//! guest's balloon driver has given the difference back.
//!
//! If the cache runs out before, pages that hold nothing but zeros are taken back and marked again. A guest that writes to
//! more frames than it has memory for cannot go on.

use super::frames::epoch::Epoch;
use super::frames::{AllocationError, FrameUse, OwnedFrame, Pages};
use super::physmap::{Editor, Memory};
use arrayvec::ArrayVec;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use xen_abi::Errno;
use xenolith_hal::{Gfn, MapError, Mapping, Mfn, NestedSpace, PageKind, PageOrder, Rights, mark};
use xenolith_sync::{SpinLock, rank};

/// Pages that are taken back at a time.
const MOST_ASIDE: usize = 32;
/// Frames that were populated last and stay: an instruction may need several, which it has not written to yet.
const RECENT: usize = 8;
/// A cache of fewer pages is filled up before it is empty, for accesses that cannot wait.
const FEW: u32 = 32;
/// Frames that one fault looks at, and how many of them under one hold of the p2m lock.
const FRAMES_A_SWEEP: u64 = 1024;
const FRAMES_A_HOLD: u64 = 64;

/// What a domain has to be populated on demand.
#[derive(Debug, Default)]
pub struct OnDemand {
    /// Frames that are marked; changed under the p2m lock.
    marks: AtomicU32,
    /// The frame at which the sweep for zeros goes on, and how many it has looked at since it last found any.
    next: AtomicU64,
    barren: AtomicU64,
    aside: SpinLock<Aside, rank::DomainPages>,
    /// CPUs that have taken memory out of the cache, or are about to, and have not mapped it or given it back.
    taking: AtomicU32,
}

/// Pages of zeros, as it seemed, that are marked again and are looked at once more when nobody can reach them any longer.
#[derive(Debug, Default)]
struct Aside {
    pages: ArrayVec<(Gfn, Mfn), MOST_ASIDE>,
    /// The moment after they were unmapped.
    since: Option<Epoch>,
    /// The frames that were populated last, the latest at the front.
    recent: [Gfn; RECENT],
}

/// What came of an access to a marked frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Demand {
    /// There is memory now.
    Met,
    /// The frame is not marked.
    NotMarked,
    /// The cache is empty.
    Short,
    /// What is in the cache is not free yet.
    Wait,
    /// The domain's paging pool is exhausted.
    NoTables,
}

/// What came of taking back memory that holds nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reclaim {
    /// There may be some by now, or soon.
    Goes,
    /// CPUs must pass this moment first; true once.
    After(Epoch, bool),
    /// The domain uses all that it has.
    Nothing,
}

impl OnDemand {
    #[inline]
    pub(super) fn marks(&self) -> u32 {
        self.marks.load(Ordering::Acquire)
    }

    /// Counts a mapping that has taken the place of `gone` marks.
    #[inline]
    pub(super) fn count(&self, gone: u64, mapping: Mapping) {
        if mapping.kind == PageKind::OnDemand {
            self.marks.fetch_add(mapping.order.pages() as u32, Ordering::AcqRel);
        }
        if gone > 0 {
            self.forget(gone);
        }
    }

    pub(super) fn forget(&self, marks: u64) {
        self.marks.fetch_sub(marks as u32, Ordering::AcqRel);
    }
}

impl<P: Pages, S: NestedSpace> Editor<'_, '_, P, S> {
    /// Counts the marks in a range for a block to be mapped there, and splits a larger one.
    ///
    /// **Errors:** `Occupied` for 1 GiB of smaller parts, to be mapped part by part; `NoMemory`.
    #[cold]
    #[inline(never)]
    pub(super) fn make_way(&mut self, gfn: Gfn, order: PageOrder) -> Result<u64, MapError> {
        let space = self.memory().space;
        if let (true, larger) = space.mark_at(gfn)
            && larger > order
        {
            self.unmap(gfn)?;
        }
        let (mut at, mut marks) = (0_u64, 0_u64);
        while at < order.pages() {
            let (marked, there) = space.mark_at(Gfn(gfn.0.saturating_add(at)));
            if order > PageOrder::SIZE_2M && there < order {
                return Err(MapError::Occupied);
            }
            let pages = there.min(order).pages();
            at = at.saturating_add(pages);
            marks = marks.saturating_add(if marked { pages } else { 0 });
        }
        Ok(marks)
    }

    /// Takes the page that was put aside at a frame.
    fn take_aside(&mut self, gfn: Gfn) -> Option<Mfn> {
        let mut aside = self.memory().physmap.on_demand.aside.lock();
        let at = aside.pages.iter().position(|(place, _)| *place == gfn)?;
        Some(aside.pages.swap_remove(at).1)
    }

    fn map_ram(&mut self, gfn: Gfn, mfn: Mfn, order: PageOrder) -> Result<(), MapError> {
        self.map(gfn, Mapping { mfn, order, rights: Rights::ALL, kind: PageKind::Ram })
    }
}

impl<P: Pages, S: NestedSpace> Memory<'_, P, S> {
    /// Populates a frame that is marked; None if it is not, or if there is no memory for it at this moment.
    #[cold]
    #[inline(never)]
    pub fn demand(&self, gfn: Gfn) -> Option<Mapping> {
        // What was marked a moment ago may have been populated by another CPU.
        if self.physmap.marks() > 0 {
            self.meet(gfn);
        }
        self.lookup(gfn)
    }

    /// Returns true if a frame is to be populated on demand.
    pub fn is_marked(&self, gfn: Gfn) -> bool {
        self.physmap.marks() > 0 && self.edit(|_| self.space.mark_at(gfn).0)
    }

    fn cached(&self) -> u32 {
        self.frames.account(self.owner).map_or(0, |account| account.cached())
    }

    /// Populates the mark that a frame lies in, or its part.
    #[cold]
    #[inline(never)]
    pub fn meet(&self, gfn: Gfn) -> Demand {
        let met = self.try_to_meet(gfn);
        if met == Demand::Met {
            let mut aside = self.physmap.on_demand.aside.lock();
            aside.recent.rotate_right(1);
            if let Some(first) = aside.recent.first_mut() {
                *first = gfn;
            }
        }
        met
    }

    fn try_to_meet(&self, gfn: Gfn) -> Demand {
        let place = self.edit(|editor| match self.space.mark_at(gfn) {
            (false, _) => Err(Demand::NotMarked),
            (true, order) => match editor.take_aside(gfn) {
                Some(mfn) => Err(self.put_back(editor, gfn, mfn)),
                None => Ok(order),
            },
        });
        let there = match place {
            Ok(there) => there,
            Err(done) => return done,
        };
        let taking = &self.physmap.on_demand.taking;
        taking.fetch_add(1, Ordering::AcqRel);
        let met = self.take_and_map(gfn, there);
        let others = taking.fetch_sub(1, Ordering::AcqRel) > 1;
        if met == Demand::Short && (others || self.cached() > 0 || !self.is_marked(gfn)) {
            // Another CPU has 2 MiB in its hands, and may find that it does not need them; or had, a moment ago.
            return Demand::Wait;
        }
        met
    }

    fn take_and_map(&self, gfn: Gfn, there: PageOrder) -> Demand {
        let owned = match self.take_for_mark(there) {
            Ok(owned) => owned,
            Err(AllocationError::NoMemory) => return Demand::Wait,
            Err(_) => return Demand::Short,
        };
        let (mfn, order) = (owned.mfn(), owned.order());
        let first = Gfn(gfn.0 & !order.pages().wrapping_sub(1));
        let mapped = self.edit(|editor| match self.space.mark_at(first) {
            (true, there) if there >= order && (order == PageOrder::SIZE_4K || self.has_nothing_aside()) => {
                editor.map_ram(first, mfn, order)
            }
            // Another CPU was first.
            _ => Err(MapError::Occupied),
        });
        if mapped.is_ok() {
            let _ = owned.into_mapping();
            return Demand::Met;
        }
        self.frames.retire(owned);
        self.frames.add_to_cache(self.owner, order.pages() as u32);
        if mapped == Err(MapError::Occupied) { Demand::Met } else { Demand::NoTables }
    }

    /// Takes memory for a mark of this order out of the cache: 2 MiB while there is enough for a good part of the marks, else a
    /// page.
    fn take_for_mark(&self, there: PageOrder) -> Result<OwnedFrame, AllocationError> {
        let plenty =
            there >= PageOrder::SIZE_2M && self.cached() >= self.physmap.marks() / 2 && self.has_nothing_aside();
        let large = plenty.then(|| self.frames.allocate_cached(self.pages, self.owner, PageOrder::SIZE_2M));
        match large {
            Some(Ok(owned)) => Ok(owned),
            _ => self.frames.allocate_cached(self.pages, self.owner, PageOrder::SIZE_4K),
        }
    }

    /// Pages that are put aside may lie in a mark of 2 MiB.
    fn has_nothing_aside(&self) -> bool {
        self.physmap.on_demand.aside.lock().pages.is_empty()
    }

    /// Maps a page that was put aside where it was.
    fn put_back(&self, editor: &mut Editor<'_, '_, P, S>, gfn: Gfn, mfn: Mfn) -> Demand {
        match editor.map_ram(gfn, mfn, PageOrder::SIZE_4K) {
            Ok(()) => Demand::Met,
            Err(_) => Demand::NoTables,
        }
    }

    /// Returns true if there are marks for which little or nothing is in the cache.
    pub fn is_short(&self) -> bool {
        let cached = self.cached();
        cached < FEW && cached < self.physmap.marks()
    }

    /// Takes a step to take back pages of zeros: decides about the ones put aside if `passed` says that every CPU has passed
    /// a moment, or looks for more.
    pub fn reclaim(&self, passed: impl FnOnce(Epoch) -> bool) -> Reclaim {
        let state = &self.physmap.on_demand;
        let waiting = {
            let aside = state.aside.lock();
            if aside.pages.is_empty() { None } else { aside.since }
        };
        if let Some(moment) = waiting {
            if !passed(moment) {
                return Reclaim::After(moment, false);
            }
            return if self.decide() { Reclaim::Goes } else { Reclaim::Nothing };
        }
        let parts = FRAMES_A_SWEEP / FRAMES_A_HOLD;
        let mut found = false;
        for _ in 0..parts {
            found |= self.edit(|editor| self.sweep(editor));
            if state.aside.lock().pages.is_full() {
                break;
            }
        }
        let all = self.physmap.highest().0.saturating_add(FRAMES_A_SWEEP);
        if found && let Some(moment) = state.aside.lock().since {
            Reclaim::After(moment, true)
        } else if state.barren.load(Ordering::Relaxed) > all {
            Reclaim::Nothing
        } else {
            Reclaim::Goes
        }
    }

    /// Looks at some frames for pages of zeros, and puts them aside; returns true if there were any.
    fn sweep(&self, editor: &mut Editor<'_, '_, P, S>) -> bool {
        let state = &self.physmap.on_demand;
        let mut at = state.next.load(Ordering::Relaxed);
        let mut found = false;
        for _ in 0..FRAMES_A_HOLD {
            if at > self.physmap.highest().0 {
                at = 0;
            }
            let step = match self.lookup(Gfn(at)) {
                Some(there) => {
                    found |= self.is_idle(there) && self.set_aside(editor, Gfn(at), there.mfn);
                    1
                }
                // Past the rest of a hole or a mark.
                None => {
                    let pages = self.space.mark_at(Gfn(at)).1.pages();
                    pages.saturating_sub(at & pages.saturating_sub(1))
                }
            };
            at = at.saturating_add(step);
            state.barren.fetch_add(step, Ordering::Relaxed);
        }
        state.next.store(at, Ordering::Relaxed);
        found
    }

    /// Returns true for a page of the domain's own that holds zeros and to which nobody else has a reference.
    fn is_idle(&self, there: Mapping) -> bool {
        there.kind == PageKind::Ram && there.rights == Rights::ALL && self.is_unused(there.mfn)
    }

    fn is_unused(&self, mfn: Mfn) -> bool {
        let alone = |mfn| {
            let state = self.frames.state(mfn)?;
            Some(state.owner == self.owner && state.used_as == FrameUse::Guest && state.references == 1)
        };
        let zero = |word: &AtomicU64| word.load(Ordering::Relaxed) == 0;
        alone(mfn) == Some(true) && self.pages.page(mfn).is_some_and(|page| page.words().iter().all(zero))
    }

    fn set_aside(&self, editor: &mut Editor<'_, '_, P, S>, gfn: Gfn, mfn: Mfn) -> bool {
        let stays = {
            let aside = self.physmap.on_demand.aside.lock();
            aside.pages.is_full() || aside.recent.contains(&gfn)
        };
        if stays || editor.unmap(gfn).is_err() {
            return false;
        }
        if editor.map(gfn, mark(gfn, PageOrder::SIZE_4K)).is_err() {
            // The page was unmapped from the same table, which only goes with its last entry.
            let _ = editor.map_ram(gfn, mfn, PageOrder::SIZE_4K);
            return false;
        }
        let mut aside = self.physmap.on_demand.aside.lock();
        aside.since = Some(self.frames.moment());
        aside.pages.try_push((gfn, mfn)).is_ok()
    }

    /// Gives the pages that were put aside to the cache, or back to their places. Returns false if there is no table for one.
    fn decide(&self) -> bool {
        loop {
            let done = self.edit(|editor| {
                let next = self.physmap.on_demand.aside.lock().pages.pop();
                let Some((gfn, mfn)) = next else { return Some(true) };
                let marked = self.space.mark_at(gfn).0;
                if marked && !self.is_unused(mfn) {
                    if self.put_back(editor, gfn, mfn) == Demand::Met {
                        return None;
                    }
                    let _ = self.physmap.on_demand.aside.lock().pages.try_push((gfn, mfn));
                    return Some(false);
                }
                self.frames.release(mfn, self.owner);
                // Where the mark is gone, the guest has given the frame up, and this page with it.
                if marked {
                    self.frames.add_to_cache(self.owner, 1);
                    self.physmap.on_demand.barren.store(0, Ordering::Relaxed);
                }
                None
            });
            if let Some(all) = done {
                return all;
            }
        }
    }

    /// Sets how much memory the domain is to have (`XENMEM_set_pod_target`): its cache gets what it has not populated of that,
    /// but no more than there are marks. What it has too much of is for its balloon driver to give back.
    ///
    /// **Errors:** `ENOMEM`, and nothing was changed.
    pub fn set_target(&self, target: u32) -> Result<(), Errno> {
        let Some(account) = self.frames.account(self.owner) else { return Ok(()) };
        let (populated, marks) = (account.total(), self.physmap.marks());
        // A domain that is being made has neither yet.
        let settled = populated > 0;
        if (settled && marks == 0) || target < account.total_with_cache() || account.max() == 0 {
            return Ok(());
        }
        let wanted = target.saturating_sub(populated);
        let wanted = if settled { wanted.min(marks) } else { wanted };
        self.frames.set_cache(self.owner, wanted.max(account.cached())).map_err(|error| match error {
            AllocationError::NoMemory => Errno::ENOMEM,
            AllocationError::OverMaximum | AllocationError::NoDomain => Errno::EINVAL,
        })
    }

    /// Gives back what the cache has more than there are marks, after marks have gone.
    pub(super) fn trim_cache(&self) {
        let marks = self.physmap.marks();
        if self.cached() > marks {
            let _ = self.frames.set_cache(self.owner, marks);
        }
    }

    /// Returns true for a page that is soon free if it is released, and that marks have need of.
    pub(super) fn is_for_marks(&self, there: Mapping) -> bool {
        let alone = || self.frames.state(there.mfn).is_some_and(|state| state.references == 1);
        there.kind == PageKind::Ram && self.cached() < self.physmap.marks() && alone()
    }
}
