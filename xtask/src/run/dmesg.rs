//! `dmesg`: what dom0's kernel warns of on Xenolith that it does not warn of as a PVH dom0 on Xen.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use xenolith_tests::places;

use super::account::{self, Said};
use super::job::{self, Run};
use super::{Dom0, RunArguments, standstill};
use crate::boot::Hypervisor;
use crate::explained;

/// Returns dom0's jobs: the main job, a while in which backends give up what guests no longer use, and then the
/// kernel's log.
fn jobs() -> String {
    format!("{}+idle+warnings", job::MAIN_JOBS)
}

/// Returns the warnings that are meant, each with its reason, by a part of the line without its numbers.
///
/// **Errors:** the list cannot be read.
pub fn reasons() -> Result<BTreeMap<String, String>> {
    explained::read(&places::root().join("tests/explained-dmesg.toml"))
}

/// The emulator loses a PVH dom0 of real Xen with two vCPUs now and then, by faults of its own.
const TRIES_ON_XEN: u32 = 3;

/// The least severe level that counts: a warning.
const WARNING: u32 = 4;

/// A warning and the line it came in, as it came.
type Warnings = BTreeMap<String, String>;

/// Runs the same jobs on both and compares.
///
/// **Errors:** a run did not come to its end; the kernel warns of something on Xenolith alone that is not in
/// `tests/explained-dmesg.toml`.
pub fn command(arguments: &RunArguments) -> Result<()> {
    let reasons = reasons()?;
    // Both have as many vCPUs, or they would warn of different things.
    let vcpus = Some(arguments.dom0_vcpus.unwrap_or(arguments.cpus));
    let on = |hypervisor| RunArguments { hypervisor, dom0: Some(Dom0::Pvh), dom0_vcpus: vcpus, ..arguments.clone() };
    let ours = warnings(&on(Hypervisor::Xenolith))?;
    let xens = warnings_on_xen(&on(Hypervisor::Xen))?;
    let alone = alone(&ours, &xens, &reasons);
    for (key, reason) in reasons.iter().filter(|(key, _)| ours.keys().any(|warning| warning.contains(*key))) {
        println!("explained: {key}: {reason}");
    }
    for line in &alone {
        println!("only on Xenolith: {line}");
    }
    println!(
        "dmesg: {} warnings on Xenolith, {} on Xen, {} on Xenolith alone and not explained",
        ours.len(),
        xens.len(),
        alone.len()
    );
    if !alone.is_empty() {
        bail!("dom0's kernel warns of what it does not warn of on Xen");
    }
    Ok(())
}

fn warnings_on_xen(arguments: &RunArguments) -> Result<Warnings> {
    let mut tries = 0;
    loop {
        tries += 1;
        match warnings(arguments) {
            Err(error) if tries < TRIES_ON_XEN => eprintln!("    try {tries} of {TRIES_ON_XEN}: {error:#}"),
            other => return other,
        }
    }
}

fn warnings(arguments: &RunArguments) -> Result<Warnings> {
    let debian = job::prepare(arguments).map_err(job::spelled)?;
    let mut run = Run::start(arguments, &debian, &jobs(), "off")?;
    eprintln!("==> what dom0 says on {} (1 to 5 minutes)", arguments.hypervisor.name());
    standstill::jobs_end(&mut run, arguments.hypervisor)?;
    let text = run.machine.console.text();
    // What a guest or a tool did not get to leads to no warnings, and to no comparison.
    let failed = text.lines().find(|line| matches!(account::step(line), Some((_, Said::Failed(_)))));
    if let Some(failed) = failed {
        bail!("{failed}; the whole log: {}", run.machine.log().display());
    }
    read(&text).with_context(|| format!("the whole log: {}", run.machine.log().display()))
}

/// Reads the warnings in a console by their words without numbers.
///
/// **Errors:** the kernel's log is not on it.
fn read(console: &str) -> Result<Warnings> {
    if !console.lines().any(|line| record(line).is_some()) {
        bail!("dom0's kernel log is not on the console");
    }
    Ok(lines(console).into_iter().map(|line| (without_numbers(&line), line)).collect())
}

/// Returns the warnings in a console, and what is worse, in order.
#[must_use]
pub fn lines(console: &str) -> Vec<String> {
    let records = console.lines().filter_map(record);
    records.filter(|(level, _)| *level <= WARNING).map(|(_, words)| words.to_owned()).collect()
}

/// Returns the level and the words of a record of the kernel's log, as a step of dom0 shows it:
/// `| <4>[    1.000000] words`.
fn record(line: &str) -> Option<(u32, &str)> {
    let (level, said) = line.split_once("| <")?.1.split_once('>')?;
    let words = said.split_once("] ").map_or(said, |(_, words)| words).trim_end();
    // The lowest three bits; above them stands who said it.
    Some((level.parse::<u32>().ok()? & 7, words))
}

/// Returns the words with `#` for each number, decimal or hexadecimal after `0x`: they differ from run to run.
fn without_numbers(words: &str) -> String {
    let mut plain = String::new();
    let mut letters = words.chars().peekable();
    while let Some(letter) = letters.next() {
        if !letter.is_ascii_digit() {
            plain.push(letter);
            continue;
        }
        plain.push('#');
        let hexadecimal = letter == '0' && letters.next_if_eq(&'x').is_some();
        while letters.next_if(|next| next.is_ascii_digit() || hexadecimal && next.is_ascii_hexdigit()).is_some() {}
    }
    plain
}

/// Returns whether a reason is given for a line.
#[must_use]
pub fn is_explained(line: &str, reasons: &BTreeMap<String, String>) -> bool {
    let key = without_numbers(line);
    reasons.keys().any(|text| key.contains(text.as_str()))
}

/// Returns the lines that came on Xenolith alone, and that no explained text is in.
fn alone(ours: &Warnings, xens: &Warnings, reasons: &BTreeMap<String, String>) -> BTreeSet<String> {
    let strange = ours.iter().filter(|(key, line)| !xens.contains_key(*key) && !is_explained(line, reasons));
    strange.map(|(_, line)| line.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const XEN: &str = "STEP warnings begin\n| <6>[    0.000000] fine\n| <4>[    1.500000] slow by 17 ns at 0xfee0\n\
                       (XEN) <noise>\n| <3>[    2.000000] broken\nSTEP warnings ok 1.0\n";

    #[test]
    fn warnings_and_worse_are_read_whoever_said_them() {
        let found = read(&XEN.replace("<6>", "<12>")).unwrap();
        assert_eq!(found.values().collect::<Vec<_>>(), ["broken", "fine", "slow by 17 ns at 0xfee0"]);
        assert_eq!(read(XEN).unwrap().len(), 2);
        assert!(read("STEP warnings ok\n").is_err());
    }

    #[test]
    fn other_numbers_make_no_other_warning_and_other_words_do() {
        let (xens, none) = (read(XEN).unwrap(), BTreeMap::new());
        let other = |from, to| alone(&read(&XEN.replace(from, to)).unwrap(), &xens, &none);
        assert_eq!(other("17 ns at 0xfee0", "4 ns at 0xabc"), BTreeSet::new());
        assert_eq!(other("broken", "burnt"), BTreeSet::from(["burnt".to_owned()]));
    }

    #[test]
    fn a_warning_with_a_reason_is_passed_over() {
        let (ours, reasons) = (read(XEN).unwrap(), BTreeMap::from([("slow by # ns".into(), "it is".into())]));
        assert_eq!(alone(&ours, &Warnings::new(), &reasons), BTreeSet::from(["broken".to_owned()]));
    }
}
