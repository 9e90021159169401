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

#[test]
fn each_word_of_a_list_counts_by_itself_and_what_is_not_there_is_named() {
    let mut machine = start("option-lists", "console=com1,dbgp ucode=scan mem=512M console_timestamps=boot");
    let text = machine.console.text();
    for line in [
        "parameter \"console\": \"dbgp\" is not in this build",
        "parameter \"ucode\" is not in this build",
        "System RAM: 511MB",
    ] {
        assert!(text.contains(line), "{line}: {}", machine.report());
    }
    let line = expect(&mut machine, "Brought up");
    let stamp = line.strip_prefix("(XEN) [").and_then(|rest| rest.split_once("] Brought up"));
    assert!(stamp.is_some_and(|(stamp, _)| stamp.trim().split('.').count() == 2), "{line}");
}
