//! Deferred frees: references that were dropped and take effect only after a grace period (RCU callbacks, as it were).
//!
//! Frames wait in chains that run through the frame table, so that deferring never needs memory. Each CPU has a chain
//! that grows and one that waits for its epoch.

use super::epoch::Epoch;
use super::table::{Frame, FrameTable};
use xenolith_hal::{Mfn, PageOrder, Time};
use xenolith_sync::atomic::Ordering;

/// No frame.
const END: u32 = u32::MAX;
const QUEUED: u64 = 1 << 31;
const AGAIN: u64 = 1 << 30;
/// The frame is the first of a block that is deferred as a whole; the count is the block's order.
const BLOCK: u64 = 1 << 29;
const COUNT: u64 = BLOCK - 1;

/// Frames linked through the frame table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chain {
    head: u32,
}

impl Chain {
    const EMPTY: Self = Self { head: END };

    pub const fn is_empty(self) -> bool {
        self.head == END
    }
}

/// A chain that waits for its epoch.
#[derive(Clone, Copy, Debug)]
pub struct Sealed {
    pub chain: Chain,
    pub epoch: Epoch,
    pub since: Time,
    /// CPUs that have not passed the epoch were kicked already.
    pub kicked: bool,
}

/// A chain whose grace period is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DueChain {
    pub chain: Chain,
    /// The devices' TLB was flushed since its frames were unmapped.
    pub flushed: bool,
}

/// The deferred frees of one CPU.
#[derive(Clone, Copy, Debug)]
pub struct Limbo {
    open: Chain,
    pub sealed: Option<Sealed>,
    due: DueChain,
    /// The time before which a CPU that has guests to run frees no more of what is due.
    rests_until: Time,
    /// Somebody has what is due, frees a part of it, and puts the rest back.
    taken: bool,
}

impl Limbo {
    pub const fn new() -> Self {
        let due = DueChain { chain: Chain::EMPTY, flushed: false };
        Self { open: Chain::EMPTY, sealed: None, due, rests_until: Time(0), taken: false }
    }

    /// Appends a frame for which [`note`] returned true.
    pub fn push(&mut self, table: &FrameTable, mfn: Mfn) {
        let (Some(frame), Ok(link)) = (table.get(mfn), u32::try_from(mfn.0)) else { return };
        let next = u64::from(self.open.head) << 32;
        let _ = frame
            .deferred
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| Some((word & u64::from(u32::MAX)) | next));
        self.open = Chain { head: link };
    }

    /// Seals the growing chain under a new epoch, if there is one and no other waits.
    pub fn seal(&mut self, now: Time, epoch: impl FnOnce() -> Epoch) {
        if self.sealed.is_none() && !self.open.is_empty() {
            self.sealed = Some(Sealed { chain: self.open, epoch: epoch(), since: now, kicked: false });
            self.open = Chain::EMPTY;
        }
    }

    /// Takes out what is due, of which the caller puts the rest back: what another CPU left, else the sealed chain if its
    /// grace period is over. None while another CPU has it.
    pub fn take_due(&mut self, passed: impl FnOnce(Epoch) -> bool) -> Option<DueChain> {
        if self.taken {
            return None;
        }
        let mut due = self.due;
        if due.chain.is_empty() {
            let sealed = self.sealed.filter(|sealed| passed(sealed.epoch))?;
            self.sealed = None;
            due = DueChain { chain: sealed.chain, flushed: false };
        }
        self.taken = true;
        Some(due)
    }

    /// Puts back what is left of what [`Limbo::take_due`] returned. Only memory that is short is freed before
    /// `rests_until`.
    pub fn put_due_back(&mut self, rest: DueChain, rests_until: Time) {
        self.due = rest;
        self.rests_until = rests_until;
        self.taken = false;
    }

    /// Returns the time from which on more of what is due may be freed, if that is later than `now`.
    pub fn rests_at(&self, now: Time) -> Option<Time> {
        Some(self.rests_until).filter(|until| !self.due.chain.is_empty() && *until > now)
    }
}

/// Records one more reference to be dropped later. Returns true if the frame is in no chain and the caller must push
/// it.
pub fn note(frame: &Frame) -> bool {
    let added = |word: u64| {
        Some(if word & QUEUED == 0 { QUEUED | 1 } else { (word & !COUNT) | AGAIN | (word.wrapping_add(1) & COUNT) })
    };
    let before = frame.deferred.fetch_update(Ordering::AcqRel, Ordering::Acquire, added);
    before.is_ok_and(|word| word & QUEUED == 0)
}

/// Records that a whole block is to be freed later; the caller must push its first frame. No reference to any of its
/// frames exists except the caller's, which the caller gives up, and none can be taken: so no frame of it is in a
/// chain.
pub fn note_block(frame: &Frame, order: PageOrder) {
    frame.deferred.store(QUEUED | BLOCK | u64::from(order.0), Ordering::Release);
}

/// What to do with a frame when its grace period is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    /// Drop this many references.
    Drop(u32),
    /// Free the block of this order that begins here.
    Free(PageOrder),
    /// More references were dropped since it was queued: it waits for another grace period.
    Again,
}

/// Takes the first frame out of a chain that is due.
pub fn pop<'a>(table: &'a FrameTable, chain: &mut Chain) -> Option<(Mfn, &'a Frame, Due)> {
    let mfn = Mfn(u64::from(chain.head));
    let frame = table.get(mfn).filter(|_| !chain.is_empty())?;
    let taken = |word: u64| Some(if word & AGAIN == 0 { 0 } else { word & !AGAIN });
    let word = frame.deferred.fetch_update(Ordering::AcqRel, Ordering::Acquire, taken).unwrap_or(0);
    *chain = Chain { head: (word >> 32) as u32 };
    let due = match word & (AGAIN | BLOCK) {
        0 => Due::Drop((word & COUNT) as u32),
        BLOCK => Due::Free(PageOrder(word as u8)),
        _ => Due::Again,
    };
    Some((mfn, frame, due))
}
