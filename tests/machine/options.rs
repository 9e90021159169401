//! What is said of the options.

use xenolith_tests::{Machine, MachineSpec};

use crate::image;

fn start(name: &str, options: &str) -> Machine {
    let mut machine = Machine::start(&MachineSpec::new(name, image::alone(options))).unwrap();
    expect(&mut machine, "Brought up");
    machine
}

fn expect(machine: &mut Machine, wanted: &str) -> String {
    machine.expect(wanted).unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn an_unknown_option_is_warned_about_by_name_and_the_rest_still_counts() {
    let mut machine = start("option-unknown", "no_such_option=1 maxcpus=1");
    let text = machine.console.text();
    assert!(text.contains("parameter \"no_such_option\" unknown!"), "{}", machine.report());
    expect(&mut machine, "Brought up 1 CPUs");
}
