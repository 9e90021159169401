//! Guests of many kinds that Debian's own xl makes in Debian's dom0.
//!
//! Dom0 goes through jobs of `dom0/root/job/`; each of their steps must come out well.

use std::time::Duration;

use xenolith_tests::{Machine, MachineSpec, Media, Module, cpus_for_guests, places};

use crate::image;

/// Boots Debian's dom0 with more kernels for guests, which does `jobs` and then gives a console.
fn start(test: &str, jobs: &str, words: &str) -> Machine {
    start_system("dom0-kernels", test, jobs, words)
}

/// Boots Debian's dom0 as it lies in `target/debian/SYSTEM/`, which does `jobs` and then gives a console.
fn start_system(system: &str, test: &str, jobs: &str, words: &str) -> Machine {
    let place = places::target().join("debian").join(system);
    assert!(place.is_dir(), "there is no {}; run: cargo xtask test", place.display());
    let line = format!("console=hvc0 rdinit=/init panic=5 job={jobs} end=console {words}");
    let modules = [("vmlinuz", line), ("initrd.lz4", String::new())]
        .map(|(name, command_line)| Module { file: place.join(name), command_line });
    let options = format!("{} dom0=pvh dom0_mem=1024M dom0_max_vcpus=2", image::OPTIONS);
    let media = Media::Kernel { image: image::built("xenolith"), options, modules: modules.into() };
    let spec = MachineSpec {
        cpus: cpus_for_guests(2),
        memory_mib: 2048,
        timeout: Duration::from_secs(580),
        extra: ["-device", "amd-iommu"].map(str::to_owned).into(),
        ..MachineSpec::new(test, media)
    };
    Machine::start(&spec).unwrap()
}

/// The steps that failed, each after what it printed: the log itself is often gone when somebody asks.
fn failures(text: &str) -> Vec<&str> {
    let is_output = |line: &&str| line.trim_start().starts_with("| ");
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if line.contains("STEP ") && line.contains(" failed ") {
            let printed = lines[..at].iter().rev().take_while(|line| is_output(line)).count();
            found.extend_from_slice(&lines[at - printed.min(40)..=at]);
        }
    }
    found
}

/// Waits for the end of the jobs; none of their steps may have failed.
fn expect_jobs_done(machine: &mut Machine) {
    machine.expect("JOBS END").unwrap_or_else(|error| panic!("{error:#}"));
    let text = machine.console.text();
    let failed = failures(&text);
    assert!(failed.is_empty(), "steps failed:\n{}\nthe whole log: {}", failed.join("\n"), machine.log().display());
}

/// Types at dom0's console and waits for a line that is just `wanted`.
fn type_and_expect(machine: &mut Machine, keys: &str, wanted: &str) {
    let mut from = machine.console.position();
    machine.send(keys.as_bytes()).unwrap();
    loop {
        let (line, after) = machine.expect_after(wanted, from).unwrap_or_else(|error| panic!("{error:#}"));
        // The guest's log is shown as well, with a mark.
        if line.trim() == wanted {
            return;
        }
        from = after;
    }
}

/// Lets a program take the console or leave it: what is typed too early it may throw away.
fn let_the_console_change_hands() {
    std::thread::sleep(Duration::from_secs(3));
}

#[test]
fn guests_that_misbehave_end_as_they_were_told_to_and_nobody_else_notices() {
    let mut machine = start("debian-misfits", "daemons+misfits", "");
    expect_jobs_done(&mut machine);
}

#[test]
fn guests_of_our_own_program_are_like_xls_and_nothing_is_left_of_one_whose_making_is_killed() {
    let mut machine = start_system("dom0-own", "debian-own", "daemons+own-create+own-linux", "");
    expect_jobs_done(&mut machine);
}

#[test]
fn grubs_image_of_32_bit_code_shows_its_menu_and_boots_debian_from_its_own_disc() {
    let mut machine = start("debian-grub", "daemons+grub", "");
    expect_jobs_done(&mut machine);
}

#[test]
fn an_hvm_guest_boots_behind_debians_device_model_and_one_whose_model_dies_can_be_destroyed() {
    let mut machine = start_system("dom0-hvm", "debian-hvm", "daemons+hvm+hvm-restricted", "");
    expect_jobs_done(&mut machine);
}

#[test]
fn memtest_and_ipxe_of_their_packages_boot_from_a_cd_and_show_what_they_find() {
    let mut machine = start_system("dom0-hvm", "debian-hvm-screens", "daemons+hvm-memtest+hvm-ipxe", "");
    expect_jobs_done(&mut machine);
}

#[test]
fn libvirt_starts_saves_restores_and_ends_a_guest_whose_console_answers() {
    let mut machine = start_system("dom0-libvirt", "debian-libvirt", "daemons+libvirtd+libvirt-short", "");
    expect_jobs_done(&mut machine);
}

#[test]
fn early_words_are_in_the_log_128_vcpus_start_and_4_mib_are_refused() {
    let mut machine = start("debian-early", "daemons+early+tiny", "");
    expect_jobs_done(&mut machine);
}

#[test]
fn memory_comes_back_from_guests_and_from_dom0_whose_user_reaches_a_guests_shell() {
    let mut machine = start("debian-memory", "daemons+rounds+balloon+ram", "rounds=5");
    expect_jobs_done(&mut machine);
    let_the_console_change_hands();
    type_and_expect(&mut machine, "echo $(uname -n) is-$((1 + 1))\r", "dom0 is-2");
    machine.send(b"xl console ram\r").unwrap();
    let_the_console_change_hands();
    type_and_expect(&mut machine, "echo $(uname -n) is-$((40 + 2))\r", "guest is-42");
    // Ctrl-] leaves the guest's console.
    machine.send(b"\x1d").unwrap();
    let_the_console_change_hands();
    type_and_expect(&mut machine, "echo $(uname -n) is-$((1 + 2))\r", "dom0 is-3");
}
