//! The emulation of instructions, beside the emulator's own execution of them. `cargo xtask fuzz emulator` does more of it.

use xenolith_tests::{Machine, MachineSpec, Media, Module};

use crate::image;

const OPTIONS: &str = "dom0=pvh dom0-iommu=none dom0_mem=256M dom0_max_vcpus=1 guest_loglvl=none";
/// The processor, with all instructions that the kernel tries.
const CPU: &str = "qemu64,+svm,+npt,+movbe,+popcnt,+abm,+bmi1";
const CASES: u32 = 10_000;

#[test]
fn instructions_do_to_a_device_what_they_do_to_memory() {
    let kernel = Module { file: image::built("dice-kernel"), command_line: format!("seed=1 cases={CASES}") };
    let options = format!("{} {OPTIONS}", image::OPTIONS);
    let media = Media::Kernel { image: image::built("xenolith"), options, modules: vec![kernel] };
    let spec = MachineSpec { cpu_model: CPU.into(), ..MachineSpec::new("instructions", media) };
    let mut machine = Machine::start(&spec).unwrap();
    let end = machine.expect("DICE END").unwrap_or_else(|error| panic!("{error:#}"));
    let said = machine.console.text();
    assert!(end.contains(&format!("DICE END {CASES} cases, 0 differ")), "{said}");
    for fault in ["STRAY", "BAD request", "PANIC"] {
        assert!(!said.contains(fault), "{said}");
    }
}
