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

/// The handles of a domain. They are allocated in turn, so that an old one is not soon reused.
#[derive(Debug)]
pub struct Maptrack {
    slots: Vec<Slot>,
    limit: u32,
    /// The first and the last free handle.
    free: Option<(u32, u32)>,
}

impl Maptrack {
    pub const fn new(frames: u32) -> Self {
        Self { slots: Vec::new(), limit: frames.saturating_mul(HANDLES_A_FRAME), free: None }
    }

    /// Reserves a handle; None past the limit or if memory is short.
    pub fn reserve(&mut self) -> Option<GrantHandle> {
        if self.free.is_none() {
            self.grow()?;
        }
        let (first, last) = self.free?;
        let slot = self.slots.get_mut(first as usize)?;
        let Slot::Free(next) = *slot else { return None };
        *slot = Slot::Busy;
        self.free = next.map(|next| (next, last));
        Some(GrantHandle(first))
    }

    fn grow(&mut self) -> Option<()> {
        let first = u32::try_from(self.slots.len()).ok()?;
        let end = first.saturating_add(HANDLES_A_FRAME).min(self.limit);
        if first >= end {
            return None;
        }
        self.slots.try_reserve(HANDLES_A_FRAME as usize).ok()?;
        self.slots.extend((first..end).map(|n| Slot::Free((n + 1 < end).then_some(n + 1))));
        self.free = Some((first, end - 1));
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
        if let Some(slot) = self.slots.get_mut(handle.0 as usize)
            && *slot == Slot::Busy
        {
            *slot = state;
        }
    }

    /// Takes the mapping of a handle and reserves the handle meanwhile; None if it has no mapping.
    pub fn take(&mut self, handle: GrantHandle) -> Option<Taken> {
        let slot = self.slots.get_mut(handle.0 as usize)?;
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
        let Some(slot) = self.slots.get_mut(handle.0 as usize).filter(|slot| **slot == Slot::Busy) else { return };
        *slot = Slot::Free(None);
        self.free = match self.free {
            None => Some((handle.0, handle.0)),
            Some((first, last)) => {
                if let Some(tail) = self.slots.get_mut(last as usize) {
                    *tail = Slot::Free(Some(handle.0));
                }
                Some((first, handle.0))
            }
        };
    }

    /// Returns the number one past the highest handle ever used.
    pub const fn end(&self) -> u32 {
        self.slots.len() as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPPED: Mapped = Mapped { domain: DomId(1), reference: GrantRef(9), write: true, mfn: Mfn(5), gfn: Gfn(6) };

    #[test]
    fn a_freed_handle_comes_back_last() {
        let mut track = Maptrack::new(1);
        let first = track.reserve().unwrap();
        track.set(first, MAPPED);
        assert_eq!(track.take(first), Some(Taken::Mapped(MAPPED)));
        assert_eq!(track.take(first), None, "taken twice");
        track.free(first);
        let rest: Vec<_> = core::iter::from_fn(|| track.reserve()).collect();
        assert_eq!((rest.len(), rest.first(), rest.last()), (256, Some(&GrantHandle(1)), Some(&first)));
    }

    #[test]
    fn handles_end_at_the_limit() {
        let mut track = Maptrack::new(0);
        assert_eq!(track.reserve(), None);
        assert_eq!(track.take(GrantHandle(0)), None);
        let mut track = Maptrack::new(2);
        assert_eq!(core::iter::from_fn(|| track.reserve()).count(), 512);
    }
}
