//! What is typed on the serial line.

use std::time::Duration;

use xenolith_tests::{Ending, Machine, MachineSpec, Media, Module};

use crate::image;
use crate::spinning_kernel;

/// CTRL-a, three times.
const SWITCH: &[u8] = b"\x01\x01\x01";

fn expect(machine: &mut Machine, wanted: &str, from: usize) -> usize {
    machine.expect_after(wanted, from).unwrap_or_else(|error| panic!("{error:#}")).1
}

/// Returns a machine with this dom0, which does nothing for ever.
fn spinning(name: &str) -> MachineSpec {
    let media = Media::Kernel {
        image: image::built("xenolith"),
        options: format!("{} dom0-iommu=none", image::OPTIONS),
        modules: vec![Module { file: spinning_kernel::write(name), command_line: String::new() }],
    };
    MachineSpec::new(name, media)
}

#[test]
fn three_times_ctrl_a_hands_the_serial_line_to_the_hypervisor_which_then_answers_keys() {
    let mut machine = Machine::start(&spinning("serial-switch")).unwrap();
    let before = expect(&mut machine, "*** Serial input to DOM0", 0);
    machine.send(SWITCH).unwrap();
    let switched = expect(&mut machine, "*** Serial input to Xen", before);
    machine.send(b"h").unwrap();
    expect(&mut machine, "'h' pressed -> showing installed handlers", switched);
    machine.send(SWITCH).unwrap();
    expect(&mut machine, "*** Serial input to DOM0", switched);
}

#[test]
fn a_machine_that_says_nothing_any_more_is_stopped_long_before_its_time_is_up() {
    let silence = Duration::from_secs(5);
    let spec = MachineSpec { silence: Some(silence), timeout: Duration::from_secs(300), ..spinning("serial-silence") };
    let mut machine = Machine::start(&spec).unwrap();
    assert_eq!(machine.run_until(Some("dom0 says something")), Ending::Silent(silence));
    assert!(!machine.is_overdue());
}

#[test]
fn when_the_time_of_a_machine_is_up_its_hypervisor_says_what_it_knows() {
    let spec = MachineSpec { cpus: 2, timeout: Duration::from_secs(12), ..spinning("serial-account") };
    let mut machine = Machine::start(&spec).unwrap();
    let dom0 = expect(&mut machine, "*** Serial input to DOM0", 0);
    let error = machine.expect_after("dom0 says something", dom0).unwrap_err().to_string();
    assert!(error.contains("the hypervisor's account of itself stands at the end of the log"), "{error}");
    assert!(!error.contains("pressed"), "what came before is shown: {error}");
    let text = machine.console.text();
    for wanted in [
        "'c' pressed -> show the CPUs",
        "runs d0v0",
        "    VCPU0: CPU1 [has=T] running",
        "Event channel information for domain 0",
        "IO-APIC interrupt information:",
        "*** Dumping CPU0 host state: ***",
        "*** Dumping CPU1 guest state: ***",
    ] {
        assert!(text.contains(wanted), "{wanted} is missing:\n{text}");
    }
    let (_, guest) = text.rsplit_once("CPU1 guest state: ***").unwrap();
    assert!(guest.lines().nth(1).is_some_and(|rip| rip.contains("RIP:    [<000000000010000")), "{guest}");
    assert!(!text.contains("did not answer"), "{text}");
}
