//! Machines and command lines with which nothing can start: one sentence says why, and no crash report stands round it.

use std::fs;
use std::time::Duration;

use xenolith_tests::{Machine, MachineSpec, Media, Module};

use crate::image;

/// The machine with the test kernel as dom0's.
fn with_kernel(test: &str, options: &str) -> MachineSpec {
    let kernel = Module { file: image::built("test-kernel"), command_line: "only=version".into() };
    let options = format!("{} dom0=pvh {options}", image::OPTIONS);
    let media = Media::Kernel { image: image::built("xenolith"), options, modules: vec![kernel] };
    MachineSpec { timeout: Duration::from_secs(120), ..MachineSpec::new(test, media) }
}

/// Boots a machine that must refuse with this sentence and no more.
fn refuses(spec: &MachineSpec, sentence: &str) {
    let mut machine = Machine::start(spec).unwrap();
    machine.expect(&format!("Xenolith does not start: {sentence}")).unwrap_or_else(|error| panic!("{error:#}"));
    let _ = machine.run_to_end();
    let text = machine.console.text();
    for word in ["Panic", "call trace", "rax:"] {
        assert!(!text.contains(word), "{word}: {}", machine.report());
    }
}

#[test]
fn a_processor_that_cannot_run_guests_is_named_as_that() {
    for (test, cpu_model, sentence) in [
        ("refusal-no-svm", "qemu64,-svm", "this CPU has no AMD-V (SVM)"),
        ("refusal-no-npt", "qemu64,+svm,-npt", "this CPU has AMD-V without nested paging"),
    ] {
        refuses(&MachineSpec { cpu_model: cpu_model.into(), ..with_kernel(test, "") }, sentence);
    }
}

#[test]
fn a_file_that_is_no_kernel_is_named_as_that() {
    let file = image::scratch("refusal-kernel").join("text");
    fs::write(&file, "this is no kernel").unwrap();
    let mut spec = with_kernel("refusal-kernel-log", "dom0-iommu=none");
    if let Media::Kernel { modules, .. } = &mut spec.media {
        modules[0].file = file;
    }
    refuses(&spec, "could not construct domain 0: the first module is no kernel");
}

#[test]
fn too_little_memory_for_the_kernel_is_named_with_the_option_for_more() {
    refuses(
        &with_kernel("refusal-memory", "dom0-iommu=none dom0_mem=1M"),
        "could not construct domain 0: dom0's kernel and",
    );
}

#[test]
fn an_iommu_that_is_required_and_absent_is_named_as_that() {
    let sentence = "there is no IOMMU that works, and iommu=required asks for one";
    refuses(&with_kernel("refusal-iommu", "dom0-iommu=none iommu=required"), sentence);
}

/// As a guest of another hypervisor without virtualisation, where the only place for words is port 0xe9.
#[test]
fn without_a_serial_port_the_sentence_goes_to_the_debug_port() {
    let file = image::scratch("refusal-debug-port").join("words");
    let extra = vec!["-debugcon".to_owned(), format!("file:{}", file.display())];
    // The second port is not there.
    let spec = with_kernel("refusal-debug-port-log", "console=com2 noreboot debug-exit=0xf4");
    let mut machine = Machine::start(&MachineSpec { extra, cpu_model: "qemu64,-svm".into(), ..spec }).unwrap();
    let ending = machine.run_to_end();
    let words = fs::read_to_string(&file).unwrap();
    assert!(words.contains("Xenolith does not start: this CPU has no AMD-V (SVM)"), "{ending}: {words}");
}
