//! The hypervisor's domains as grant operations see them.

use crate::components::access::Subject;
use crate::components::grant::{GrantTable, Party, Source, World};
use crate::domains::domain::Domain;
use crate::domains::hypervisor::{DomainRef, Hypervisor};
use crate::memory::frames::Frames;
use crate::memory::frames::epoch::Epoch;
use crate::memory::physmap::Physmap;
use core::sync::atomic::{Ordering, fence};
use xenolith_hal::{DomId, Machine, Mfn};

impl<M: Machine> Party for Domain<M> {
    type Space = M::Space;

    fn id(&self) -> DomId {
        self.id
    }

    fn subject(&self) -> Subject {
        self.subject()
    }

    fn space(&self) -> &M::Space {
        &self.space
    }

    fn shared_info(&self) -> Mfn {
        self.shared_info
    }

    fn physmap(&self) -> &Physmap {
        &self.physmap
    }

    fn grants(&self) -> &GrantTable {
        &self.grants
    }
}

impl<M: Machine> World for Hypervisor<M> {
    type Party = Domain<M>;
    type Held = DomainRef<M>;
    type Pages = M;

    fn party(&self, id: DomId) -> Option<DomainRef<M>> {
        self.domains.get(id)
    }

    fn frames(&self) -> &Frames {
        &self.frames
    }

    fn pages(&self) -> &M {
        &self.machine
    }

    #[inline]
    fn in_reach(&self, party: &Domain<M>, until: Epoch, hurry: bool) -> bool {
        // A vCPU that is not seen to run here starts to run after this, and then sees the change of the translation.
        fence(Ordering::SeqCst);
        let this = self.machine.this_cpu();
        let mut reaches = false;
        for vcpu in party.vcpus.iter().filter(|vcpu| vcpu.is_running()) {
            let cpu = vcpu.processor();
            if cpu != this && !self.frames.has_passed(cpu, until) {
                reaches = true;
                if hurry {
                    self.machine.kick(cpu);
                }
            }
        }
        reaches
    }
}

impl<M: Machine> Hypervisor<M> {
    /// Returns the allocator of frames for a domain's grant table.
    pub fn grant_source(&self, owner: DomId) -> Source<'_, M> {
        Source { frames: &self.frames, pages: &self.machine, owner }
    }
}
