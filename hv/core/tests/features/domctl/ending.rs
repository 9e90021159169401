//! The end of domains, and where their pages go.

use super::toolstack::*;
use proptest::prelude::*;
use xen_abi::domctl::*;
use xen_abi::event_channel::{EVTCHNOP_BIND_VIRQ, EvtchnBindVirq};
use xen_abi::hypercall::EVENT_CHANNEL_OP;
use xen_abi::virq::VIRQ_DOM_EXC;
use xen_abi::{DomId, Errno, Gfn, Port, VcpuId};
use xenolith_core::components::event_channel::is_pending;
use xenolith_core::components::grant::World as _;
use xenolith_core::domains::domain::Life;
use xenolith_core::lifecycle::destruction::{Progress, destroy as destroy_part};
use xenolith_core::lifecycle::event_domain::HostedDomain;
use xenolith_core::memory::physmap::PlaceError;
use xenolith_hal::{CpuId, Machine, NestedSpace, PageKind, Rights};
use xenolith_world::{Plan, World};

fn full_domain(world: &World, pages: u64) -> DomId {
    let id = create(world);
    give_vcpus(world, id, 2).unwrap();
    give_memory(world, id, pages).unwrap();
    populate(world, id, 0, pages);
    id
}

#[test]
fn every_page_comes_back() {
    let world = World::new(&[1]);
    let free = settle(&world);
    for _ in 0..12 {
        let id = full_domain(&world, 40);
        assert!(world.hv.frames.free_pages() < free - 40);
        assert_eq!(destroy(&world, id), Ok(0));
        assert_eq!(settle(&world), free);
        assert_eq!(info(&world, id), Err(Errno::ESRCH));
    }
}

#[test]
fn the_next_domain_is_found_over_gaps_until_it_is_gone() {
    let world = World::planned(Plan { domains: DomId::FIRST_RESERVED.0, ..Plan::TESTS }, &[1]);
    // The ends of words and of parts of the table, and the last number of all.
    let numbers = [1, 62, 63, 64, 127, 128, 255, 256, 513, 20_000, 0x7fef];
    for number in numbers {
        assert_eq!(create_with(&world, DomId(number), options()), Ok(DomId(number)));
    }
    let next = |from: u16| world.hv.domains.first_from(DomId(from)).map(|domain| domain.id.0);
    let mut left: Vec<u16> = [0].into_iter().chain(numbers).collect();
    for gone in [63, 20_000, 1, 0x7fef] {
        for from in (0..1100).chain(19_990..20_010).chain(0x7f00..0x7fff) {
            assert_eq!(next(from), left.iter().copied().find(|number| *number >= from), "from {from}");
        }
        assert_eq!(destroy(&world, DomId(gone)), Ok(0));
        let _ = settle(&world);
        left.retain(|number| *number != gone);
    }
    assert_eq!(next(0x7000), None);
}

#[test]
fn a_domain_without_vcpus_or_memory_ends_too() {
    let world = World::new(&[1]);
    let free = settle(&world);
    let id = create(&world);
    assert_eq!(destroy(&world, id), Ok(0));
    assert_eq!(settle(&world), free);
}

#[test]
fn whoever_ends_a_domain_looks_around_before_it_goes_on() {
    let world = World::new(&[1]);
    let id = create(&world);
    assert!(!world.hv.scheduler.is_asked(CpuId(0)));
    assert_eq!(destroy(&world, id), Ok(0));
    assert!(world.hv.scheduler.is_asked(CpuId(0)), "the dead domain stays in the list until something else happens");
}

#[test]
fn the_caller_cannot_end_itself() {
    let world = World::new(&[1]);
    assert_eq!(destroy(&world, DomId(0)), Err(Errno::EINVAL));
    assert_eq!(world.domain(0).life(), Life::Alive);
}

#[test]
fn pages_are_clean_when_another_domain_gets_them() {
    let world = World::new(&[1]);
    let id = full_domain(&world, 40);
    for gfn in 0..40 {
        world.page(id.0, Gfn(gfn)).store_u64(0, 0xdead);
    }
    destroy(&world, id).unwrap();
    settle(&world);
    let next = full_domain(&world, 200);
    for gfn in 0..200 {
        assert_eq!(world.page(next.0, Gfn(gfn)).load_u64(0), Some(0));
    }
}

