//! What devices reach of memory.

use xenolith_tests::{Ending, Machine, MachineSpec, Media, Module};

use crate::image;

/// Little memory, so that what the test's device cannot have is within the 28 bits of its addresses.
const OPTIONS: &str = "dom0=pvh dom0_mem=128M";

fn machine(test: &str, options: &str, devices: &[&str]) -> Machine {
    let kernel = Module { file: image::built("test-kernel"), command_line: "only=device".into() };
    let options = format!("{} {OPTIONS} {options}", image::OPTIONS);
    let media = Media::Kernel { image: image::built("xenolith"), options, modules: vec![kernel] };
    let extra = devices.iter().flat_map(|device| ["-device".to_owned(), (*device).to_owned()]).collect();
    Machine::start(&MachineSpec { extra, ..MachineSpec::new(test, media) }).unwrap()
}

fn expect(machine: &mut Machine, texts: &[&str]) {
    for text in texts {
        machine.expect(text).unwrap_or_else(|error| panic!("{error:#}"));
    }
}

#[test]
fn a_device_reaches_dom0s_memory_and_is_refused_the_rest() {
    let mut machine = machine("iommu", "", &["amd-iommu", "edu"]);
    expect(
        &mut machine,
        &[
            "devices reach dom0's memory alone",
            "device/registers = 0xedcba987 computed=yes factorial=120",
            "device/copies-the-domains-memory = read=yes written=yes same=yes",
            "device/message-interrupt = enabled=yes taken=yes 0x1 taken=yes 0x2",
            "device/reaches-what-is-not-the-domains = reached=no",
            "device/copies-on-after-that = read=yes written=yes same=yes",
            "TESTS END",
        ],
    );
    let ending = machine.run_to_end();
    assert!(matches!(ending, Ending::Off | Ending::DebugExit(_)) && ending.is_good(), "{ending}\n{}", machine.report());
}

#[test]
fn without_an_iommu_a_device_reaches_everything_and_that_is_said() {
    let mut machine = machine("iommu-none", "dom0-iommu=none", &["edu"]);
    expect(&mut machine, &["are not confined", "device/reaches-what-is-not-the-domains = reached=yes", "TESTS END"]);
}

#[test]
fn dom0_does_not_start_without_an_iommu_unless_told_to() {
    for (test, options, devices) in [("iommu-absent", "", &[][..]), ("iommu-off", "iommu=off", &["amd-iommu"][..])] {
        expect(&mut machine(test, options, devices), &["dom0-iommu=none starts dom0 without"]);
    }
}
