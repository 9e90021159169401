//! What grant operations need of the domains and of the machine.

use super::GrantTable;
use crate::components::access::Subject;
use crate::memory::frames::epoch::Epoch;
use crate::memory::frames::{Frames, Pages};
use crate::memory::physmap::{Memory, Physmap};
use core::ops::Deref;
use xenolith_hal::{DomId, Mfn, NestedSpace};

/// A domain that grants or is granted something.
pub trait Party {
    /// Its nested page tables.
    type Space: NestedSpace;

    /// Returns its number.
    fn id(&self) -> DomId;
    /// Returns the domain as the subject of a permission check.
    fn subject(&self) -> Subject;
    /// Returns its nested page tables (p2m).
    fn space(&self) -> &Self::Space;
    /// Returns its shared_info page.
    fn shared_info(&self) -> Mfn;
    /// Returns its p2m lock.
    fn physmap(&self) -> &Physmap;
    /// Returns its grant table and its maptrack.
    fn grants(&self) -> &GrantTable;
}

/// The domains and the machine memory.
pub trait World {
    /// A domain.
    type Party: Party;
    /// A domain that stays while it is held.
    type Held: Deref<Target = Self::Party>;
    /// Returns the contents of pages.
    type Pages: Pages;

    /// Returns the domain with this number.
    fn party(&self, id: DomId) -> Option<Self::Held>;
    /// Returns the machine frames.
    fn frames(&self) -> &Frames;
    /// Returns the contents of pages.
    fn pages(&self) -> &Self::Pages;

    /// Returns true while a CPU other than this one may still reach, by this domain's p2m, what was unmapped before the
    /// epoch; with `hurry` such CPUs are kicked so that they pass it soon.
    fn in_reach(&self, party: &Self::Party, until: Epoch, hurry: bool) -> bool;

    /// Returns a domain's memory.
    #[inline]
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

/// The memory of a domain of a world.
pub type MemoryOf<'a, W> = Memory<'a, <W as World>::Pages, <<W as World>::Party as Party>::Space>;
