//! Debian's unmodified kernel as domain 0: brought by every boot loader, typed to, switched off, started anew, crashed.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use xenolith_tests::{Ending, Machine, MachineSpec, Media, Module, cpus_for_guests, places};

use crate::boot_disc;
use crate::image;

/// A program for Linux that needs nothing: it says `INIT REACHED`, reads a line, gives it back after `got `, and starts
/// the machine anew if the line began with `a`, or switches it off.
///
/// Assembled from: write(1, hello); read(0, stack, 64); write(1, "got "); write(1, stack, read);
/// reboot(0xfee1dead, 0x28121969, stack[0] == 'a' ? 0x01234567 : 0x4321fedc).
const PROGRAM: [u8; 150] = [
    0xb8, 0x01, 0x00, 0x00, 0x00, 0xbf, 0x01, 0x00, 0x00, 0x00, 0x48, 0x8d, 0x35, 0x74, 0x00, 0x00, 0x00, 0xba, 0x0d,
    0x00, 0x00, 0x00, 0x0f, 0x05, 0x31, 0xc0, 0x31, 0xff, 0x48, 0x8d, 0xb4, 0x24, 0x00, 0xff, 0xff, 0xff, 0xba, 0x40,
    0x00, 0x00, 0x00, 0x0f, 0x05, 0x89, 0xc3, 0xb8, 0x01, 0x00, 0x00, 0x00, 0xbf, 0x01, 0x00, 0x00, 0x00, 0x48, 0x8d,
    0x35, 0x54, 0x00, 0x00, 0x00, 0xba, 0x04, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xb8, 0x01, 0x00, 0x00, 0x00, 0xbf, 0x01,
    0x00, 0x00, 0x00, 0x48, 0x8d, 0xb4, 0x24, 0x00, 0xff, 0xff, 0xff, 0x89, 0xda, 0x0f, 0x05, 0xba, 0xdc, 0xfe, 0x21,
    0x43, 0x80, 0xbc, 0x24, 0x00, 0xff, 0xff, 0xff, 0x61, 0x75, 0x05, 0xba, 0x67, 0x45, 0x23, 0x01, 0xb8, 0xa9, 0x00,
    0x00, 0x00, 0xbf, 0xad, 0xde, 0xe1, 0xfe, 0xbe, 0x69, 0x19, 0x12, 0x28, 0x45, 0x31, 0xd2, 0x0f, 0x05, 0xeb, 0xfe,
    0x49, 0x4e, 0x49, 0x54, 0x20, 0x52, 0x45, 0x41, 0x43, 0x48, 0x45, 0x44, 0x0a, 0x67, 0x6f, 0x74, 0x20,
];

/// Where the program lies when it runs.
const PROGRAM_AT: u64 = 0x40_0000;

/// Returns the program as an ELF file: a header, one segment that is the whole file, the code.
fn program_file() -> Vec<u8> {
    const HEADERS: u64 = 64 + 56;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // An executable for x86-64, version 1.
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [PROGRAM_AT + HEADERS, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    // Flags; then the sizes and counts of headers.
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // To be loaded, readable and executable.
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    let length = HEADERS + PROGRAM.len() as u64;
    for word in [0, PROGRAM_AT, PROGRAM_AT, length, length, 0x1000] {
        file.extend(u64::to_le_bytes(word));
    }
    file.extend(PROGRAM);
    file
}

/// Returns one member of an archive in the form that Linux unpacks. **Source:** `cpio(5)`, "new ASCII format".
fn member(name: &str, mode: u32, device: (u32, u32), data: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).unwrap();
    let fields = [0, mode, 0, 0, 1, 0, length(data.len()), 0, 0, device.0, device.1, length(name.len() + 1), 0];
    let mut member = b"070701".to_vec();
    member.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
    member.extend(name.as_bytes());
    member.push(0);
    member.resize(member.len().next_multiple_of(4), 0);
    member.extend(data);
    member.resize(member.len().next_multiple_of(4), 0);
    member
}

/// Returns an initial RAM disc with the program and the console in it.
fn ramdisk(test: &str) -> PathBuf {
    let members = [
        member("dev", 0o040_755, (0, 0), &[]),
        member("dev/console", 0o020_600, (5, 1), &[]),
        member("init", 0o100_755, (0, 0), &program_file()),
        member("TRAILER!!!", 0, (0, 0), &[]),
    ];
    let file = image::scratch(test).join("ramdisk");
    fs::write(&file, members.concat()).unwrap();
    file
}

