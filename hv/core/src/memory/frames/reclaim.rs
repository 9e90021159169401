//! Giving references up for good, after a grace period.

use super::Frames;
use super::epoch::Epoch;
use super::limbo::{self, Chain, Due, Limbo, Sealed};
use super::state::FrameState;
use super::table::Frame;
use core::ops::ControlFlow;
use xenolith_hal::{CpuId, DomId, Machine, Mfn, PageOrder, Time};
use xenolith_sync::atomic::Ordering;

/// CPUs that keep a chain waiting for longer are kicked.
pub const PATIENCE_NS: u64 = 1_000_000;

/// The most places where chains grow: so many that CPUs seldom meet, so few that all are looked at in no time.
pub const MOST_SLOTS: usize = 8;

impl Frames {
    /// This CPU is at its quiet point: it holds nothing that it looked up in a translation, and before it enters a
    /// guest it will compare the translation's generation and drop what is stale. Called at the top of the vCPU loop;
    /// ends idling.
    pub fn quiet(&self, cpu: CpuId) {
        self.epochs.quiet(cpu);
    }

    /// This CPU goes idle: nobody waits for it until its next [`Frames::quiet`].
    pub fn idle(&self, cpu: CpuId) {
        self.epochs.idle(cpu);
    }

    /// A moment after everything that this CPU took out of translations so far.
    pub fn moment(&self) -> Epoch {
        self.epochs.next()
    }

    /// As [`Frames::moment`], but it cannot pass before [`Frames::begin`]: for what happens often and is looked at
    /// seldom.
    pub fn coming_moment(&self) -> Epoch {
        self.epochs.coming()
    }

    /// Begins a moment of [`Frames::coming_moment`], if nobody has.
    pub fn begin(&self, moment: Epoch) {
        self.epochs.begin(moment);
    }

    /// True when the CPU has been quiet since the moment, or idles.
    pub fn has_passed(&self, cpu: CpuId, moment: Epoch) -> bool {
        self.epochs.has_passed(cpu, moment)
    }

    /// Frames that wait for a grace period.
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

    /// Frees a block, of which nobody refers to any frame, after a grace period.
    fn defer_block(&self, mfn: Mfn, order: PageOrder) {
        let Some(frame) = self.table.get(mfn) else { return };
        limbo::note_block(frame, order);
        self.waiting.fetch_add(order.pages(), Ordering::AcqRel);
        self.push(mfn);
    }

    /// A domain gives up a block of its memory that is in its translation no longer, as by [`Frames::release`] of each
    /// frame. If nobody refers to any of them, the block waits and becomes free as one.
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

    fn push(&self, mfn: Mfn) {
        // Any will do: the epoch decides.
        if let Some(slot) = self.limbo.iter().cycle().nth(mfn.0 as usize % MOST_SLOTS) {
            slot.0.lock().push(&self.table, mfn);
        }
    }

    /// Frees what is due and lets the rest wait under an epoch. Called at the top of the vCPU loop after
    /// [`Frames::quiet`], and before idling.
    ///
    /// Gives the moment at which to call again at the latest, if anything waits; CPUs that keep something waiting for
    /// more than [`PATIENCE_NS`] are kicked once.
    pub fn poll<M: Machine>(&self, machine: &M) -> Option<Time> {
        self.poll_with(machine.now(), |cpu| machine.kick(cpu))
    }

    /// As [`Frames::poll`], with the time and the way to kick a CPU given.
    pub fn poll_with(&self, now: Time, mut kick: impl FnMut(CpuId)) -> Option<Time> {
        let mut again = None;
        for slot in &*self.limbo {
            if self.waiting() == 0 {
                return None;
            }
            let Some(mut limbo) = slot.0.try_lock() else { continue };
            let due = self.advance(&mut limbo, now);
            if let Some(sealed) = &mut limbo.sealed {
                self.kick_laggards(sealed, now, PATIENCE_NS, &mut kick);
                again = Some(now.after_ns(PATIENCE_NS));
            }
            drop(limbo);
            if let Some(due) = due {
                self.drop_chain(due);
            }
        }
        again
    }

    /// Kicks every CPU that keeps memory from being freed: for when memory is short. The caller tries again after its
    /// own next quiet point.
    pub fn expedite<M: Machine>(&self, machine: &M) {
        for slot in &*self.limbo {
            let mut limbo = slot.0.lock();
            limbo.seal(machine.now(), || self.epochs.next());
            if let Some(sealed) = &mut limbo.sealed {
                self.kick_laggards(sealed, machine.now(), 0, &mut |cpu| machine.kick(cpu));
            }
        }
    }

    /// Frees everything that is due; true when there was something.
    pub(super) fn collect_all(&self) -> bool {
        let mut freed = false;
        for slot in &*self.limbo {
            if self.waiting() == 0 {
                break;
            }
            let due = slot.0.lock().take_due(|epoch| self.epochs.passed(epoch));
            if let Some(due) = due {
                self.drop_chain(due);
                freed = true;
            }
        }
        freed
    }

    /// Takes out what is due, and seals what has come since.
    fn advance(&self, limbo: &mut Limbo, now: Time) -> Option<Chain> {
        let due = limbo.take_due(|epoch| self.epochs.passed(epoch));
        limbo.seal(now, || self.epochs.next());
        due
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

    /// Names what must have been done before a frame that was taken out of a translation is free again, besides the
    /// CPUs' own part: it has devices forget what they cached. Once, before any guest runs.
    pub fn before_release(&self, forget: fn()) {
        let _ = self.before_release.set(forget);
    }

    fn drop_chain(&self, chain: Chain) {
        if let Some(forget) = self.before_release.get() {
            forget();
        }
        let mut chain = chain;
        while let ControlFlow::Continue(()) = self.drop_first(&mut chain) {}
    }

    fn drop_first(&self, chain: &mut Chain) -> ControlFlow<()> {
        let Some((mfn, frame, due)) = limbo::pop(&self.table, chain) else { return ControlFlow::Break(()) };
        match due {
            Due::Again => self.push(mfn),
            Due::Free(order) => {
                self.waiting.fetch_sub(order.pages(), Ordering::AcqRel);
                self.free_block(mfn, order);
            }
            Due::Drop(count) => {
                self.waiting.fetch_sub(1, Ordering::AcqRel);
                if let Some(last) = frame.unreference(count) {
                    self.settle(mfn, FrameState { references: 0, ..last });
                }
            }
        }
        ControlFlow::Continue(())
    }
}
