//! What is said when the hypervisor itself crashes, and that its own memory is guarded.

use xenolith_tests::{Machine, MachineSpec};

use crate::image;

/// Provokes a crash on a machine of two CPUs and returns all that it says until it waits for a reset by hand.
fn report(kind: &str) -> String {
    let media = image::alone(&format!("crash-test={kind} noreboot"));
    let name = format!("crash-{kind}");
    let mut machine = Machine::start(&MachineSpec { cpus: 2, ..MachineSpec::new(&name, media) }).unwrap();
    machine.expect("Manual reset required").unwrap_or_else(|error| panic!("{error:#}"));
    machine.console.text()
}

fn assert_says(report: &str, wanted: &[&str]) {
    for words in wanted {
        assert!(report.contains(words), "\"{words}\" is missing in:\n{report}");
    }
}

#[test]
fn a_panic_prints_registers_a_named_call_trace_and_the_other_cpus() {
    let report = report("panic");
    assert_says(&report, &["Xen call trace:", "crash::provoke", "Panic on CPU 0:", "crash test", "rax: ", "cr3: "]);
    assert_says(&report, &["*** Dumping CPU1 host state: ***"]);
}

#[test]
fn a_panic_on_another_cpu_names_that_cpu() {
    assert_says(&report("other-cpu"), &["Panic on CPU 1:", "*** Dumping CPU0 host state: ***"]);
}

#[test]
fn an_exception_that_meets_a_guests_gs_base_is_reported_by_its_own_cpu() {
    let wanted = ["Panic on CPU 1:", "FATAL TRAP: vector = 6", "*** Dumping CPU0 host state: ***"];
    assert_says(&report("foreign-gs"), &wanted);
}

#[test]
fn a_cpu_that_is_stuck_is_found_by_the_watchdog_and_its_state_told() {
    let media = image::alone("crash-test=stuck-cpu watchdog_timeout=2 noreboot");
    let mut machine = Machine::start(&MachineSpec { cpus: 2, ..MachineSpec::new("crash-stuck-cpu", media) }).unwrap();
    machine.expect("Manual reset required").unwrap_or_else(|error| panic!("{error:#}"));
    let wanted = ["Panic on CPU 0:", "Watchdog timer detects that CPU1 is stuck!", "*** Dumping CPU1 host state: ***"];
    let report = machine.console.text();
    assert_says(&report, &wanted);
    let of_cpu_1 = report.split("*** Dumping CPU1 host state: ***").nth(1).unwrap();
    assert_says(of_cpu_1, &["get_stuck_if_asked"]);
}

#[test]
fn code_cannot_be_written() {
    assert_says(&report("write-text"), &["Panic on CPU 0:", "FATAL PAGE FAULT"]);
}

#[test]
fn data_cannot_be_run() {
    assert_says(&report("run-data"), &["Panic on CPU 0:", "FATAL PAGE FAULT"]);
}

#[test]
fn a_stack_that_overflows_hits_its_guard_page_and_is_reported_from_another_stack() {
    assert_says(&report("stack-overflow"), &["Panic on CPU 0:", "DOUBLE FAULT", "stack overflow"]);
}

#[test]
fn a_crash_restarts_the_machine_unless_it_is_told_not_to() {
    let spec = MachineSpec::new("crash-reboot", image::alone("crash-test=panic"));
    let mut machine = Machine::start(&spec).unwrap();
    let ending = machine.run_to_end();
    // The emulator is told to end where the machine restarts.
    assert_eq!(ending, xenolith_tests::Ending::Off, "{}", machine.report());
    assert_says(&machine.console.text(), &["Reboot in five seconds..."]);
}
