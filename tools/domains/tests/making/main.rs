//! Domains are made, ended and cleaned up with a hypervisor and a xenstore that are maps.
#![forbid(unsafe_code)]

mod doctor;
mod kernels;
mod saving;
mod world;

use domains::{Card, Disk, Step, named};
use world::{World, config};
use xen_abi::hvm_save_cpu::HvmHwCpu;
use xen_abi::start_info::{HvmModlistEntry, HvmStartInfo};
use zerocopy::FromBytes;

fn with_devices(name: &str) -> domains::Config {
    let disk = Disk { device: "xvda".into(), path: "/dev/sda".into(), physical: (8, 16), writable: false };
    let card = Card { mac: "00:16:3e:00:00:01".into(), bridge: "xenbr0".into() };
    domains::Config { disks: vec![disk], cards: vec![card], ..config(name) }
}

#[test]
fn a_domain_has_what_its_configuration_says_and_starts_where_its_kernel_is_entered() {
    let mut world = World::new();
    let config = config("web");
    let created = world.create(&config, false).unwrap();
    let domains = world.machine.domains.borrow();
    let fake = &domains[&created.domain];
    assert_eq!((fake.settings.handle, fake.settings.ssidref, fake.settings.flags.0), (config.uuid.0, 12, 3));
    assert_eq!((fake.settings.arch.emulation_flags.0, fake.settings.grant_opts), (1, 2));
    assert_eq!((fake.vcpus, fake.kib, fake.pool, fake.tsc_mode), (2, 34 << 10, 4096 * (512 + 66), 2));
    // 33 MiB, 8 pages of rings, a page of tables.
    assert_eq!((fake.frames.len(), fake.large, fake.paused), (33 * 256 + 9, 16, false));
    assert_eq!(fake.policy.iter().map(|leaf| leaf.b).collect::<Vec<_>>(), [0x6_0800]);

    assert_eq!(fake.read(0x100_0000, 10), b"the kernel");
    assert_eq!(fake.read(0x100_1000, 0x1000), vec![0; 0x1000], "what is not in the file is zero");
    let cpu = fake.contexts.last().unwrap();
    let cpu = HvmHwCpu::read_from_bytes(&cpu[32 + 8..32 + 8 + 1032]).unwrap();
    assert_eq!((cpu.rip, cpu.rbx, fake.contexts.len()), (0x100_0000, 0x100_2000, 3));
    let info = HvmStartInfo::read_from_bytes(&fake.read(cpu.rbx, 56)).unwrap();
    assert_eq!(fake.read(info.cmdline_paddr, 4), b"a=b\0");
    let module = HvmModlistEntry::read_from_bytes(&fake.read(info.modlist_paddr, 32)).unwrap();
    assert_eq!(fake.read(module.paddr, module.size as usize), b"the ramdisk");
    assert_eq!(fake.read(info.rsdp_paddr, 8), b"RSD PTR ");
    assert_eq!((info.memmap_entries, fake.map.len()), (3, 3));

    // The store's ring and the console's: frame, port, grant.
    let parameters = [1, 2, 17, 18].map(|index| fake.parameters[&index]);
    assert_eq!(parameters, [0xfeffc, 1, 0xfefff, 2]);
    let grants: Vec<_> = fake.grants.iter().map(|entry| (entry.flags, entry.domid.0, entry.frame)).collect();
    assert_eq!(grants, [(1, 0, 0xfefff), (1, 0, 0xfeffc)]);
    assert_eq!(world.tree.introduced, [(created.domain, 0xfeffc, 1)]);
}

