//! What a toolstack that was killed leaves is found and removed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use domains::{Finding, Record, examine};

use crate::with_devices;
use crate::world::{Killed, World, config};

fn found(world: &mut World) -> Vec<Finding> {
    let World { machine, tree, places, .. } = world;
    examine(machine, tree, places).unwrap()
}

fn treat(world: &mut World) {
    for finding in found(world) {
        let World { machine, tree, places, .. } = world;
        finding.remove(machine, tree, places).unwrap();
    }
}

#[test]
fn nothing_is_found_beside_domains_that_are_well() {
    let mut world = World::new();
    world.create(&config("web"), false).unwrap();
    world.create(&config("other"), true).unwrap();
    assert!(found(&mut world).is_empty());
}

#[test]
fn a_create_that_was_killed_is_undone_wherever_that_was() {
    let calls = |world: &World| (world.machine.calls.made.get(), world.tree.calls.made.get());
    let mut whole = World::new();
    whole.create(&with_devices("web"), false).unwrap();
    let (of_machine, of_tree) = calls(&whole);
    let machine_kills = (0..of_machine).map(|call| (Some(call), None));
    for (machine, tree) in machine_kills.chain((0..of_tree).map(|call| (None, Some(call)))) {
        let mut world = World::new();
        world.create(&config("well"), false).unwrap();
        let (before, made) = (world.left(), calls(&world));
        world.machine.calls.kills.set(machine.map(|call| made.0 + call));
        world.tree.calls.kills.set(tree.map(|call| made.1 + call));
        let killed = catch_unwind(AssertUnwindSafe(|| world.create(&with_devices("web"), false)));
        assert!(killed.is_err_and(|killed| killed.is::<Killed>()), "{machine:?} {tree:?}");
        treat(&mut world);
        assert_eq!(world.left(), before, "{machine:?} {tree:?}");
    }
}

#[test]
fn a_destroy_that_was_killed_is_ended_wherever_that_was() {
    let destroy = |world: &mut World| {
        let World { machine, tree, places, .. } = world;
        domains::destroy(machine, tree, places, "web", 2)
    };
    let furnished = || {
        let mut world = World::new();
        world.create(&config("well"), false).unwrap();
        let before = world.left();
        world.create(&with_devices("web"), false).unwrap();
        (world, before)
    };
    let calls = |world: &World| (world.machine.calls.made.get(), world.tree.calls.made.get());
    let (mut whole, _) = furnished();
    let made = calls(&whole);
    destroy(&mut whole).unwrap();
    let all = calls(&whole);
    let machine_kills = (made.0..all.0).map(|call| (Some(call), None));
    for (machine, tree) in machine_kills.chain((made.1..all.1).map(|call| (None, Some(call)))) {
        let (mut world, before) = furnished();
        world.machine.calls.kills.set(machine);
        world.tree.calls.kills.set(tree);
        let killed = catch_unwind(AssertUnwindSafe(|| destroy(&mut world)));
        assert!(killed.is_err_and(|killed| killed.is::<Killed>()), "{machine:?} {tree:?}");
        treat(&mut world);
        assert_eq!(world.left(), before, "{machine:?} {tree:?}");
    }
}

#[test]
fn a_create_that_is_under_way_is_left_alone_and_named_when_it_was_interrupted() {
    let mut world = World::new();
    let config = config("web");
    world.create(&config, false).unwrap();
    let record = Record::begin(&world.places, config.uuid, "web").unwrap();
    assert!(found(&mut world).is_empty(), "its program lives");
    drop(record);
    let findings = found(&mut world);
    assert_eq!(findings.len(), 1);
    let told = findings[0].to_string();
    assert!(told.starts_with("domain 1: its making or ending was interrupted (name \"web\""), "{told}");
}

#[test]
fn a_create_that_was_interrupted_before_there_was_a_domain_leaves_a_record_alone() {
    let mut world = World::new();
    let before = world.left();
    drop(Record::begin(&world.places, config("web").uuid, "web").unwrap());
    assert!(found(&mut world)[0].to_string().contains("it is not there"));
    treat(&mut world);
    assert_eq!(world.left(), before);
}

#[test]
fn a_domain_without_a_name_is_told_of_and_left_alone_unless_a_record_tells_of_it() {
    let mut world = World::new();
    world.create(&config("well"), false).unwrap();
    let web = config("web");
    world.create(&web, false).unwrap();
    world.tree.nodes.remove("/local/domain/2/name");
    let told = |world: &mut World| {
        let World { machine, tree, places, .. } = world;
        domains::unnamed(machine, tree, places).unwrap()
    };
    assert_eq!(told(&mut world), [2]);
    assert!(found(&mut world).is_empty());
    let _record = Record::begin(&world.places, web.uuid, "web").unwrap();
    assert!(told(&mut world).is_empty());
}

#[test]
fn nodes_and_files_of_a_domain_that_is_not_there_are_removed_and_no_others() {
    let mut world = World::new();
    let well = config("well");
    world.create(&well, false).unwrap();
    let before = world.left();
    world.create(&config("web"), false).unwrap();
    let pages = world.machine.domains.borrow_mut().remove(&2).unwrap().frames.len() as u64;
    world.machine.free.set(world.machine.free.get() + pages);
    let told: Vec<String> = found(&mut world).iter().map(ToString::to_string).collect();
    let nodes = "/libxl/2 /local/domain/0/backend/console/2 /local/domain/2";
    assert_eq!(told[0], format!("nodes of domain 2, which is not there: {nodes}"));
    assert!(told[1].contains("/vm/") && told[2].contains("libxl-json"), "{told:?}");
    treat(&mut world);
    assert_eq!(world.left(), before);
    assert!(found(&mut world).is_empty());
}
