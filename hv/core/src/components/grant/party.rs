//! What grant operations ask of the domains and of the machine.

use super::GrantTable;
use crate::components::access::Subject;
use crate::memory::frames::epoch::Epoch;
use crate::memory::frames::{Frames, Pages};
use crate::memory::physmap::{Memory, Physmap};
use core::ops::Deref;
use xenolith_hal::{DomId, Mfn, NestedSpace};

/// A domain that grants or is granted something.
pub trait Party {
    /// Its translation.
    type Space: NestedSpace;

    /// Its number.
    fn id(&self) -> DomId;
    /// The domain as one that asks for something.
    fn subject(&self) -> Subject;
    /// Its translation.
    fn space(&self) -> &Self::Space;
    /// The page that it shares with the hypervisor.
    fn shared_info(&self) -> Mfn;
    /// The lock over its translation.
    fn physmap(&self) -> &Physmap;
    /// Its grants and its mappings of others' grants.
    fn grants(&self) -> &GrantTable;
}

/// Where domains and pages are found.
pub trait World {
    /// A domain.
    type Party: Party;
    /// A domain that stays while it is held.
    type Held: Deref<Target = Self::Party>;
    /// The contents of pages.
    type Pages: Pages;

    /// The domain with this number.
    fn party(&self, id: DomId) -> Option<Self::Held>;
    /// Machine memory.
    fn frames(&self) -> &Frames;
    /// The contents of pages.
    fn pages(&self) -> &Self::Pages;

    /// True while a CPU other than this one may still reach, by this domain's translation, what was taken out of it
    /// before the epoch; such CPUs are made to pass it soon where `hurry` says so.
    fn in_reach(&self, party: &Self::Party, until: Epoch, hurry: bool) -> bool;

    /// A domain's memory.
    fn memory<'a>(&'a self, party: &'a Self::Party) -> MemoryOf<'a, Self> {
        Memory {
            owner: party.id(),
            frames: self.frames(),
            pages: self.pages(),
            space: party.space(),
            physmap: party.physmap(),
        }
    }
}

/// A domain's memory in a world.
pub type MemoryOf<'a, W> = Memory<'a, <W as World>::Pages, <<W as World>::Party as Party>::Space>;
