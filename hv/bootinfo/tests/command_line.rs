//! The command line.

use proptest::prelude::*;
use xenolith_bootinfo::{ComPort, ConsoleTarget, Dom0Amount, Dom0Mode, Options, Thresholds, VcpuCount, parse_size};

fn parse(line: &str) -> (Options, Vec<String>) {
    let mut complaints = Vec::new();
    let options = Options::parse(line, &mut |complaint| complaints.push(complaint.to_string()));
    (options, complaints)
}

/// The options of a line that must not be complained about.
fn accepted(line: &str) -> Options {
    let (options, complaints) = parse(line);
    assert!(complaints.is_empty(), "{complaints:?}");
    options
}

#[test]
fn an_ordinary_line_is_understood_in_full() {
    let options = accepted(
        "dom0_mem=2048M,max:4G console=com1 com1=115200,8n1 loglvl=all guest_loglvl=error/all noreboot=1 \
         dom0=pvh,verbose dom0-iommu=map-reserved dom0_max_vcpus=2 maxcpus=4 sync_console no-x2apic",
    );
    assert_eq!(options.dom0_memory.amount, Some(Dom0Amount::Of { bytes: 2 << 30, percent: 0 }));
    assert_eq!(options.dom0_memory.max, Some(Dom0Amount::Of { bytes: 4 << 30, percent: 0 }));
    assert_eq!(options.consoles.as_slice(), [ConsoleTarget::Com1]);
    assert_eq!(options.com1, ComPort { baud: Some(115_200), line_control: 3, io_base: 0x3f8 });
    assert_eq!(options.log, Thresholds { always: 4, limited: 4 });
    assert_eq!(options.guest_log, Thresholds { always: 1, limited: 4 });
    assert!(options.no_reboot && options.sync_console && options.dom0_verbose);
    assert_eq!(options.dom0_mode, Dom0Mode::Pvh);
    assert_eq!(options.dom0_iommu.map_reserved, Some(true));
    assert_eq!(options.dom0_vcpus, Some(VcpuCount { min: 2, max: 2 }));
    assert_eq!(options.max_cpus, Some(4));
    assert_eq!(options.x2apic, Some(false));
}

