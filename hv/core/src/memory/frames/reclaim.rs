//! Dropping references after a grace period.

use super::epoch::Epoch;
use super::limbo::{self, Chain, Due, DueChain, Limbo, Sealed};
use super::state::{FrameState, FrameUse};
use super::table::Frame;
use super::{Frames, Pages};
use arrayvec::ArrayVec;
use core::ops::ControlFlow;
use xenolith_hal::{CpuId, DomId, Machine, Mfn, PageOrder, Time};
use xenolith_sync::atomic::Ordering;
use xenolith_sync::{SpinLock, rank};

/// A CPU that delays a chain for longer than this is kicked.
pub const PATIENCE_NS: u64 = 1_000_000;

/// The most deferral slots: enough that CPUs seldom share one, few enough to scan all of them quickly.
pub const MOST_SLOTS: usize = 8;

/// How much of what is due is freed at a time: 48 single frames, or 6 blocks of 2 MiB. A domain that ends may leave any
/// number of them.
const WORK_A_PART: u64 = 48;
/// Frames of a block that take as long as the rest of freeing it.
const FRAMES_A_WORK: u64 = 64;
/// How long after the end of a part the next is freed, in nanoseconds: guests run meanwhile, also where a part takes
/// longer than this.
const NEXT_PART_NS: u64 = 25_000;
/// How many parts at most are freed for somebody who finds no memory.
pub const PARTS_FOR_ONE: u32 = 96;

/// Single frames that go to the allocator at once, under one hold of its lock.
type Singles = ArrayVec<Mfn, 8>;

/// How far freeing what is due has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// That was all.
    Last,
    MoreIsDue,
    /// Nothing was freed: a device does not answer.
    Refused,
}

impl Part {
    fn is_done(self) -> bool {
        self == Self::Last
    }
}

impl Frames {
    /// Announces a quiescent state (as in RCU): this CPU holds nothing that it looked up in a p2m, and before it enters
    /// a guest it will compare the p2m's generation and flush stale translations. Called at the top of the vCPU loop;
    /// ends idling.
    pub fn quiet(&self, cpu: CpuId) {
        self.epochs.quiet(cpu);
    }

    /// Announces that this CPU goes idle: no grace period waits for it until its next [`Frames::quiet`].
    pub fn idle(&self, cpu: CpuId) {
        self.epochs.idle(cpu);
    }

    /// Returns a moment after everything that this CPU unmapped so far.
    pub fn moment(&self) -> Epoch {
        self.epochs.next()
    }

    /// Returns the same as [`Frames::moment`], but it cannot pass before [`Frames::begin`]: for what is noted often and
    /// checked seldom.
    pub fn coming_moment(&self) -> Epoch {
        self.epochs.coming()
    }

    /// Begins a moment of [`Frames::coming_moment`], if it has not begun.
    pub fn begin(&self, moment: Epoch) {
        self.epochs.begin(moment);
    }

    /// Returns true if the CPU has been quiescent since the moment, or is idle.
    pub fn has_passed(&self, cpu: CpuId, moment: Epoch) -> bool {
        self.epochs.has_passed(cpu, moment)
    }