#[test]
fn holes_of_gigabytes_are_passed_over() {
    let world = World::new(&[1]);
    let id = full_domain(&world, 4);
    give_memory(&world, id, 8).unwrap();
    populate(&world, id, 0xf_eff8, 4);
    let free = {
        destroy(&world, id).unwrap();
        settle(&world)
    };
    assert_eq!(info(&world, id), Err(Errno::ESRCH));
    assert_eq!(settle(&world), free);
}

#[test]
fn the_work_is_done_in_parts() {
    let world = World::new(&[1]);
    let id = full_domain(&world, 64);
    let domain = domain(&world, id);
    // Every look at the clock finds the time used up.
    world.hv.machine.set_pace(10_000_000);
    let mut parts = 0;
    while destroy_part(&world.hv, &domain) == Progress::Again {
        parts += 1;
        assert!(parts < 1000, "it never ends");
    }
    assert!(parts > 10, "only {parts} parts");
    world.hv.machine.set_pace(0);
    drop(domain);
    settle(&world);
    assert_eq!(info(&world, id), Err(Errno::ESRCH));
}

#[test]
fn a_domain_whose_vcpu_runs_elsewhere_ends_when_that_stops() {
    let world = World::new(&[1]);
    let free = settle(&world);
    let id = full_domain(&world, 8);
    let domain = domain(&world, id);
    plain(&world, XEN_DOMCTL_UNPAUSEDOMAIN, id).unwrap();
    domain.vcpus[0].bring_up();
    let core = domain.vcpus[0].take_core().unwrap();
    let kicks = world.hv.machine.kicks(domain.vcpus[0].processor());
    for _ in 0..3 {
        assert_eq!(destroy_part(&world.hv, &domain), Progress::Again);
    }
    assert!(world.hv.machine.kicks(domain.vcpus[0].processor()) > kicks);
    assert_eq!(domain.life(), Life::Dying);
    assert!(!domain.vcpus[0].is_runnable() && domain.space.lookup(Gfn(0)).is_some());
    domain.vcpus[0].put_core(core);
    assert_eq!(destroy(&world, id), Ok(0));
    drop(domain);
    assert_eq!(settle(&world), free);
}

#[test]
fn a_dying_domain_gets_nothing_new() {
    let world = World::new(&[1]);
    let id = full_domain(&world, 8);
    let domain = domain(&world, id);
    destroy(&world, id).unwrap();
    assert_eq!(give_memory(&world, id, 100), Ok(0));
    assert_eq!(world.hv.frames.account(id).unwrap().max(), 0);
    let placed =
        world.hv.memory(&domain).edit(|editor| editor.place(Gfn(3), domain.shared_info, Rights::ALL, PageKind::Mmio));
    assert_eq!(placed, Err(PlaceError::OutOfRange));
    assert!(domain.grants.grow(2, &world.hv.grant_source(id)).is_err());
    assert_eq!(give_vcpus(&world, id, 2), Err(Errno::EINVAL));
}

#[test]
fn what_others_map_keeps_a_dead_domain_in_the_list() {
    let world = World::new(&[1]);
    let free = settle(&world);
    let id = full_domain(&world, 8);
    let held = world.hv.memory(&domain(&world, id)).own_page(Gfn(5), true).unwrap();
    destroy(&world, id).unwrap();
    settle(&world);
    let told = info(&world, id).unwrap();
    assert!(told.flags.contains(DomainFlags::DYING) && told.tot_pages == 1);
    // Ending it once more changes nothing.
    assert_eq!(destroy(&world, id), Ok(0));
    assert_eq!(create_with(&world, id, options()), Err(Errno::EEXIST));
    world.hv.frames.put(held);
    assert_eq!(settle(&world), free);
    assert_eq!(info(&world, id), Err(Errno::ESRCH));
}

