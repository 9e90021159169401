//! Every CPU that the firmware lists comes up.

use xenolith_tests::{Machine, MachineSpec};

use crate::image;

fn all_come_up(cpus: u32) {
    let name = format!("cpus-{cpus}");
    let mut machine = Machine::start(&MachineSpec { cpus, ..MachineSpec::new(&name, image::alone("")) }).unwrap();
    let line = machine.expect("Brought up").unwrap_or_else(|error| panic!("{error:#}"));
    assert!(line.contains(&format!("Brought up {cpus} CPUs")), "{line}\n{}", machine.report());
}

#[test]
fn a_single_cpu_comes_up() {
    all_come_up(1);
}

#[test]
fn two_cpus_come_up() {
    all_come_up(2);
}

#[test]
fn four_cpus_come_up() {
    all_come_up(4);
}

#[test]
fn sixteen_cpus_come_up() {
    all_come_up(16);
}

#[test]
fn no_more_cpus_come_up_than_the_options_allow() {
    let spec = MachineSpec { cpus: 4, ..MachineSpec::new("cpus-limited", image::alone("maxcpus=2")) };
    let mut machine = Machine::start(&spec).unwrap();
    let line = machine.expect("Brought up").unwrap_or_else(|error| panic!("{error:#}"));
    assert!(line.contains("Brought up 2 CPUs"), "{line}\n{}", machine.report());
}
