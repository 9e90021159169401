//! What must hold of every frame, whatever guests did.

use std::collections::HashMap;

use xen_abi::{DomId, Gfn};
use xenolith_core::domains::domain::Domain;
use xenolith_core::domains::hypervisor::Hypervisor;
use xenolith_core::memory::frames::FrameUse;
use xenolith_core::memory::frames::state::FrameState;
use xenolith_fake::FakeMachine;
use xenolith_hal::{NestedSpace, PageKind};

use super::stage::SPAN;

/// Checks that every page a domain can reach is its own RAM, or is held by a reference for each mapping.
///
/// Panics where one is not: that is a fault of the hypervisor.
pub fn check(hv: &Hypervisor<FakeMachine>) {
    let mut held: HashMap<u64, (u32, FrameState)> = HashMap::new();
    let mut next = hv.domains.first_from(DomId(0));
    while let Some(domain) = next {
        for gfn in 0..SPAN {
            let Some(found) = domain.space.lookup(Gfn(gfn)) else { continue };
            if found.kind == PageKind::Mmio {
                continue;
            }
            let state = hv.frames.state(found.mfn).expect("it is RAM");
            let sound = match found.kind {
                PageKind::Ram => state.owner == domain.id && state.allocated && state.used_as == FrameUse::Guest,
                _ => state.references > 0 && matches!(state.used_as, FrameUse::Guest | FrameUse::Shared),
            };
            assert!(sound, "{} reaches {found:?} at {gfn:#x}: {state:?}", domain.id);
            held.entry(found.mfn.0).or_insert((0, state)).0 += 1;
        }
        assert_eq!(u64::from(domain.physmap.marks()), marks(&domain), "marks of {}", domain.id);
        next = hv.domains.first_from(DomId(domain.id.0 + 1));
    }
    for (mfn, (count, state)) in held {
        assert!(state.references >= count, "frame {mfn:#x} is mapped {count} times: {state:?}");
    }
}

/// Counts the frames that are marked for populate-on-demand.
fn marks(domain: &Domain<FakeMachine>) -> u64 {
    let (mut gfn, mut marks) = (0, 0);
    while gfn <= domain.physmap.highest().0 {
        let (marked, order) = domain.space.mark_at(Gfn(gfn));
        // The rest of what is there: of a mark, a page or a hole.
        let next = (gfn | (order.pages() - 1)) + 1;
        marks += if marked { next - gfn } else { 0 };
        gfn = next;
    }
    marks
}
