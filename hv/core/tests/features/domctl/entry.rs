//! The way in: versions, permissions, numbers.

use super::toolstack::*;
use xen_abi::domctl::*;
use xen_abi::hypercall::DOMCTL;
use xen_abi::{DomId, Errno};
use xenolith_core::hypercalls::domctl::commands;
use xenolith_fake::FakeMachine;
use xenolith_world::World;

#[test]
fn another_version_of_the_interface_is_refused_before_all_else() {
    let world = World::new(&[1, 1]);
    let mut op = Domctl { interface_version: 0x14, ..domctl(9999, DomId(77)) };
    assert_eq!(call(&world, &mut op), Err(Errno::EACCES));
    assert_eq!(call_by(&world, 1, &mut op), Err(Errno::EACCES));
}

#[test]
fn a_structure_that_cannot_be_read_is_a_fault() {
    let world = World::new(&[1]);
    for at in [NOWHERE, u64::MAX, u64::MAX - 100] {
        assert_eq!(world.call(0, DOMCTL, [at, 0, 0, 0, 0, 0]), Err(Errno::EFAULT));
    }
}

#[test]
fn only_the_control_domain_controls() {
    let world = World::new(&[1, 1]);
    for command in commands::<FakeMachine>() {
        assert_eq!(call_by(&world, 1, &mut domctl(command.number, DomId(1))), Err(Errno::EPERM), "{}", command.name);
    }
}

#[test]
fn an_operation_on_a_domain_that_does_not_exist_finds_none() {
    let world = World::new(&[1]);
    let takes_none = [XEN_DOMCTL_CREATEDOMAIN, XEN_DOMCTL_GETDOMAININFO];
    for command in commands::<FakeMachine>().iter().filter(|command| !takes_none.contains(&command.number)) {
        for domain in [DomId(5), DomId::SELF, DomId::INVALID] {
            assert_eq!(plain(&world, command.number, domain), Err(Errno::ESRCH), "{}", command.name);
        }
    }
}

#[test]
fn an_operation_that_does_not_exist_is_not_implemented() {
    let world = World::new(&[1]);
    for number in [0, 6, 9999, u32::MAX] {
        assert_eq!(plain(&world, number, DomId(0)), Err(Errno::ENOSYS));
    }
}

#[test]
fn every_operation_has_a_number_of_its_own_in_rising_order() {
    let numbers: Vec<u32> = commands::<FakeMachine>().iter().map(|command| command.number).collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    sorted.dedup();
    assert_eq!(sorted.len(), numbers.len());
}

#[test]
fn a_call_that_comes_while_another_is_in_control_is_made_again() {
    let world = World::new(&[1]);
    let held = world.hv.domains.take_control().unwrap();
    assert!(world.hv.domains.take_control().is_none());
    drop(held);
    assert_eq!(plain(&world, XEN_DOMCTL_UNPAUSEDOMAIN, DomId(0)), Err(Errno::EINVAL));
}

#[test]
fn the_list_of_domains_ends() {
    let world = World::new(&[1]);
    let first = create(&world);
    assert_eq!(info(&world, DomId(0)).unwrap().domain, DomId(0));
    assert_eq!(info(&world, DomId(1)).unwrap().domain, first);
    let far = create_with(&world, DomId(9), options()).unwrap();
    assert_eq!(info(&world, DomId(first.0 + 1)).unwrap().domain, far);
    assert_eq!(info(&world, DomId(10)), Err(Errno::ESRCH));
    assert_eq!(info(&world, DomId::FIRST_RESERVED), Err(Errno::EINVAL));
}