/// Returns Debian's kernel as packaged, which `cargo xtask test` has fetched.
fn kernel() -> PathBuf {
    let place = places::target().join("debian-kernel/boot");
    let entries = fs::read_dir(&place).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_kernel =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"));
    let mut kernels = entries.filter(is_kernel);
    kernels.next().unwrap_or_else(|| panic!("no kernel in {}; run: cargo xtask test", place.display()))
}

/// Runs a program on some bytes.
fn piped(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut command = Command::new(program);
    let mut child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program} failed");
        output.stdout
    })
}

/// Debian's kernel packed anew, with the window that Linux's build has since it packs by `zstd -22`: 128 MiB, whatever
/// comes out. How hard it is packed is another matter, and takes minutes at 22.
fn kernel_with_a_wide_window(test: &str) -> PathBuf {
    let packed = fs::read(kernel()).unwrap();
    let word = |at: usize| u32::from_le_bytes(packed[at..at + 4].try_into().unwrap()) as usize;
    let header = (usize::from(packed[0x1f1]) + 1) * 512;
    let payload = &packed[header + word(0x248)..][..word(0x24c)];
    let (data, length) = payload.split_at(payload.len() - 4);
    let kernel = piped("xz", &["-dc"], data);
    assert_eq!(kernel.len(), u32::from_le_bytes(length.try_into().unwrap()) as usize);
    let mut payload = piped("zstd", &["-3", "--long=27", "-c"], &kernel);
    payload.extend(length);
    let mut file = packed[..header].to_vec();
    file[0x248..0x24c].fill(0);
    file[0x24c..0x250].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
    file.extend(payload);
    let place = image::scratch(&format!("{test}-kernel")).join("vmlinuz");
    fs::write(&place, file).unwrap();
    place
}

#[test]
fn a_kernel_packed_with_a_window_of_128_mib_starts_on_a_machine_of_1_gib() {
    let test = "debian-kernel-wide-window";
    let kernel = Module { file: kernel_with_a_wide_window(test), command_line: WORDS.into() };
    let ramdisk = Module { file: ramdisk(&format!("{test}-ramdisk")), command_line: String::new() };
    let options = format!("{} dom0=pvh dom0-iommu=none dom0_mem=256M dom0_vcpus_pin", image::OPTIONS);
    let media = Media::Kernel { image: image::built("xenolith"), options, modules: vec![kernel, ramdisk] };
    let timeout = Duration::from_secs(300);
    let mut machine = Machine::start(&MachineSpec { timeout, ..MachineSpec::new(test, media) }).unwrap();
    let ending = end_by(&mut machine, "off");
    assert!(ending.is_good(), "{ending}\n{}", machine.report());
}

/// CTRL-a, three times.
const SWITCH: &[u8] = b"\x01\x01\x01";

/// What dom0's kernel is told.
const WORDS: &str = "console=hvc0 nokaslr";

/// What the hypervisor is told besides what every image is.
const OPTIONS: &str = "dom0=pvh dom0-iommu=none dom0_mem=512M";

/// Returns the kernel and the disc, brought by the emulator itself.
fn by_the_emulator(test: &str, words: &str) -> Media {
    let kernel = Module { file: kernel(), command_line: words.into() };
    let ramdisk = Module { file: ramdisk(test), command_line: String::new() };
    let options = format!("{} {OPTIONS}", image::OPTIONS);
    Media::Kernel { image: image::built("xenolith"), options, modules: vec![kernel, ramdisk] }
}

/// Returns a boot disc with the kernel and the disc, and an option that lets devices be confined.
fn boot_disc(test: &str) -> PathBuf {
    // The directory of the test is emptied when the boot disc is made.
    let ramdisk = ramdisk(&format!("{test}-ramdisk"));
    boot_disc::disc(test, "dom0=pvh dom0_mem=512M", &[(&kernel(), WORDS), (&ramdisk, "")])
}

/// Returns a machine with this many CPUs for guests.
fn start(test: &str, media: Media, cpus: u32, devices: &[&str]) -> Machine {
    let extra = devices.iter().flat_map(|device| ["-device".to_owned(), (*device).to_owned()]).collect();
    let timeout = Duration::from_secs(300);
    let cpus = cpus_for_guests(cpus);
    Machine::start(&MachineSpec { cpus, memory_mib: 1536, timeout, extra, ..MachineSpec::new(test, media) }).unwrap()
}

fn expect(machine: &mut Machine, wanted: &str, from: usize) -> usize {
    machine.expect_after(wanted, from).unwrap_or_else(|error| panic!("{error:#}")).1
}

