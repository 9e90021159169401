//! Deferred freeing of page tables that a CPU inside the guest may still walk.

use super::Residency;
use core::sync::atomic::{AtomicU64, Ordering};
use xenolith_hal::{FrameSource, Mfn};

const SLOTS: usize = 16;
/// No frame has this number: it is beyond every physical address.
const FREE: u64 = u64::MAX;

/// A few frames that wait until every CPU has flushed what it cached of them. Only the holder of the domain's p2m lock
/// calls these; the atomics are for sharing, not for racing.
pub(super) struct Retired {
    slots: [(AtomicU64, AtomicU64); SLOTS],
}

/// Leave to retire one table.
pub(super) struct Room(());

impl Retired {
    pub(super) const fn new() -> Self {
        Self { slots: [const { (AtomicU64::new(FREE), AtomicU64::new(0)) }; SLOTS] }
    }

    /// Frees what no CPU can reach any more, and returns whether there is room for one more.
    pub(super) fn room(&self, residency: &Residency, frames: &mut dyn FrameSource) -> Option<Room> {
        let mut room = None;
        for (frame, since) in &self.slots {
            let mfn = frame.load(Ordering::Relaxed);
            if mfn != FREE && residency.all_since(since.load(Ordering::Relaxed)) {
                frame.store(FREE, Ordering::Relaxed);
                frames.give_back(Mfn(mfn));
            }
            if frame.load(Ordering::Relaxed) == FREE {
                room = Some(Room(()));
            }
        }
        room
    }

    /// Defers a frame that nothing refers to since `generation` began; frees it at once if no CPU can reach it.
    pub(super) fn put(
        &self,
        _room: Room,
        mfn: Mfn,
        generation: u64,
        residency: &Residency,
        frames: &mut dyn FrameSource,
    ) {
        if residency.all_since(generation) {
            frames.give_back(mfn);
            return;
        }
        for (frame, since) in &self.slots {
            if frame.load(Ordering::Relaxed) == FREE {
                since.store(generation, Ordering::Relaxed);
                frame.store(mfn.0, Ordering::Relaxed);
                return;
            }
        }
    }

    /// Frees everything; no CPU is inside any more.
    pub(super) fn drain(&self, frames: &mut dyn FrameSource) {
        for (frame, _) in &self.slots {
            let mfn = frame.swap(FREE, Ordering::Relaxed);
            if mfn != FREE {
                frames.give_back(Mfn(mfn));
            }
        }
    }
}
