//! Domains are saved and restored, and nothing is left where that fails.

use std::path::{Path, PathBuf};

use domains::{Config, Created, Error, Linux, Step, Tools};

use crate::with_devices;
use crate::world::{World, config};

fn save(world: &mut World, domain: u16, file: &Path) -> Result<(), Error> {
    let World { machine, tree, places, .. } = world;
    domains::save(machine, tree, places, "web", domain, file)
}

fn restore(world: &mut World, file: &[u8]) -> Result<Created, Error> {
    let World { machine, tree, places, .. } = world;
    Tools { hypervisor: machine, registry: tree, host: &Linux, places }.restore(file, false)
}

/// A small domain: its file is written and read often.
fn small() -> Config {
    Config { memory_mib: 18, ..config("web") }
}

/// Returns some of many calls: the first ones and the last ones. Those between are all alike, and take long.
fn some(calls: std::ops::Range<usize>, first: usize, last: usize) -> impl Iterator<Item = usize> {
    let (start, end) = (calls.start, calls.end);
    calls.filter(move |call| call - start < first || end - call <= last)
}

/// A world with a domain that has suspended itself, and a place for its file.
fn suspended(config: &Config) -> (World, tempfile::TempDir, PathBuf) {
    let mut world = World::new();
    let made = world.create(config, false).unwrap();
    world.machine.domains.borrow_mut().get_mut(&made.domain).unwrap().suspended = true;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("web.save");
    (world, directory, file)
}

/// The file of a domain.
fn saved(config: &Config) -> Vec<u8> {
    let (mut world, _directory, file) = suspended(config);
    save(&mut world, 1, &file).unwrap();
    assert_eq!(world.left(), World::new().left(), "it is gone");
    std::fs::read(file).unwrap()
}

#[test]
fn a_domain_that_is_restored_has_the_memory_and_the_state_that_it_had() {
    let config = config("web");
    let file = saved(&config);
    let mut world = World::new();
    world.create(&crate::config("other"), false).unwrap();
    let made = restore(&mut world, &file).unwrap();
    assert_eq!((made.domain, made.uuid), (2, config.uuid));
    let domains = world.machine.domains.borrow();
    let fake = &domains[&2];
    assert_eq!((fake.vcpus, fake.kib, fake.pool, fake.paused), (2, 34 << 10, 4096 * (512 + 66), false));
    assert_eq!(fake.frames.len(), 33 * 256 + 9);
    assert_eq!(fake.read(0x100_0000, 10), b"the kernel");
    assert_eq!((fake.tsc.tsc_mode, fake.tsc.gtsc_khz), (2, 5));
    let parameters = [1, 2, 17, 18, 12].map(|index| fake.parameters[&index]);
    assert_eq!(parameters, [0xfeffc, 1, 0xfefff, 2, 0xfeffe << 12]);
    assert_eq!((fake.contexts.len(), fake.grants.len(), fake.policy.len()), (1, 2, 1));
    assert_eq!(world.tree.introduced.last(), Some(&(2, 0xfeffc, 1)));
    assert_eq!(world.tree.nodes["/local/domain/2/name"].0, "web");
    let kept = |world: &World, domain: u16| {
        std::fs::read(world.places.configs.join(format!("userdata-d.{domain}.{}.libxl-json", config.uuid))).unwrap()
    };
    assert!(!kept(&world, 2).is_empty());
}

#[test]
fn nothing_is_left_of_a_restore_whichever_call_fails_or_whatever_the_file_lacks() {
    let file = saved(&small());
    let before = World::new().left();
    let mut whole = World::new();
    restore(&mut whole, &file).unwrap();
    for call in some(0..whole.machine.calls.made.get(), 12, 30) {
        let mut world = World::new();
        world.machine.calls.fails.set(Some(call));
        let error = restore(&mut world, &file).unwrap_err();
        assert_eq!((&error.left, world.left()), (&Vec::new(), before.clone()), "{call} {error}");
    }
    for length in [10, 100, file.len() / 2, file.len() - 40, file.len() - 1] {
        let mut world = World::new();
        let error = restore(&mut world, &file[..length]).unwrap_err();
        assert_eq!((error.step, world.left()), (Step::Restore, before.clone()));
        assert!(error.cause.contains("the file ends in it"), "{error}");
    }
}

#[test]
fn what_another_kind_of_domain_has_is_refused_by_name() {
    let error = restore(&mut World::new(), &saved(&Config { memory_mib: 18, ..with_devices("web") })).unwrap_err();
    assert_eq!((error.step, error.remedy.as_str()), (Step::Restore, "restore it by `xl restore`"));
    assert!(error.cause.contains("it has devices (disks)"), "{error}");
    let mut world = World::new();
    world.create(&config("web"), false).unwrap();
    let before = world.left();
    let error = restore(&mut world, &saved(&small())).unwrap_err();
    assert_eq!((error.step, world.left()), (Step::Nodes, before), "the name is taken");
}

#[test]
fn a_domain_that_cannot_be_saved_goes_on_and_there_is_no_file() {
    let config = small();
    let (mut whole, _directory, file) = suspended(&config);
    let made = whole.machine.calls.made.get();
    save(&mut whole, 1, &file).unwrap();
    // The last two calls pause and destroy it.
    for call in some(made..whole.machine.calls.made.get() - 2, 4, 4) {
        let (mut world, _directory, file) = suspended(&config);
        let before = world.left();
        world.machine.calls.fails.set(Some(call));
        let error = save(&mut world, 1, &file).unwrap_err();
        assert_eq!((error.step, &error.left, world.left()), (Step::Save, &Vec::new(), before), "{call} {error}");
        assert!(!world.machine.domains.borrow()[&1].suspended, "{call}");
        assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 0, "{call}");
    }
    let (mut world, _directory, file) = suspended(&config);
    let error = save(&mut world, 1, &file.join("below")).unwrap_err();
    assert_eq!(error.step, Step::Save);
    assert!(world.machine.domains.borrow()[&1].suspended, "nothing was asked of it");
    assert_eq!(save(&mut world, 7, &file).unwrap_err().step, Step::Find);
}