    /// Returns the number of frames that wait for a grace period.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Acquire)
    }

    /// Drops a reference after a grace period.
    pub(super) fn defer(&self, mfn: Mfn) {
        let Some(frame) = self.table.get(mfn) else { return };
        if !limbo::note(frame) {
            return;
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        self.push(mfn);
    }

    /// Frees a block to which no reference exists after a grace period.
    fn defer_block(&self, mfn: Mfn, order: PageOrder) {
        let Some(frame) = self.table.get(mfn) else { return };
        limbo::note_block(frame, order);
        self.waiting.fetch_add(order.pages(), Ordering::AcqRel);
        self.push(mfn);
    }

    /// Releases a block of a domain's memory that is no longer in its p2m, as [`Frames::release`] does for each frame.
    /// If no reference to any of them exists, the block is deferred and freed as one.
    pub fn release_block(&self, mfn: Mfn, order: PageOrder, owner: DomId) {
        let frames = self.table.block(mfn, order.pages());
        let alone = frames.iter().take_while(|frame: &&Frame| frame.disown_unshared(owner)).count() as u64;
        if let Some(account) = self.account(owner) {
            account.uncharge(alone as u32);
        }
        if alone == order.pages() && alone > 1 {
            return self.defer_block(mfn, order);
        }
        for offset in 0..order.pages() {
            let Some(frame) = mfn.checked_add(offset) else { return };
            if offset < alone {
                self.defer(frame);
            } else {
                self.release(frame, owner);
            }
        }
    }

    /// Releases every frame that a dead domain still owns and that is not in its p2m; looks at no more than `budget`
    /// frames from `from` on. Returns where to go on, or None when all were looked at or nothing is left.
    pub fn release_strays(&self, dead: DomId, from: Mfn, budget: u64) -> Option<Mfn> {
        if self.account(dead)?.total() == 0 {
            return None;
        }
        for (mfn, frame) in self.table.run(from, budget) {
            let state = frame.state();
            if state.owner == dead && state.used_as == FrameUse::Guest {
                self.release(mfn, dead);
            }
        }
        from.checked_add(budget).filter(|next| *next < self.limit())
    }

    fn push(&self, mfn: Mfn) {
        // Any will do: the epoch decides.
        if let Some(slot) = self.limbo.iter().cycle().nth(mfn.0 as usize % MOST_SLOTS) {
            slot.0.lock().push(&self.table, mfn);
        }
    }

    /// Frees a part of what is due and seals the rest under an epoch. Called at the top of the vCPU loop after
    /// [`Frames::quiet`], and before idling.
    ///
    /// Returns the time by which to call again, if anything waits; a CPU that delays something for more than
    /// `PATIENCE_NS` is kicked once.
    ///
    /// A part is freed no sooner than `NEXT_PART_NS` after the one before, unless `at_leisure` says that the guest gave the
    /// CPU up.
    #[inline]
    pub fn poll<M: Machine>(&self, machine: &M, at_leisure: impl FnOnce() -> bool) -> Option<Time> {
        if self.waiting() == 0 {
            return None;
        }
        self.poll_with(machine, at_leisure(), || machine.now(), |cpu| machine.kick(cpu))
    }

    /// Does the same as [`Frames::poll`], with the clock and the way to kick a CPU given.
    pub fn poll_with(
        &self,
        pages: &impl Pages,
        at_leisure: bool,
        now: impl Fn() -> Time,
        mut kick: impl FnMut(CpuId),
    ) -> Option<Time> {
        let mut again = None;
        let mut call_by = |time: Time| again = Some(again.map_or(time, |before: Time| before.min(time)));
        for slot in &*self.limbo {
            if self.waiting() == 0 {
                break;
            }
            let Some(mut limbo) = slot.0.try_lock() else { continue };
            let time = now();
            let rests = limbo.rests_at(time).filter(|_| !at_leisure);
            let due = if rests.is_none() { limbo.take_due(|epoch| self.epochs.passed(epoch)) } else { None };
            limbo.seal(time, || self.epochs.next());
            if let Some(sealed) = &mut limbo.sealed {
                self.kick_laggards(sealed, time, PATIENCE_NS, &mut kick);
                call_by(time.after_ns(PATIENCE_NS));
            }
            drop(limbo);
            rests.into_iter().for_each(&mut call_by);
            let rests_until = || now().after_ns(NEXT_PART_NS);
            if let Some(due) = due
                && !self.free_part(pages, &slot.0, due, rests_until).is_done()
            {
                call_by(rests_until());
            }
        }
        again
    }

    /// Kicks every CPU that delays the freeing of memory: for when memory is short (an expedited grace period). The
    /// caller tries again after its own next quiescent state.
    pub fn expedite<M: Machine>(&self, machine: &M) {
        for slot in &*self.limbo {
            let mut limbo = slot.0.lock();
            limbo.seal(machine.now(), || self.epochs.next());
            if let Some(sealed) = &mut limbo.sealed {
                self.kick_laggards(sealed, machine.now(), 0, &mut |cpu| machine.kick(cpu));
            }
        }
    }

    /// Frees a part of what is due in each slot; returns true if there was something.
    pub(super) fn collect_parts(&self, pages: &impl Pages) -> bool {
        let mut freed = false;
        for slot in &*self.limbo {
            if self.waiting() == 0 {
                break;
            }
            let due = slot.0.lock().take_due(|epoch| self.epochs.passed(epoch));
            if let Some(due) = due {
                freed |= self.free_part(pages, &slot.0, due, || Time(0)) != Part::Refused;
            }
        }
        freed
    }

    fn kick_laggards(&self, sealed: &mut Sealed, now: Time, patience_ns: u64, kick: &mut impl FnMut(CpuId)) {
        if sealed.kicked || now.since_ns(sealed.since) < patience_ns {
            return;
        }
        sealed.kicked = true;
        for cpu in self.epochs.laggards(sealed.epoch) {
            kick(cpu);
        }
    }

    /// Frees a bounded part of what is due, and puts the rest back. `rests_until` is asked afterwards, if
    /// something is left.
    fn free_part(
        &self,
        pages: &impl Pages,
        slot: &SpinLock<Limbo, rank::Frames>,
        due: DueChain,
        rests_until: impl FnOnce() -> Time,
    ) -> Part {
        let DueChain { mut chain, flushed } = due;
        let flushed = flushed || pages.flush_devices();
        let (mut work, mut dropped) = (0_u64, 0_u64);
        let mut single = ArrayVec::new();
        while flushed && work < WORK_A_PART {
            let ControlFlow::Continue(frames) = self.drop_first(&mut chain, &mut single) else { break };
            dropped = dropped.saturating_add(frames);
            work = work.saturating_add(1).saturating_add(frames / FRAMES_A_WORK);
            if single.is_full() {
                self.give_singles(&mut single);
            }
        }
        self.give_singles(&mut single);
        self.waiting.fetch_sub(dropped, Ordering::AcqRel);
        let rests_until = if chain.is_empty() { Time(0) } else { rests_until() };
        slot.lock().put_due_back(DueChain { chain, flushed }, rests_until);
        match (flushed, chain.is_empty()) {
            (false, _) => Part::Refused,
            (true, false) => Part::MoreIsDue,
            (true, true) => Part::Last,
        }
    }

    /// Frees the first entry of a chain, or adds it to `single`, which has room; returns how many frames wait no longer.
    #[inline]
    fn drop_first(&self, chain: &mut Chain, single: &mut Singles) -> ControlFlow<(), u64> {
        let Some((mfn, frame, due)) = limbo::pop(&self.table, chain) else { return ControlFlow::Break(()) };
        match due {
            Due::Again => {
                self.push(mfn);
                ControlFlow::Continue(0)
            }
            Due::Free(order) => {
                self.free_block(mfn, order);
                ControlFlow::Continue(order.pages())
            }
            Due::Drop(count) => {
                if let Some(last) = frame.unreference(count) {
                    self.make_free(frame, FrameState { references: 0, ..last });
                    let _ = single.try_push(mfn);
                }
                ControlFlow::Continue(1)
            }
        }
    }
}