#[test]
fn xls_tools_find_the_nodes_that_they_look_for() {
    let mut world = World::new();
    let config = with_devices("web");
    world.create(&config, true).unwrap();
    assert!(world.machine.domains.borrow()[&1].paused);
    let uuid = config.uuid;
    for (path, value, owner) in [
        ("/local/domain/1/name", "web", 0),
        ("/local/domain/1/domid", "1", 0),
        ("/local/domain/1/vm", &*format!("/vm/{uuid}"), 0),
        ("/local/domain/1/console/ring-ref", "1044479", 0),
        ("/local/domain/1/console/port", "2", 0),
        ("/local/domain/1/console/type", "xenconsoled", 0),
        ("/local/domain/1/store/ring-ref", "1044476", 0),
        ("/local/domain/1/cpu/1/availability", "online", 0),
        ("/local/domain/1/memory/target", "33792", 0),
        ("/local/domain/1/control/shutdown", "", 1),
        ("/local/domain/1/data", "", 1),
        ("/libxl/1/type", "pvh", 0),
        ("/libxl/1/device/console/0/backend", "/local/domain/0/backend/console/1/0", 0),
        ("/local/domain/0/backend/vbd/1/51712/physical-device", "8:10", 0),
        ("/local/domain/0/backend/vbd/1/51712/mode", "r", 0),
        ("/local/domain/0/backend/vif/1/0/hotplug-status", "connected", 0),
        ("/local/domain/1/device/vif/0/mac", "00:16:3e:00:00:01", 1),
        (&*format!("/vm/{uuid}/uuid"), &*uuid.to_string(), 0),
    ] {
        let (found, rights) = world.tree.nodes.get(path).unwrap_or_else(|| panic!("no {path}"));
        assert_eq!(found, value, "{path}");
        assert_eq!(rights.first().map(|first| first.domain), Some(owner), "{path}");
    }
    assert_eq!(world.bridges.0.borrow().as_slice(), [("vif1.0".to_owned(), "xenbr0".to_owned())]);
    let kept = std::fs::read_to_string(world.places.configs.join(format!("userdata-d.1.{uuid}.libxl-json"))).unwrap();
    let kept: serde_json::Value = serde_json::from_str(kept.trim_end_matches(['\n', '\0'])).unwrap();
    assert_eq!((&kept["c_info"]["name"], &kept["disks"][0]["vdev"]), (&"web".into(), &"xvda".into()));
    assert_eq!(named(&mut world.tree, "web"), Ok(Some(1)));
}

#[test]
fn nothing_is_left_whichever_call_fails() {
    let config = with_devices("web");
    let mut whole = World::new();
    whole.create(&config, false).unwrap();
    let (of_machine, of_tree) = (whole.machine.calls.made.get(), whole.tree.calls.made.get());
    assert!(of_machine > 30 && of_tree > 5, "{of_machine} {of_tree}");
    let before = World::new().left();
    let machine_fails = (0..of_machine).map(|call| (Some(call), None));
    let tree_fails = (0..of_tree).map(|call| (None, Some(call)));
    for (machine, tree) in machine_fails.chain(tree_fails) {
        let mut world = World::new();
        world.machine.calls.fails.set(machine);
        world.tree.calls.fails.set(tree);
        let error = world.create(&config, false).unwrap_err();
        assert_eq!((error.domain.as_str(), &error.left), ("web", &Vec::new()), "{machine:?} {tree:?} {error}");
        assert!(!error.cause.is_empty() && !error.remedy.is_empty());
        assert_eq!(world.left(), before, "{machine:?} {tree:?} {error}");
    }
}

#[test]
fn nothing_is_left_of_a_domain_whose_device_does_not_start() {
    let before = World::new().left();
    let mut world = World::new();
    world.tree.dead_back_ends = true;
    let error = world.create(&with_devices("web"), false).unwrap_err();
    assert_eq!((error.step, world.left()), (Step::Devices, before.clone()));
    let mut world = World::new();
    let mut without_bridge = with_devices("web");
    without_bridge.cards[0].bridge = "none".into();
    let error = world.create(&without_bridge, false).unwrap_err();
    assert_eq!((error.step, world.left()), (Step::Devices, before));
    assert_eq!(error.remedy, "see whether the bridge is there");
}

#[test]
fn a_machine_without_large_pages_gives_single_ones_and_one_without_memory_refuses() {
    let mut world = World::new();
    world.machine.large.set(5);
    world.create(&config("web"), false).unwrap();
    let domains = world.machine.domains.borrow();
    assert_eq!((domains[&1].large, domains[&1].frames.len()), (5, 33 * 256 + 9));
    drop(domains);

    let mut world = World::new();
    world.machine.free.set(33 * 256);
    let before = world.left();
    let error = world.create(&config("web"), false).unwrap_err();
    assert_eq!((error.step, error.cause.as_str()), (Step::Memory, "9 of its pages cannot be had"));
    assert_eq!(world.left(), before);
    world.machine.large.set(1 << 9);
    let large = domains::Config { memory_mib: 1 << 20, ..config("web") };
    let error = world.create(&large, false).unwrap_err();
    assert_eq!(error.cause, format!("{} of its pages cannot be had", (1 << 28) - 33 * 256 + 9));
    assert_eq!(world.left(), before);
}

