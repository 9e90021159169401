//! Domains beside domain 0, made by a kernel that does what a toolstack does.

use xenolith_tests::{Machine, MachineSpec, Media, Module, cpus_for_guests};

use crate::image;

const OPTIONS: &str = "dom0=pvh dom0-iommu=none dom0_mem=256M dom0_max_vcpus=1";

/// What each case is to say, in the order in which they run.
const CASES: &[&str] = &[
    "domain/list-of-domains = 0 own=yes -ESRCH -EINVAL",
    "domain/create-refused = -EINVAL -EINVAL -EINVAL -ESRCH -ENOSYS",
    "domain/runs-sends-and-powers-off = 0 0 0 0 event=yes told-of-shutdown=yes reason=0 0x600d sent=0 0 dead=yes 0 \
     gone=yes told-of-death=yes 0",
    "domain/flat-mode-powers-off = reason=0 0x32 0 gone=yes",
    "domain/triple-fault-is-a-reboot = reason=1 0 gone=yes",
    "domain/paused-does-not-run = before=no runs=yes 0 still=yes goes-on=yes 0 gone=yes",
    "domain/two-run-beside-this-one = first=yes second=yes 0 gone=yes 0 gone=yes",
    "domain/ended-while-it-runs = 0 gone=yes",
    "domain/its-pages-come-back = made=50",
];

/// Runs the cases on a machine of this many CPUs.
fn live_and_end(test: &str, cpus: u32) {
    let kernel = Module { file: image::built("test-kernel"), command_line: "only=domain/".into() };
    let options = format!("{} {OPTIONS}", image::OPTIONS);
    let media = Media::Kernel { image: image::built("xenolith"), options, modules: vec![kernel] };
    let mut machine =
        Machine::start(&MachineSpec { cpus: cpus_for_guests(cpus), ..MachineSpec::new(test, media) }).unwrap();
    for case in CASES {
        machine.expect(&format!("CASE {case}")).unwrap_or_else(|error| panic!("{error:#}"));
    }
    machine.expect("TESTS END").unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn domains_live_beside_domain_0_and_leave_nothing_behind() {
    live_and_end("domains", 2);
}

#[test]
fn domains_share_one_cpu_with_domain_0() {
    live_and_end("domains-one-cpu", 1);
}
