//! A kernel as domain 0, up to its end.

use xenolith_tests::{Ending, Machine, MachineSpec, Media, Module, cpus_for_guests};

use crate::boot_disc;
use crate::image;

const OPTIONS: &str = "dom0=pvh dom0-iommu=none dom0_mem=256M";

/// Lets the test kernel ask a few things and end the machine, which it does by the debug-exit port.
fn runs_to_its_end(test: &str, media: Media) {
    let mut machine =
        Machine::start(&MachineSpec { cpus: cpus_for_guests(2), ..MachineSpec::new(test, media) }).unwrap();
    machine.expect("TESTS END").unwrap_or_else(|error| panic!("{error:#}"));
    let ending = machine.run_to_end();
    assert!(matches!(ending, Ending::Off | Ending::DebugExit(_)) && ending.is_good(), "{ending}\n{}", machine.report());
}

#[test]
fn a_pvh_kernel_runs_as_domain_0_to_its_end() {
    let kernel = Module { file: image::built("test-kernel"), command_line: "only=version".into() };
    let options = format!("{} {OPTIONS}", image::OPTIONS);
    runs_to_its_end("dom0", Media::Kernel { image: image::built("xenolith"), options, modules: vec![kernel] });
}

#[test]
fn a_pvh_kernel_that_grub_loads_as_a_module_runs_as_domain_0_to_its_end() {
    let kernel = image::built("test-kernel");
    let iso = boot_disc::disc("dom0-grub", OPTIONS, &[(&kernel, "only=version")]);
    runs_to_its_end("dom0-grub", Media::BiosDisc { iso });
}
