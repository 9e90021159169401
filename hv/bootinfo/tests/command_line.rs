//! The command line.

use proptest::prelude::*;
use xenolith_bootinfo::{
    ComPort, ConsoleTarget, Dom0Amount, GrantLimits, Options, RebootMethod, Thresholds, Timestamps, VcpuCount,
    parse_size,
};

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
         dom0=pvh,verbose dom0-iommu=strict dom0_max_vcpus=2 maxcpus=4 sync_console no-x2apic",
    );
    assert_eq!(options.dom0_memory.amount, Some(Dom0Amount::Of { bytes: 2 << 30, percent: 0 }));
    assert_eq!(options.dom0_memory.max, Some(Dom0Amount::Of { bytes: 4 << 30, percent: 0 }));
    assert_eq!(options.consoles.as_slice(), [ConsoleTarget::Com1]);
    assert_eq!(options.com1, ComPort { baud: Some(115_200), line_control: 3, io_base: 0x3f8 });
    assert_eq!(options.log, Thresholds { always: 4, limited: 4 });
    assert_eq!(options.guest_log, Thresholds { always: 1, limited: 4 });
    assert!(options.no_reboot && options.sync_console && options.dom0_verbose);
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
        Some(r#"parameter "maxcpus" has invalid value "many": allowed is a number"#)
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
            "com1", "console", "console_timestamps", "gnttab", "gnttab_max_frames", "mem", "iommu", "iommu_inclusive_mapping", "sched", "smap", "ucode", "loglvl", "conring_size", "conswitch", "dom0_mem", "dom0_max_vcpus", "dom0", "dom0-iommu",
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

#[test]
fn an_unknown_word_of_a_list_is_named_and_the_others_count() {
    let (options, complaints) = parse("console=com2,gopher,com1");
    assert_eq!(options.consoles.as_slice(), [ConsoleTarget::Com2, ConsoleTarget::Com1]);
    assert_eq!(
        complaints,
        [r#"parameter "console": "gopher" is passed over: allowed is a list of com1, com2, vga and none"#]
    );
    let (options, complaints) = parse("iommu=sometimes,off");
    assert!(!options.iommu && complaints.len() == 1, "{complaints:?}");
    let (options, complaints) = parse("dom0_mem=512M,max:lots,min:256M");
    assert!(complaints.len() == 1 && complaints[0].contains("max:lots"), "{complaints:?}");
    let memory = options.dom0_memory;
    assert_eq!((memory.amount.is_some(), memory.min.is_some(), memory.max), (true, true, None));
}

#[test]
fn what_xen_knows_and_this_build_has_not_is_said_to_be_so() {
    let not_built = |line: &str, names: &[&str]| {
        let (options, complaints) = parse(line);
        assert_eq!(complaints.len(), names.len(), "{line}: {complaints:?}");
        for (complaint, name) in complaints.iter().zip(names) {
            assert!(
                complaint.contains(&format!("\"{name}\"")) && complaint.contains("not in this build"),
                "{complaint}"
            );
        }
        options
    };
    assert_eq!(not_built("console=com1,dbgp", &["dbgp"]).consoles.as_slice(), [ConsoleTarget::Com1]);
    assert!(not_built("console=vga,com1H", &["com1H"]).consoles.contains(&ConsoleTarget::Vga));
    assert!(
        not_built("iommu=on,intremap,no-snoop,quarantine=scratch-page", &["intremap", "quarantine=scratch-page"]).iommu
    );
    let port = not_built("com1=115200,8n1,pci", &["pci"]).com1;
    assert_eq!(port, ComPort { baud: Some(115_200), line_control: 3, io_base: 0x3f8 });
    assert_eq!(not_built("reboot=pci,warm reboot=efi", &["warm", "efi"]).reboot, Some(RebootMethod::Pci));
    assert!(not_built("dom0=pv,verbose", &["pv"]).dom0_verbose);
    not_built(
        "ucode=scan spec-ctrl=gds-mit nmi=fatal crashkernel=256M sched=credit",
        &["ucode", "spec-ctrl", "nmi", "crashkernel", "sched"],
    );
    not_built(
        "ivrs_ioapic[4]=0:14.0 cpufreq=xen:performance vga=gfx-1024x768x32",
        &["ivrs_ioapic[4]", "cpufreq", "vga"],
    );
}

#[test]
fn what_is_so_anyway_is_taken_in_silence() {
    accepted(
        "smt=1 watchdog=0 spec-ctrl=no hap=1 no-vpmu xsm=dummy sched=credit2 cpuidle=off iommu=on,no-intremap \
         gnttab=max-ver:2,transitive dom0=pvh,no-shadow placeholder no-real-mode edd=off edid=no",
    );
}

#[test]
fn several_words_for_dom0s_memory_add_up() {
    let memory = accepted("dom0_mem=512M dom0_mem=min:256M,max:1G dom0_mem=768M").dom0_memory;
    assert_eq!(memory.amount, Some(Dom0Amount::Of { bytes: 768 << 20, percent: 0 }));
    assert_eq!(memory.min, Some(Dom0Amount::Of { bytes: 256 << 20, percent: 0 }));
    assert_eq!(memory.max, Some(Dom0Amount::Of { bytes: 1 << 30, percent: 0 }));
}

#[test]
fn dom0_gets_no_more_than_there_is() {
    const MIB: u64 = 1 << 20;
    let at_boot = |line: &str, free: u64| accepted(line).dom0_memory.at_boot(free * MIB) / MIB;
    assert_eq!(at_boot("dom0_mem=1024M", 900), 900);
    assert_eq!(at_boot("dom0_mem=4G,max:8G", 900), 900);
    assert_eq!(at_boot("dom0_mem=99999G", 900), 900);
    assert_eq!(at_boot("dom0_mem=min:4G", 900), 900);
    assert_eq!(at_boot("dom0_mem=512M", 900), 512);
    assert_eq!(at_boot("dom0_mem=512M,min:600M", 900), 600);
    // The most counts before the least.
    assert_eq!(at_boot("dom0_mem=512M,min:800M,max:700M", 900), 700);
    assert_eq!(at_boot("dom0_mem=-100M", 900), 800);
    assert_eq!(at_boot("dom0_mem=-2G", 900), 0);
    // Nothing said: a sixteenth is left, or 128 MiB.
    assert_eq!(at_boot("", 960), 900);
    assert_eq!(at_boot("", 8192), 8064);
    assert_eq!(accepted("dom0_mem=max:50%").dom0_memory.at_most(1000), Some(500));
    assert_eq!(accepted("dom0_mem=1G").dom0_memory.at_most(1000), None);
}

#[test]
fn the_machines_memory_can_be_bounded() {
    assert_eq!(accepted("mem=4G").memory_end, Some(4 << 30));
    assert_eq!(accepted("availmem=512M").memory_bytes, Some(512 << 20));
    assert_eq!(accepted("mem=0 availmem=0").memory_end, None);
}

#[test]
fn the_limits_of_grant_tables_can_be_raised() {
    let grants = accepted("gnttab_max_frames=256 gnttab_max_maptrack_frames=0x1000 gnttab=max-ver:1").grants;
    assert_eq!(grants, GrantLimits { frames: 256, maptrack_frames: 4096, version: 1 });
    assert_eq!(accepted("").grants, GrantLimits { frames: 64, maptrack_frames: 1024, version: 2 });
    assert_eq!(parse("gnttab_max_frames=0").1.len(), 1);
    assert_eq!(parse("gnttab_max_frames=0x80000000").1.len(), 1);
}

#[test]
fn lines_can_have_the_time_before_them() {
    for (line, timestamps) in [
        ("console_timestamps", Timestamps::Date),
        ("console_timestamps=1", Timestamps::Date),
        ("no-console_timestamps", Timestamps::None),
        ("console_timestamps=datems", Timestamps::DateMilliseconds),
        ("console_timestamps=boot", Timestamps::SinceBoot),
        ("console_timestamps=raw", Timestamps::Raw),
    ] {
        assert_eq!(accepted(line).timestamps, timestamps, "{line}");
    }
    assert_eq!(parse("console_timestamps=moon").1.len(), 1);
}

#[test]
fn serial_ports_take_parts_by_name() {
    let port = accepted("com1=baud=9600,parity=e,stop-bits=2,data-bits=7,io-base=0x3e8").com1;
    assert_eq!(port, ComPort { baud: Some(9600), line_control: 2 | 4 | 24, io_base: 0x3e8 });
    assert_eq!(accepted("com1=115200,8n1,0x3f8,4").com1.io_base, 0x3f8);
    let (options, complaints) = parse("com1=115200,8n1,0x3f8,4,reg-width=4,reg-shift=2");
    assert!(options.com1.baud == Some(115_200) && complaints.len() == 2, "{complaints:?}");
}

#[test]
fn smap_can_be_left_to_guests() {
    assert!(!accepted("smap=hvm").smap);
}

/// The rows of the table in `docs/options.md`: an option's name, and whether it is taken.
fn documented() -> Vec<(&'static str, bool)> {
    let rows = include_str!("../../../docs/options.md").lines().filter_map(|line| line.strip_prefix("| `"));
    rows.flat_map(|row| {
        let (names, rest) = row.split_once(" |").unwrap();
        let taken = !rest.contains("not in this build");
        names.split(", ").map(move |name| (name.trim_matches('`'), taken))
    })
    .collect()
}

#[test]
fn the_document_says_of_each_option_what_the_parser_does() {
    let rows = documented();
    assert!(rows.len() > 180, "{}", rows.len());
    for (name, taken) in rows {
        let name = name.split(['=', '<', '[']).next().unwrap();
        let name = if name.starts_with("ivrs_") { format!("{name}[0]") } else { name.to_owned() };
        // A value that asks for something of which there is nothing.
        let complaints = parse(&format!("{name}=?")).1.concat();
        assert!(!complaints.contains("unknown!"), "{complaints}");
        assert_eq!(complaints.contains("not in this build"), !taken, "{name}: {complaints}");
    }
}
