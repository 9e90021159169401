//! The image under a second emulator: Bochs, which shares no code with QEMU, nor its faults.

use std::collections::BTreeMap;
use std::time::Duration;

use xenolith_tests::{Emulator, Machine, MachineSpec, Media, Module};

use crate::image;

const OPTIONS: &str = "dom0=pvh dom0-iommu=none dom0_max_vcpus=2 dom0_mem=256M";

/// What the test kernel asks: interrupts, hypercalls from 64-bit and 32-bit code, and further domains.
const CASES: [&str; 10] = [
    "lapic/self-ipi",
    "evtchn/",
    "grant",
    "timer/",
    "version/",
    "compatibility/version/",
    "unpaged/version/",
    "two-levels/version/",
    "domain/runs",
    "domain/flat",
];

/// Bochs interprets some ten million instructions a second where two machines share the CPUs.
const TIMEOUT: Duration = Duration::from_secs(240);

/// Runs the test kernel under `emulator`; gives its answers by the names of the cases.
fn answers(emulator: Emulator) -> BTreeMap<String, String> {
    let kernel = Module { file: image::built("test-kernel"), command_line: format!("only={}", CASES.join(",")) };
    let options = format!("{} {OPTIONS}", image::OPTIONS);
    let media = Media::Kernel { image: image::built("xenolith"), options, modules: vec![kernel] };
    let spec = MachineSpec::new(&format!("answers-{}", emulator.name()), media).under(emulator);
    let mut machine = Machine::start(&MachineSpec { timeout: TIMEOUT, ..spec }).unwrap();
    let end = machine.expect("TESTS END").unwrap_or_else(|error| panic!("{error:#}"));
    let text = machine.console.text();
    let cases = text.lines().filter_map(|line| line.split_once("CASE ")?.1.split_once(" = "));
    let cases: BTreeMap<_, _> = cases.map(|(name, said)| (name.to_owned(), said.trim_end().to_owned())).collect();
    assert_eq!(end.rsplit(' ').next(), Some(cases.len().to_string().as_str()), "{}", machine.report());
    cases
}

#[test]
fn the_test_kernel_is_answered_in_bochs_as_in_qemu() {
    let (in_qemu, in_bochs) = (answers(Emulator::Qemu), answers(Emulator::Bochs));
    let names = |answers: &BTreeMap<String, String>| answers.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&in_bochs), names(&in_qemu));
    assert!(in_bochs.len() > 100, "only {} cases ran", in_bochs.len());
    for (name, said) in &in_bochs {
        assert_eq!(Some(said), in_qemu.get(name), "{name}");
    }
}
