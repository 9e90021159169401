//! What is typed on the serial line.

use xenolith_tests::{Machine, MachineSpec, Media, Module};

use crate::image;
use crate::spinning_kernel;

/// CTRL-a, three times.
const SWITCH: &[u8] = b"\x01\x01\x01";

fn expect(machine: &mut Machine, wanted: &str, from: usize) -> usize {
    machine.expect_after(wanted, from).unwrap_or_else(|error| panic!("{error:#}")).1
}

#[test]
fn three_times_ctrl_a_hands_the_serial_line_to_the_hypervisor_which_then_answers_keys() {
    let media = Media::Kernel {
        image: image::built("xenolith"),
        options: format!("{} dom0-iommu=none", image::OPTIONS),
        modules: vec![Module { file: spinning_kernel::write("serial-switch"), command_line: String::new() }],
    };
    let mut machine = Machine::start(&MachineSpec::new("serial-switch", media)).unwrap();
    let before = expect(&mut machine, "*** Serial input to DOM0", 0);
    machine.send(SWITCH).unwrap();
    let switched = expect(&mut machine, "*** Serial input to Xen", before);
    machine.send(b"h").unwrap();
    expect(&mut machine, "'h' pressed -> showing installed handlers", switched);
    machine.send(SWITCH).unwrap();
    expect(&mut machine, "*** Serial input to DOM0", switched);
}