#[test]
fn unknown_words_are_named_and_the_rest_counts() {
    let (options, complaints) = parse("frobnicate=3 noreboot no-such-thing");
    assert!(options.no_reboot);
    assert_eq!(complaints, [r#"parameter "frobnicate" unknown!"#, r#"parameter "no-such-thing" unknown!"#]);
}

#[test]
fn a_bad_value_is_named_with_what_is_allowed_and_changes_nothing() {
    let (options, complaints) = parse("maxcpus=many loglvl=loud");
    assert_eq!(options, Options::default());
    assert_eq!(
        complaints.first().map(String::as_str),
        Some(r#"parameter "maxcpus" has invalid value "many": allowed is a number from 1 on"#)
    );
    assert!(complaints[1].contains("\"loud\"") && complaints[1].contains("none, error, warning"));
}

#[test]
fn every_form_of_no_means_no() {
    for line in ["no-smep", "smep=0", "smep=off", "smep=false", "smep=no", "smep=disable"] {
        assert!(!accepted(line).smep, "{line}");
    }
    for line in ["smep", "smep=1", "smep=on", "smep=true", "smep=yes", "smep=enable"] {
        assert!(accepted(line).smep, "{line}");
    }
}

#[test]
fn what_grub_adds_for_bios_calls_is_taken_in_silence() {
    assert_eq!(accepted("no-real-mode edd=off"), Options::default());
}

#[test]
fn nothing_behind_two_dashes_is_ours() {
    let (options, complaints) = parse("noreboot -- maxcpus=1 whatever");
    assert!(options.no_reboot && complaints.is_empty());
    assert_eq!(options.max_cpus, None);
}

#[test]
fn sizes_are_in_kib_unless_they_say_otherwise() {
    assert_eq!(parse_size("512"), Some(512 << 10));
    assert_eq!(parse_size("0x10"), Some(16 << 10));
    assert_eq!(parse_size("3b"), Some(3));
    assert_eq!(parse_size("2G"), Some(2 << 30));
    assert_eq!(parse_size("1t"), Some(1 << 40));
    assert_eq!(parse_size("99999999999T"), None);
    assert_eq!(parse_size("+1G"), None);
    assert_eq!(parse_size("G"), None.or(parse_size("")));
}

#[test]
fn dom0_memory_can_be_a_share_or_all_but_some() {
    let amount = |line: &str| accepted(line).dom0_memory.amount.unwrap();
    assert_eq!(amount("dom0_mem=-512M").of(1 << 30), 512 << 20);
    assert_eq!(amount("dom0_mem=50%").of(1000 << 20), 500 << 20);
    assert_eq!(amount("dom0_mem=1G+10%").of(100 << 30), 11 << 30);
    let memory = accepted("dom0_mem=min:1G,max:3G").dom0_memory;
    assert_eq!(memory.amount, None);
    assert_eq!(memory.min.unwrap().of(0), 1 << 30);
}

#[test]
fn vcpu_counts_come_as_numbers_and_ranges() {
    assert_eq!(accepted("dom0_max_vcpus=2-4").dom0_vcpus, Some(VcpuCount { min: 2, max: 4 }));
    assert_eq!(accepted("dom0_max_vcpus=-4").dom0_vcpus, Some(VcpuCount { min: 1, max: 4 }));
    assert_eq!(accepted("dom0_max_vcpus=2-").dom0_vcpus, Some(VcpuCount { min: 2, max: u32::MAX }));
    assert_eq!(parse("dom0_max_vcpus=0").1.len(), 1);
    assert_eq!(parse("dom0_max_vcpus=4-2").1.len(), 1);
}

#[test]
fn serial_ports_take_speed_frame_and_base() {
    assert_eq!(
        accepted("com2=9600,7e2,0x3e8").com2,
        ComPort { baud: Some(9600), line_control: 2 | 4 | 24, io_base: 0x3e8 }
    );
    assert_eq!(accepted("com1=auto").com1, Options::default().com1);
    assert_eq!(parse("com1=fast").1.len(), 1);
    assert_eq!(parse("com1=115200,9n1").1.len(), 1);
}

#[test]
fn the_ring_is_a_power_of_two() {
    assert_eq!(accepted("conring_size=100k").console_ring_bytes, 64 << 10);
    assert_eq!(parse("conring_size=1k").1.len(), 1);
}

#[test]
fn the_switch_character_can_be_chosen_or_taken_away() {
    assert_eq!(accepted("conswitch=b").switch_character, 2);
    assert!(accepted("conswitch=ax").input_starts_at_hypervisor);
    assert_eq!(accepted("conswitch=-").switch_character, 0);
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(line in "\\PC{0,200}") {
        let _ = parse(&line);
    }

    #[test]
    fn no_value_makes_an_option_panic(
        name in prop::sample::select(vec![
            "com1", "console", "loglvl", "conring_size", "conswitch", "dom0_mem", "dom0_max_vcpus", "dom0", "dom0-iommu",
            "noreboot", "reboot", "maxcpus", "x2apic", "crash-test", "debug-exit", "no-x2apic", "no-loglvl",
        ]),
        value in "[-+0-9a-zA-Z%:,/=é]{0,12}",
    ) {
        let _ = parse(&format!("{name}={value}"));
        let _ = parse(name);
    }
}

#[test]
fn an_iommu_is_used_unless_it_is_switched_off() {
    let iommu = |line| Options::parse(line, &mut |_| ()).iommu;
    for line in ["", "iommu", "iommu=1", "iommu=force,verbose", "iommu=off iommu=on", "iommu=sometimes"] {
        assert!(iommu(line), "{line}");
    }
    for line in ["iommu=0", "iommu=no", "no-iommu", "iommu=verbose,off"] {
        assert!(!iommu(line), "{line}");
    }
}
