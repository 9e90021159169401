//! Random memory operations of three domains: whatever they do, no page is lost, none has two owners, and none is free
//! while somebody can reach it.

use crate::memory::world::{Machine, PAGES};
use proptest::prelude::*;
use std::collections::BTreeMap;
use xen_abi::physmap::*;
use xenolith_core::components::grant::{Limits, World};
use xenolith_core::components::placing::place::{Item, place, release_memory, unplace};
use xenolith_core::memory::frames::{ANYWHERE, FrameUse};
use xenolith_core::memory::populate::{Extent, populate_extent, remove_extent};
use xenolith_hal::{DomId, Gfn, Mfn, NestedSpace, PageKind, PageOrder};

const DOMAINS: u16 = 3;
const FRAMES: u64 = 4096;
/// Guest frames that the steps choose from.
const RANGE: u64 = 24;

#[derive(Clone, Debug)]
enum Step {
    Place { dom: u16, space: u32, index: u64, foreign: u16, gfn: u64 },
    Unplace { dom: u16, gfn: u64 },
    Populate { dom: u16, gfn: u64, order: u8 },
    Remove { dom: u16, gfn: u64, order: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let dom = || 0..DOMAINS;
    let gfn = || 0..RANGE;
    let space = prop::sample::select(
        &[XENMAPSPACE_SHARED_INFO, XENMAPSPACE_GRANT_TABLE, XENMAPSPACE_GMFN, XENMAPSPACE_GMFN_FOREIGN][..],
    );
    prop_oneof![
        5 => (dom(), space, gfn(), dom(), gfn())
            .prop_map(|(dom, space, index, foreign, gfn)| Step::Place { dom, space, index, foreign, gfn }),
        2 => (dom(), gfn()).prop_map(|(dom, gfn)| Step::Unplace { dom, gfn }),
        2 => (dom(), gfn(), 0u8..3).prop_map(|(dom, gfn, order)| Step::Populate { dom, gfn, order }),
        2 => (dom(), gfn(), 0u8..3).prop_map(|(dom, gfn, order)| Step::Remove { dom, gfn, order }),
    ]
}

fn make(machine: &Machine, step: Step) {
    match step {
        Step::Place { dom, space, index, foreign, gfn } => {
            let index = if space == XENMAPSPACE_SHARED_INFO { index % 2 } else { index };
            let item = Item { space, index, foreign: DomId(foreign) };
            // The control domain asks, so that foreign pages may be mapped.
            let _ = place(machine, machine.dom(0), machine.dom(dom), item, Gfn(gfn));
        }
        Step::Unplace { dom, gfn } => {
            let _ = unplace(machine, machine.dom(dom), Gfn(gfn));
        }
        Step::Populate { dom, gfn, order } => {
            let extent = Extent { gfn: Gfn(gfn), order: PageOrder(order) };
            let _ = populate_extent(&machine.memory(machine.dom(dom)), extent, ANYWHERE);
        }
        Step::Remove { dom, gfn, order } => {
            let extent = Extent { gfn: Gfn(gfn), order: PageOrder(order) };
            let _ = remove_extent(&machine.memory(machine.dom(dom)), extent);
        }
    }
}

fn check(machine: &Machine) {
    let mut at_home: BTreeMap<u64, u16> = BTreeMap::new();
    let mut mapped: BTreeMap<u64, u32> = BTreeMap::new();
    for dom in 0..DOMAINS {
        for gfn in 0..RANGE + 4 {
            let Some(at) = machine.dom(dom).space.lookup(Gfn(gfn)) else { continue };
            let state = machine.frames.state(at.mfn).unwrap();
            match at.kind {
                PageKind::Ram => {
                    assert_eq!((state.owner, state.used_as, state.allocated), (DomId(dom), FrameUse::Guest, true));
                    assert_eq!(at_home.insert(at.mfn.0, dom), None, "two places");
                }
                PageKind::Shared => {
                    assert_eq!((state.owner, state.used_as), (DomId(dom), FrameUse::Shared));
                    assert_eq!(at_home.insert(at.mfn.0, dom), None, "two places");
                    *mapped.entry(at.mfn.0).or_default() += 1;
                }
                PageKind::Foreign => {
                    assert_ne!(state.owner, DomId(dom));
                    *mapped.entry(at.mfn.0).or_default() += 1;
                }
                PageKind::Grant | PageKind::Mmio | PageKind::OnDemand => panic!("nobody mapped one"),
            }
        }
    }
    let mut counts: BTreeMap<DomId, (u32, u32)> = BTreeMap::new();
    let mut free = 0;
    for mfn in 1..FRAMES {
        let state = machine.frames.state(Mfn(mfn)).unwrap();
        match state.used_as {
            FrameUse::Guest => counts.entry(state.owner).or_default().0 += 1,
            FrameUse::Shared => counts.entry(state.owner).or_default().1 += 1,
            FrameUse::Free => free += 1,
            other => panic!("{other:?}"),
        }
        let expected = u32::from(state.allocated) + mapped.get(&mfn).copied().unwrap_or(0);
        assert_eq!(state.references, expected, "frame {mfn:#x}");
        assert_eq!(state.used_as == FrameUse::Free, expected == 0);
    }
    assert_eq!(machine.frames.free_pages(), free);
    for dom in (0..DOMAINS).map(DomId) {
        let account = machine.frames.account(dom).unwrap();
        let counted = counts.get(&dom).copied().unwrap_or_default();
        assert_eq!((account.total(), account.shared()), counted);
        assert!(account.total() <= account.max());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_page_is_lost_or_shared_by_mistake(steps in prop::collection::vec(step(), 1..60)) {
        let machine = Machine::new(DOMAINS, Limits { frames: 8, ..Limits::DEFAULT });
        for dom in (0..DOMAINS).map(DomId) {
            machine.frames.account(dom).unwrap().set_max(PAGES as u32 + 12);
        }
        for step in steps {
            make(&machine, step);
            machine.settle();
            check(&machine);
        }
        for dom in 0..DOMAINS {
            assert_eq!(release_memory(&machine, machine.dom(dom), Gfn(0), 1000), None);
        }
        for dom in 0..DOMAINS {
            assert_eq!(machine.frames.release_strays(DomId(dom), Mfn(0), FRAMES), None);
        }
        machine.settle();
        prop_assert!((0..DOMAINS).all(|dom| machine.frames.account(DomId(dom)).unwrap().total() == 0));
    }
}