/// Types `line` once the kernel runs its first program, which gives it back, and gives the machine's end.
fn end_by(machine: &mut Machine, line: &str) -> Ending {
    expect(machine, "INIT REACHED", 0);
    machine.send(format!("{line}\n").as_bytes()).unwrap();
    expect(machine, &format!("got {line}"), 0);
    machine.run_to_end()
}

/// Asks the hypervisor whether each CPU does what it was started for, also one that was needed before it began.
fn every_cpu_works(machine: &mut Machine, cpus: u32) {
    machine.send(&[SWITCH, b"c", SWITCH].concat()).unwrap();
    let mut from = expect(machine, "*** Serial input to Xen", 0);
    for cpu in 0..cpus {
        from = expect(machine, &format!("CPU{cpu}: APIC {cpu:#x}, online, at work"), from);
    }
    expect(machine, "*** Serial input to DOM0", from);
}

/// Boots with this many CPUs, and lets what is typed end it.
fn boot(test: &str, cpus: u32, line: &str) -> (Machine, Ending) {
    let mut machine = start(test, by_the_emulator(test, WORDS), cpus, &[]);
    expect(&mut machine, &format!("smp: Brought up 1 node, {cpus} CPU"), 0);
    expect(&mut machine, "INIT REACHED", 0);
    every_cpu_works(&mut machine, cpus_for_guests(cpus));
    let ending = end_by(&mut machine, line);
    (machine, ending)
}

fn count(machine: &Machine, words: &str) -> usize {
    machine.console.text().matches(words).count()
}

#[test]
fn debians_kernel_runs_as_domain_0_on_two_cpus_takes_what_is_typed_and_switches_the_machine_off() {
    let (machine, ending) = boot("debian-kernel-off", 2, "switch it off");
    assert_eq!(ending, Ending::Off, "{}", machine.report());
    assert!(!machine.console.text().contains("Stale IRR"), "{}", machine.report());
}

#[test]
fn debians_kernel_runs_as_domain_0_on_four_cpus() {
    let (machine, ending) = boot("debian-kernel-four", 4, "switch it off");
    assert_eq!(ending, Ending::Off, "{}", machine.report());
}

#[test]
fn debians_kernel_starts_the_machine_anew_and_that_is_said_once() {
    let (machine, ending) = boot("debian-kernel-anew", 1, "again, please");
    assert_eq!(ending, Ending::Off, "{}", machine.report());
    assert_eq!(count(&machine, "Hardware Dom0 shutdown: rebooting machine"), 1, "{}", machine.report());
}

#[test]
fn a_panic_of_debians_kernel_is_said_and_starts_the_machine_anew() {
    let media = by_the_emulator("debian-kernel-panic", "console=hvc0 rdinit=/there-is-no-such-program");
    let mut machine = start("debian-kernel-panic", media, 1, &[]);
    expect(&mut machine, "Kernel panic - not syncing", 0);
    expect(&mut machine, "Hardware Dom0 crashed: rebooting machine in 5 seconds.", 0);
    // The emulator is told to end where the machine restarts.
    assert_eq!(machine.run_to_end(), Ending::Off, "{}", machine.report());
    assert_eq!(count(&machine, "Hardware Dom0"), 1, "{}", machine.report());
}

#[test]
fn what_is_typed_goes_to_debians_kernel_again_after_the_hypervisor_had_it() {
    let mut machine = start("debian-kernel-switch", by_the_emulator("debian-kernel-switch", WORDS), 1, &[]);
    let up = expect(&mut machine, "INIT REACHED", 0);
    machine.send(SWITCH).unwrap();
    let switched = expect(&mut machine, "*** Serial input to Xen", up);
    machine.send(b"h").unwrap();
    expect(&mut machine, "'h' pressed -> showing installed handlers", switched);
    machine.send(SWITCH).unwrap();
    expect(&mut machine, "*** Serial input to DOM0", switched);
    assert_eq!(end_by(&mut machine, "off"), Ending::Off, "{}", machine.report());
}

#[test]
fn debians_kernel_that_grub_loads_under_bios_runs_as_domain_0() {
    let media = Media::BiosDisc { iso: boot_disc("debian-kernel-bios") };
    let mut machine = start("debian-kernel-bios", media, 2, &["amd-iommu"]);
    assert_eq!(end_by(&mut machine, "off"), Ending::Off, "{}", machine.report());
}

#[test]
fn debians_kernel_that_grub_loads_under_uefi_runs_as_domain_0() {
    let media = boot_disc::under_uefi(boot_disc("debian-kernel-uefi"));
    let mut machine = start("debian-kernel-uefi", media, 2, &["amd-iommu"]);
    assert_eq!(end_by(&mut machine, "off"), Ending::Off, "{}", machine.report());
}
