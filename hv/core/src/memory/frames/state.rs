//! The state of one machine frame (Xen's `page_info`), packed into one word so that it changes atomically.

use xenolith_hal::DomId;

/// What a frame is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FrameUse {
    /// Not RAM, or the machine's own: never handed out.
    Reserved = 0,
    /// In the allocator.
    Free = 1,
    /// Allocated, and not yet put to a use.
    Taken = 2,
    /// A domain's memory.
    Guest = 3,
    /// The hypervisor's, shared with a domain: shared_info, grant table frames.
    Shared = 4,
    /// A page table or other bookkeeping of a domain, paid for by its paging pool.
    Table = 5,
    /// The hypervisor's own.
    Xen = 6,
}

impl FrameUse {
    const fn from_bits(bits: u8) -> Self {
        match bits {
            1 => Self::Free,
            2 => Self::Taken,
            3 => Self::Guest,
            4 => Self::Shared,
            5 => Self::Table,
            6 => Self::Xen,
            _ => Self::Reserved,
        }
    }

    /// Returns true for a frame that other domains may hold references to.
    pub const fn shareable(self) -> bool {
        matches!(self, Self::Guest | Self::Shared)
    }
}

/// The state of a frame. Packed: owner in bits 48-63, use in 40-47, flags in 32-39, references in 0-31.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameState {
    pub owner: DomId,
    pub used_as: FrameUse,
    /// The owner's own reference has not been dropped yet.
    pub allocated: bool,
    /// Holds data of an earlier owner; to be scrubbed before it is used.
    pub dirty: bool,
    pub references: u32,
}

const ALLOCATED: u64 = 1 << 32;
const DIRTY: u64 = 1 << 33;

/// The most references to one frame, so low that a count of deferred ones fits beside a link.
pub const MAX_REFERENCES: u32 = 1 << 28;

impl FrameState {
    /// Returns the state of a frame without an owner.
    pub const fn unowned(used_as: FrameUse, dirty: bool) -> Self {
        Self { owner: DomId::INVALID, used_as, allocated: false, dirty, references: 0 }
    }

    /// Returns the state of a frame with the reference of its owner.
    pub const fn owned(owner: DomId, used_as: FrameUse) -> Self {
        Self { owner, used_as, allocated: true, dirty: false, references: 1 }
    }

    pub const fn to_bits(self) -> u64 {
        (self.owner.0 as u64) << 48
            | (self.used_as as u64) << 40
            | if self.allocated { ALLOCATED } else { 0 }
            | if self.dirty { DIRTY } else { 0 }
            | self.references as u64
    }

    pub const fn from_bits(bits: u64) -> Self {
        Self {
            owner: DomId((bits >> 48) as u16),
            used_as: FrameUse::from_bits((bits >> 40) as u8),
            allocated: bits & ALLOCATED != 0,
            dirty: bits & DIRTY != 0,
            references: bits as u32,
        }
    }

    /// Returns the state with one more reference, if `owner` owns the frame, it may be shared, and the count has room.
    pub fn referenced(self, owner: DomId) -> Option<Self> {
        let fits = self.owner == owner && self.used_as.shareable() && self.references != 0;
        (fits && self.references < MAX_REFERENCES).then(|| Self { references: self.references.wrapping_add(1), ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_state_comes_back_from_its_word(owner: u16, used in 0u8..7, allocated: bool, dirty: bool, references: u32) {
            let used_as = FrameUse::from_bits(used);
            let state = FrameState { owner: DomId(owner), used_as, allocated, dirty, references };
            prop_assert_eq!(used_as as u8, used);
            prop_assert_eq!(FrameState::from_bits(state.to_bits()), state);
        }
    }

    #[test]
    fn only_the_owner_of_a_live_shareable_frame_gets_a_reference() {
        let state = FrameState::owned(DomId(3), FrameUse::Guest);
        assert_eq!(state.referenced(DomId(3)).map(|s| s.references), Some(2));
        assert_eq!(state.referenced(DomId(4)), None);
        assert_eq!(FrameState { references: 0, ..state }.referenced(DomId(3)), None);
        assert_eq!(FrameState { references: MAX_REFERENCES, ..state }.referenced(DomId(3)), None);
        assert_eq!(FrameState::owned(DomId(3), FrameUse::Table).referenced(DomId(3)), None);
    }
}
