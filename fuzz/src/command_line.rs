//! The hypervisor's command line: words of options, their values and their parts, in any order and damaged.

use fastrand::Rng;
use xenolith_bootinfo::{Complaint, Options};

const NAMES: &[&str] = &[
    "com1",
    "com2",
    "console",
    "loglvl",
    "guest_loglvl",
    "dom0_mem",
    "dom0_max_vcpus",
    "noreboot",
    "sync_console",
    "maxcpus",
    "no-reboot",
    "dom0",
    "dom0-iommu",
    "iommu",
    "sched",
    "placeholder",
    "x2apic",
    "conring_size",
    "console_timestamps",
    "crashtest",
    "reboot",
    "--",
    "no-",
    "=",
    "",
];
const PARTS: &[&str] = &[
    "115200",
    "8n1",
    "com1",
    "vga",
    "none",
    "all",
    "error",
    "warning",
    "info",
    "debug",
    "/",
    ",",
    ":",
    "-",
    "max:",
    "min:",
    "1G",
    "512M",
    "4096k",
    "16777216T",
    "0x",
    "0xffffffffffffffff",
    "18446744073709551616",
    "yes",
    "no",
    "pvh",
    "map-reserved",
    "strict",
    "%",
    "50%",
    "=",
    " ",
    "\t",
    "\u{fc}",
    "\u{0}",
    "no-",
];

const WHOLE: &[&str] = &[
    "com1=115200,8n1",
    "console=com1,vga",
    "loglvl=all",
    "guest_loglvl=error/info",
    "dom0_mem=512M,max:1G",
    "dom0_max_vcpus=2",
    "maxcpus=4",
    "noreboot=1",
    "no-noreboot",
    "sync_console",
    "dom0=pvh",
    "dom0-iommu=none",
];

fn pick<'a>(dice: &mut Rng, from: &[&'a str]) -> &'a str {
    from.get(dice.usize(..from.len())).copied().unwrap_or_default()
}

fn line(dice: &mut Rng) -> String {
    let mut line = String::new();
    for _ in 0..dice.u8(..12) {
        if dice.bool() {
            line.push_str(pick(dice, WHOLE));
            line.push(' ');
            continue;
        }
        line.push_str(pick(dice, NAMES));
        if dice.bool() {
            line.push('=');
        }
        for _ in 0..dice.u8(..5) {
            line.push_str(pick(dice, PARTS));
        }
        if dice.u8(..8) == 0 {
            line.push(dice.char(..));
        }
        line.push(' ');
    }
    line
}

/// Parses one line twice and writes its complaints; panics where the results differ.
pub fn run(dice: &mut Rng) {
    let line = line(dice);
    let mut complaints = 0_usize;
    let options = Options::parse(&line, &mut |complaint| {
        complaints += 1;
        let (Complaint::Unknown { name }
        | Complaint::BadValue { name, .. }
        | Complaint::BadPart { name, .. }
        | Complaint::NotBuilt { name }
        | Complaint::PartNotBuilt { name, .. }) = complaint;
        assert!(line.contains(name), "a complaint about {name:?}, which nobody wrote");
        assert!(!complaint.to_string().is_empty());
    });
    let parts = line.split(|c: char| c.is_ascii_whitespace() || c == ',').count();
    assert!(complaints <= parts, "more complaints than parts");
    let again = Options::parse(&line, &mut |_| ());
    assert_eq!(format!("{options:?}"), format!("{again:?}"), "one line, two meanings");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_hold_options_that_are_known_and_ones_that_are_not() {
        let (mut known, mut unknown) = (0, 0);
        for seed in 0..300 {
            let line = line(&mut Rng::with_seed(seed));
            let mut complaints = 0;
            let _ = Options::parse(&line, &mut |_| complaints += 1);
            let words = line.split_ascii_whitespace().take_while(|word| *word != "--").count();
            unknown += complaints;
            known += words.saturating_sub(complaints);
        }
        assert!(known > 50 && unknown > 50, "{known} known, {unknown} unknown");
    }
}
