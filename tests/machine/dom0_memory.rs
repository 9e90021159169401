//! How much memory domain 0 gets by `dom0_mem=`.

use xenolith_tests::{Machine, MachineSpec, Media, Module};

use crate::image;

/// Boots the test kernel, of which only the cases named so run.
fn boot(test: &str, memory: &str, cases: &str) -> Machine {
    let kernel = Module { file: image::built("test-kernel"), command_line: format!("only={cases}") };
    let options = format!("{} dom0=pvh dom0-iommu=none dom0_mem={memory}", image::OPTIONS);
    let media = Media::Kernel { image: image::built("xenolith"), options, modules: vec![kernel] };
    Machine::start(&MachineSpec::new(test, media)).unwrap()
}

fn expect(machine: &mut Machine, wanted: &str) {
    machine.expect(wanted).unwrap_or_else(|error| panic!("{error:#}"));
}

#[test]
fn domain_0_gets_the_amount_that_was_asked_for_within_its_bounds() {
    let forms = [
        ("200M", 200),
        ("204800", 200),
        ("100M,min:300M", 300),
        ("900M,max:350M", 350),
        ("min:200M,max:400M", 400),
        ("max:400M", 400),
    ];
    for (number, (form, mib)) in forms.into_iter().enumerate() {
        let mut machine = boot(&format!("dom0-memory-{number}"), form, "version");
        expect(&mut machine, &format!("Dom0 has {mib} MiB of memory"));
        expect(&mut machine, "TESTS END");
    }
}

#[test]
fn domain_0_gets_what_there_is_where_more_was_asked_for() {
    for (number, form) in ["1024M", "4G,max:8G", "99999G"].into_iter().enumerate() {
        let mut machine = boot(&format!("dom0-memory-clamped-{number}"), form, "version");
        let line = machine.expect("Dom0 has ").unwrap_or_else(|error| panic!("{error:#}"));
        let mib = line.split("Dom0 has ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
        assert!(mib.is_some_and(|mib| (850..1000).contains(&mib)), "{line}");
        expect(&mut machine, "TESTS END");
    }
}

#[test]
fn domain_0_may_grow_up_to_the_bound_and_without_one_as_far_as_there_is_memory() {
    for (test, form, unlimited) in [("bounded", "256M,max:256M", "no"), ("unbounded", "256M", "yes")] {
        let mut machine = boot(&format!("dom0-memory-{test}"), form, "memory/maximum-reservation");
        expect(&mut machine, "memory/maximum-reservation/of-self = at-least-current=yes");
        expect(&mut machine, &format!("memory/maximum-reservation/far-beyond-the-current-one = unlimited={unlimited}"));
        expect(&mut machine, "TESTS END");
    }
}