#[test]
fn the_dead_leave_the_list_in_any_order() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let world = World::new(&[1]);
        let free = settle(&world);
        let ids = [(); 3].map(|()| full_domain(&world, 8));
        let living = full_domain(&world, 8);
        let is_there = |id| world.hv.domains.get(id).is_some();
        let page = |id| world.hv.memory(&domain(&world, id)).own_page(Gfn(5), true).unwrap();
        let mut held = ids.map(|id| Some(page(id)));
        ids.iter().rev().for_each(|id| assert_eq!(destroy(&world, *id), Ok(0)));
        for gone in order {
            settle(&world);
            assert!((0..3).all(|other| is_there(ids[other]) == held[other].is_some()));
            world.hv.frames.put(held[gone].take().unwrap());
        }
        settle(&world);
        assert!(!ids.into_iter().any(is_there));
        assert!(is_there(living) && !world.hv.domains.has_dead());
        assert_eq!(destroy(&world, living), Ok(0));
        assert_eq!(settle(&world), free);
    }
}

#[test]
fn the_control_domain_hears_of_the_death_and_of_the_last_page() {
    let world = World::new(&[1]);
    let mut bind = EvtchnBindVirq { virq: VIRQ_DOM_EXC, vcpu: VcpuId(0), ..EvtchnBindVirq::default() };
    world.call_with(0, EVENT_CHANNEL_OP, EVTCHNOP_BIND_VIRQ, &mut bind).unwrap();
    let heard = || {
        let control = world.domain(0);
        let pending = is_pending(&HostedDomain::new(&world.hv, &control), bind.port).unwrap();
        let page = world.hv.machine.page(control.shared_info).unwrap();
        page.words().iter().for_each(|word| word.store(0, std::sync::atomic::Ordering::SeqCst));
        pending
    };
    let id = full_domain(&world, 8);
    let held = world.hv.memory(&domain(&world, id)).own_page(Gfn(5), true).unwrap();
    assert!(!heard());
    destroy(&world, id).unwrap();
    assert!(heard());
    settle(&world);
    assert!(!heard());
    world.hv.frames.put(held);
    settle(&world);
    assert!(heard());
    assert_ne!(bind.port, Port(0));
}

#[derive(Clone, Debug)]
enum Step {
    Create {
        pages: u64,
        vcpus: bool,
    },
    /// Of which domain, by its place in the list.
    Destroy(usize),
    /// Takes a reference to a page of one, or gives the oldest back.
    Hold(usize),
    LetGo,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0u64..20, any::<bool>()).prop_map(|(pages, vcpus)| Step::Create { pages, vcpus }),
        (0usize..8).prop_map(Step::Destroy),
        (0usize..8).prop_map(Step::Hold),
        Just(Step::LetGo),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever is made, ended, and held meanwhile: in the end every frame is free again.
    #[test]
    fn accounts_are_even_when_all_is_over(steps in steps()) {
        let world = World::new(&[1]);
        let free = settle(&world);
        let (mut alive, mut held) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Create { pages, vcpus } if alive.len() < 6 => {
                    let Ok(id) = create_with(&world, DomId(0), options()) else { continue };
                    if vcpus {
                        give_vcpus(&world, id, 2).unwrap();
                    }
                    give_memory(&world, id, pages).unwrap();
                    populate(&world, id, 0, pages);
                    alive.push(id);
                }
                Step::Destroy(which) if which < alive.len() => {
                    prop_assert_eq!(destroy(&world, alive.remove(which)), Ok(0));
                }
                Step::Hold(which) if which < alive.len() => {
                    held.extend(world.hv.memory(&domain(&world, alive[which])).own_page(Gfn(0), true));
                }
                Step::LetGo if !held.is_empty() => world.hv.frames.put(held.remove(0)),
                _ => {}
            }
        }
        for id in alive {
            prop_assert_eq!(destroy(&world, id), Ok(0));
        }
        for reference in held {
            world.hv.frames.put(reference);
        }
        prop_assert_eq!(settle(&world), free);
        prop_assert_eq!(info(&world, DomId(1)), Err(Errno::ESRCH));
    }
}
