//! All RAM is found, above 4 GiB too, and nearly all of it is left to give out.

use xenolith_tests::{Machine, MachineSpec};

use crate::image;

/// Returns the number before `unit` on a line.
fn number_before(line: &str, unit: &str) -> u64 {
    let before = line.split(unit).next().unwrap_or_default();
    let digits: String = before.chars().rev().skip_while(|c| *c == ' ').take_while(char::is_ascii_digit).collect();
    digits.chars().rev().collect::<String>().parse().unwrap_or_else(|_| panic!("no number before {unit} in: {line}"))
}

fn all_is_found(memory_mib: u64) {
    let name = format!("memory-{memory_mib}");
    let mut machine = Machine::start(&MachineSpec { memory_mib, ..MachineSpec::new(&name, image::alone("")) }).unwrap();
    let mut ask = |wanted| machine.expect(wanted).unwrap_or_else(|error| panic!("{error:#}"));
    let found = number_before(&ask("System RAM:"), "MB");
    // The firmware keeps less than a MiB for itself.
    assert!((memory_mib - 1..=memory_mib).contains(&found), "{found} MiB of {memory_mib}");
    let free = number_before(&ask("Free RAM:"), "MiB");
    assert!(free < memory_mib && free > memory_mib - memory_mib / 10, "{free} MiB of {memory_mib} are free");
}

#[test]
fn one_gibibyte_is_found() {
    all_is_found(1024);
}

#[test]
fn four_gibibytes_are_found_around_the_hole_below_4_gib() {
    all_is_found(4096);
}

#[test]
fn twelve_gibibytes_are_found() {
    all_is_found(12288);
}
