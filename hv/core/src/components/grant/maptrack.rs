//! The maptrack: the grants of other domains that a domain has mapped, by handle.

use crate::memory::frames::epoch::Epoch;
use alloc::vec::Vec;
use xenolith_hal::{DomId, Gfn, GrantHandle, GrantRef, Mfn};

/// Handles per frame of the limit.
const HANDLES_A_FRAME: u32 = 256;

/// One mapping of another domain's grant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapped {
    /// The granting domain.
    pub domain: DomId,
    pub reference: GrantRef,
    pub write: bool,
    pub mfn: Mfn,
    pub gfn: Gfn,
}

/// The state of a handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Slot {
    /// Unused; the next free handle, if any.
    Free(Option<u32>),
    /// The mapping is being made or ended.
    Busy,
    Mapped(Mapped),
    /// Unmapped; a CPU may still reach the page until the epoch has passed.
    Leaving(Mapped, Epoch),
}

/// The mapping that was taken out of a handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    Mapped(Mapped),
    Leaving(Mapped, Epoch),
}

/// A page's worth of handles.
type Frame = Vec<Slot>;

/// What one more page's worth of handles takes of the heap, in bytes.
pub const FRAME_BYTES: u64 = (HANDLES_A_FRAME as usize * size_of::<Slot>() + size_of::<Frame>()) as u64;

/// The handles of a domain. They are allocated in turn, so that an old one is not soon reused.
///
/// They come in pieces that stay where they are: however many there are, one more takes a constant time.
#[derive(Debug)]
pub struct Maptrack {
    frames: Vec<Frame>,
    limit_frames: u32,
    /// The first and the last free handle.
    free: Option<(u32, u32)>,
}

impl Maptrack {
    pub const fn new(frames: u32) -> Self {
        Self { frames: Vec::new(), limit_frames: frames, free: None }
    }

    /// Reserves a handle; None past the limit, if memory is short, or if `charge` refuses the bytes that more handles take.
    pub fn reserve(&mut self, charge: impl FnOnce(u64) -> bool) -> Option<GrantHandle> {
        if self.free.is_none() {
            self.grow(charge)?;
        }
        let (first, last) = self.free?;
        let slot = self.slot_mut(first)?;
        let Slot::Free(next) = *slot else { return None };
        *slot = Slot::Busy;
        self.free = next.map(|next| (next, last));
        Some(GrantHandle(first))
    }

    fn slot_mut(&mut self, handle: u32) -> Option<&mut Slot> {
        self.frames.get_mut((handle / HANDLES_A_FRAME) as usize)?.get_mut((handle % HANDLES_A_FRAME) as usize)
    }

    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    fn grow(&mut self, charge: impl FnOnce(u64) -> bool) -> Option<()> {
        if self.frames.len() >= self.limit_frames as usize {
            return None;
        }
        let first = self.end();
        let last = first.checked_add(HANDLES_A_FRAME)?.checked_sub(1)?;
        let mut frame = Vec::new();
        self.frames.try_reserve(1).ok()?;
        frame.try_reserve_exact(HANDLES_A_FRAME as usize).ok()?;
        if !charge(FRAME_BYTES) {
            return None;
        }
        frame.extend((first..=last).map(|handle| Slot::Free((handle < last).then(|| handle.wrapping_add(1)))));
        self.frames.push(frame);
        self.free = Some((first, last));
        Some(())
    }

    /// Sets the mapping of a reserved handle.
    pub fn set(&mut self, handle: GrantHandle, mapped: Mapped) {
        self.fill(handle, Slot::Mapped(mapped));
    }

    /// Sets a reserved handle to a mapping that waits for a grace period.
    pub fn set_leaving(&mut self, handle: GrantHandle, mapped: Mapped, until: Epoch) {
        self.fill(handle, Slot::Leaving(mapped, until));
    }

    fn fill(&mut self, handle: GrantHandle, state: Slot) {
        if let Some(slot) = self.slot_mut(handle.0)
            && *slot == Slot::Busy
        {
            *slot = state;
        }
    }

    /// Takes the mapping of a handle and reserves the handle meanwhile; None if it has no mapping.
    pub fn take(&mut self, handle: GrantHandle) -> Option<Taken> {
        let slot = self.slot_mut(handle.0)?;
        let taken = match *slot {
            Slot::Free(_) | Slot::Busy => return None,
            Slot::Mapped(mapped) => Taken::Mapped(mapped),
            Slot::Leaving(mapped, until) => Taken::Leaving(mapped, until),
        };
        *slot = Slot::Busy;
        Some(taken)
    }

    /// Frees a reserved handle.
    pub fn free(&mut self, handle: GrantHandle) {
        let Some(slot) = self.slot_mut(handle.0).filter(|slot| **slot == Slot::Busy) else { return };
        *slot = Slot::Free(None);
        self.free = match self.free {
            None => Some((handle.0, handle.0)),
            Some((first, last)) => {
                if let Some(tail) = self.slot_mut(last) {
                    *tail = Slot::Free(Some(handle.0));
                }
                Some((first, handle.0))
            }
        };
    }

    /// Returns the number one past the highest handle ever used.
    pub const fn end(&self) -> u32 {
        (self.frames.len() as u32).saturating_mul(HANDLES_A_FRAME)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPPED: Mapped = Mapped { domain: DomId(1), reference: GrantRef(9), write: true, mfn: Mfn(5), gfn: Gfn(6) };

    #[test]
    fn a_freed_handle_comes_back_last() {
        let mut track = Maptrack::new(1);
        let first = track.reserve(|_| true).unwrap();
        track.set(first, MAPPED);
        assert_eq!(track.take(first), Some(Taken::Mapped(MAPPED)));
        assert_eq!(track.take(first), None, "taken twice");
        track.free(first);
        let rest: Vec<_> = core::iter::from_fn(|| track.reserve(|_| true)).collect();
        assert_eq!((rest.len(), rest.first(), rest.last()), (256, Some(&GrantHandle(1)), Some(&first)));
    }

    #[test]
    fn handles_end_at_the_limit() {
        let mut track = Maptrack::new(0);
        assert_eq!(track.reserve(|_| true), None);
        assert_eq!(track.take(GrantHandle(0)), None);
        let mut track = Maptrack::new(2);
        assert_eq!(core::iter::from_fn(|| track.reserve(|_| true)).count(), 512);
        assert_eq!(track.end(), 512);
    }

    #[test]
    fn more_handles_come_only_where_they_may_be_charged() {
        let mut track = Maptrack::new(9);
        assert_eq!(track.reserve(|_| false), None);
        let first = track.reserve(|bytes| bytes == FRAME_BYTES).unwrap();
        assert!((1..256).all(|_| track.reserve(|_| false).is_some()), "they are paid for");
        assert_eq!(track.reserve(|_| false), None);
        track.free(first);
        assert_eq!(track.reserve(|_| false), Some(first));
    }
}