#[test]
fn a_name_is_given_once() {
    let mut world = World::new();
    world.create(&config("web"), false).unwrap();
    let before = world.left();
    let error = world.create(&config("web"), false).unwrap_err();
    assert_eq!((error.step, error.cause.as_str()), (Step::Nodes, "domain 1 has that name"));
    assert_eq!(world.left(), before);
}

#[test]
fn names_that_another_toolstack_gives_changes_and_takes_away_are_known() {
    let mut world = World::new();
    world.create(&config("web"), false).unwrap();
    // Another toolstack writes a file about each domain that it changes. The time of a change may be as coarse as a tick.
    let changed = |world: &World| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(world.places.configs.join("userdata-d.9.its.libxl-json"), "").unwrap();
        std::fs::remove_file(world.places.configs.join("userdata-d.9.its.libxl-json")).unwrap();
    };
    let call = |world: &mut World, domain: u16, name: &str| {
        let path = format!("/local/domain/{domain}/name");
        world.tree.nodes.insert(format!("/local/domain/{domain}"), Default::default());
        world.tree.nodes.insert(path, (name.to_owned(), Vec::new()));
    };
    call(&mut world, 9, "theirs");
    changed(&world);
    let error = world.create(&config("theirs"), false).unwrap_err();
    assert_eq!((error.step, error.cause.as_str()), (Step::Nodes, "domain 9 has that name"));
    call(&mut world, 1, "renamed");
    changed(&world);
    assert_eq!(world.create(&config("renamed"), false).unwrap_err().cause, "domain 1 has that name");
    world.create(&config("web"), false).unwrap();
    world.tree.nodes.remove("/local/domain/9/name");
    world.create(&config("theirs"), false).unwrap();
}

#[test]
fn a_name_takes_as_many_questions_whatever_the_number_of_domains() {
    let mut world = World::new();
    let mut asked = Vec::new();
    for number in 0..20 {
        let before = world.tree.calls.made.get();
        world.create(&domains::Config { memory_mib: 17, ..config(&format!("web-{number}")) }, false).unwrap();
        asked.push(world.tree.calls.made.get() - before);
    }
    assert_eq!(asked[1..19], asked[2..20], "{asked:?}");
}

#[test]
fn what_cannot_be_is_refused_before_there_is_a_domain() {
    let refused = |change: fn(&mut domains::Config)| {
        let mut world = World::new();
        let mut config = with_devices("web");
        change(&mut config);
        let error = world.create(&config, false).unwrap_err();
        assert_eq!((world.machine.calls.made.get(), world.tree.nodes.len()), (0, 4));
        assert_eq!(error.domain, config.name);
        error.step
    };
    assert_eq!(refused(|config| config.vcpus = 0), Step::Settings);
    assert_eq!(refused(|config| config.vcpus = 129), Step::Settings);
    assert_eq!(refused(|config| config.memory_mib = 0), Step::Settings);
    assert_eq!(refused(|config| config.memory_mib = u64::MAX), Step::Settings);
    assert_eq!(refused(|config| config.command_line = "a\0b".into()), Step::Settings);
    assert_eq!(refused(|config| config.command_line = "a".repeat(5000)), Step::Settings);
    assert_eq!(refused(|config| config.name = "5".into()), Step::Settings);
    assert_eq!(refused(|config| config.name = "../x".into()), Step::Settings);
    assert_eq!(refused(|config| config.disks.push(config.disks[0].clone())), Step::Settings);
    assert_eq!(refused(|config| config.cards[0].mac = "x".into()), Step::Settings);
    assert_eq!(refused(|config| config.kernel.bytes.truncate(100)), Step::Kernel);
    assert_eq!(refused(|config| config.memory_mib = 16), Step::Load);
    assert_eq!(refused(|config| config.ramdisk.as_mut().unwrap().bytes = vec![0; 20 << 20]), Step::Load);
}

#[test]
fn a_domain_is_destroyed_with_its_devices_nodes_and_files() {
    let mut world = World::new();
    let before = world.left();
    world.create(&config("other"), false).unwrap();
    let with_other = world.left();
    world.create(&with_devices("web"), false).unwrap();
    let World { machine, tree, places, .. } = &mut world;
    domains::destroy(machine, tree, places, "web", 2).unwrap();
    assert_eq!(world.left(), with_other);
    let World { machine, tree, places, .. } = &mut world;
    for domain in [0, 2, 7] {
        let error = domains::destroy(machine, tree, places, "it", domain).unwrap_err();
        assert_eq!(error.step, Step::Find);
    }
    domains::destroy(machine, tree, places, "other", 1).unwrap();
    assert_eq!(world.left(), before);
}
