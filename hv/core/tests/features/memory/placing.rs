//! Pages that several vCPUs move about at once: none of them is lost, and no reference to it.
use xen_abi::physmap::{XENMAPSPACE_GMFN_FOREIGN, XENMAPSPACE_SHARED_INFO};
use xen_abi::{DomId, Gfn};
use xenolith_core::components::placing::place::{Item, place, unplace};
use xenolith_hal::{CpuId, NestedSpace};
use xenolith_world::World;

const ROUNDS: u32 = 20_000;

#[test]
fn moving_the_shared_page_takes_nothing_else_away() {
    const PLACES: [Gfn; 2] = [Gfn(0x100), Gfn(0x101)];
    let world = World::new(&[1, 1]);
    let (mover, lent) = (world.domain(0), world.domain(1).space.lookup(Gfn(5)).unwrap().mfn);
    let shared = Item { space: XENMAPSPACE_SHARED_INFO, index: 0, foreign: DomId::INVALID };
    let foreign = Item { space: XENMAPSPACE_GMFN_FOREIGN, index: 5, foreign: DomId(1) };
    std::thread::scope(|scope| {
        let moves = |gfn: Gfn| {
            let _ = place(&world.hv, &mover, &mover, shared, gfn);
        };
        scope.spawn(move || (0..ROUNDS).for_each(|round| moves(PLACES[round as usize % 2])));
        for round in 0..ROUNDS {
            moves(Gfn(0x200));
            let gfn = PLACES[round as usize % 2];
            // It goes only where the shared page is not, and must come out again.
            if place(&world.hv, &mover, &mover, foreign, gfn).is_ok() {
                let _ = unplace(&world.hv, &mover, gfn);
            }
        }
    });
    for gfn in PLACES {
        let _ = unplace(&world.hv, &mover, gfn);
    }
    while world.hv.frames.waiting() > 0 {
        world.hv.frames.quiet(CpuId(0));
        let _ = world.hv.frames.poll(&world.hv.machine, || false);
    }
    assert_eq!(world.hv.frames.state(lent).unwrap().references, 1, "the other domain would never be buried");
}
