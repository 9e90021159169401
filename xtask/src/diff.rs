//! `cargo xtask diff`: the test kernel as domain 0 of real Xen and of Xenolith, compared case by case.

mod comparison;
mod emulators;

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use clap::Args;
use comparison::{Cases, compare};
use xenolith_tests::{Emulator, cpus_for_guests, places};

use crate::boot::{self, BootArguments, Hypervisor};
use crate::build::{self, BuildArguments};
use crate::explained;
use crate::progress::Step;
use crate::transcript::Transcript;

/// Fewer cases than this show too little.
const FEWEST_CASES: usize = 4000;

/// How often real Xen may be started: the emulator loses a PVH domain 0 once in a while, by faults of its own.
const XEN_TRIES: u32 = 3;

/// How long a run in Bochs may take, in seconds; it has a tenth of QEMU's speed.
const BOCHS_TIMEOUT: u64 = 1200;

/// The differences between the hypervisors that are meant, in `tests/`.
const EXPLAINED: &str = "explained.toml";

/// What both hypervisors are told.
const OPTIONS: &str = "dom0=pvh dom0-iommu=none dom0_max_vcpus=2 dom0_mem=256M";

/// Runs the test kernel on real Xen and on Xenolith and compares each case.
#[derive(Args, Clone, Debug, Default)]
pub struct DiffArguments {
    /// Only the cases whose names begin with one of these, parted by commas; how many there are is not judged then
    #[arg(long, value_name = "PREFIXES")]
    pub only: Option<String>,
    /// With bochs: runs it on both in Bochs too, and compares there, and each with what it said in QEMU
    #[arg(long, default_value = "qemu")]
    pub emulator: Emulator,
    /// Take the images as they lie in target/image/
    #[arg(long)]
    pub no_build: bool,
}

impl DiffArguments {
    /// Returns whether the case of this name is to be run.
    fn runs(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only.split(',').any(|prefix| name.starts_with(prefix)))
    }

    /// Reads a list of reasons in `tests/`, those of the cases that are to be run.
    fn reasons(&self, file: &str) -> Result<BTreeMap<String, String>> {
        let mut reasons = explained::read(&places::root().join("tests").join(file))?;
        reasons.retain(|name, _| self.runs(name));
        Ok(reasons)
    }
}

/// How often real Xen is asked again, all of it, where it said something else than Xenolith.
const XEN_ASKED_AGAIN: u32 = 3;

/// Runs `cargo xtask diff`.
///
/// **Errors:** a difference that nothing explains, a reason for none, too few cases, a run that did not end.
pub fn command(arguments: &DiffArguments) -> Result<()> {
    if !arguments.no_build {
        build::command(BuildArguments::default())?;
    }
    let xen = on_xen(Emulator::Qemu, arguments)?;
    let xenolith = on_xenolith(Emulator::Qemu, arguments)?;
    let mut comparison = compare([("xen", &xen), ("xenolith", &xenolith)], &arguments.reasons(EXPLAINED)?);
    // Timers that run late on a busy machine change an answer of real Xen's now and then, and its clocks of several CPUs may
    // be apart in one run after the other. Xenolith's answer stays what it is, and must be one of real Xen's.
    for _ in 0..XEN_ASKED_AGAIN {
        if comparison.unexplained.is_empty() {
            break;
        }
        comparison.pass_over_wavering(&on_xen(Emulator::Qemu, arguments)?);
    }
    let as_xen = comparison.judge("diff", EXPLAINED);
    let as_elsewhere = match arguments.emulator {
        Emulator::Qemu => true,
        Emulator::Bochs => emulators::compare_all(arguments, &xen, &xenolith)?,
    };
    if !as_xen {
        bail!("Xenolith differs from Xen, or tests/{EXPLAINED} explains what does not differ");
    }
    if !as_elsewhere {
        bail!("in Bochs something differs, or the lists of reasons in tests/ explain what does not differ");
    }
    if arguments.only.is_none() && comparison.cases < FEWEST_CASES {
        bail!("{} cases are too few to show anything; there must be {FEWEST_CASES}", comparison.cases);
    }
    Ok(())
}

/// Runs the test kernel on real Xen, more than once where the emulator loses it.
fn on_xen(emulator: Emulator, arguments: &DiffArguments) -> Result<Cases> {
    let mut faults = String::new();
    for attempt in 1..=XEN_TRIES {
        let transcript = run(Hypervisor::Xen, emulator, arguments)?;
        if transcript.faults.is_empty() {
            return Ok(transcript.cases);
        }
        faults = transcript.faults.join("; ");
        if emulator == Emulator::Bochs {
            bail!("on real Xen in Bochs, where each run is like the other: {faults}");
        }
        eprintln!(
            "    real Xen, try {attempt} of {XEN_TRIES}: {faults} (the emulator loses such a guest now and then)"
        );
    }
    bail!("the test kernel did not get through on real Xen in {XEN_TRIES} tries: {faults}")
}

/// Runs the test kernel on Xenolith, which must not lose it.
fn on_xenolith(emulator: Emulator, arguments: &DiffArguments) -> Result<Cases> {
    let transcript = run(Hypervisor::Xenolith, emulator, arguments)?;
    if !transcript.faults.is_empty() {
        bail!("on Xenolith in {}: {}", emulator.name(), transcript.faults.join("; "));
    }
    Ok(transcript.cases)
}

/// No case takes this long, in seconds, on the busiest machine: a kernel that says nothing meanwhile is lost.
const SILENCE: u64 = 180;

/// Runs the test kernel once. Its transcript stays in `target/logs/` too.
fn run(hypervisor: Hypervisor, emulator: Emulator, arguments: &DiffArguments) -> Result<Transcript> {
    let (place, cpus, timeout) = match emulator {
        Emulator::Qemu => (String::new(), cpus_for_guests(2), 900),
        // It interprets one CPU after the other.
        Emulator::Bochs => (format!("{}-", emulator.name()), 1, BOCHS_TIMEOUT),
    };
    let mut words: String = arguments.only.iter().map(|only| format!("only={only}")).collect();
    if emulator == Emulator::Bochs {
        words = format!("{words} without={}", emulators::LEFT_OUT);
    }
    let step = Step::begin(format!("the test kernel on {} in {}", hypervisor.name(), emulator.name()));
    let machine = BootArguments {
        emulator,
        dom0: Some(places::images().join("test-kernel")),
        cmdline: words.trim_start().to_owned(),
        options: format!("{OPTIONS}{}", emulators::console(hypervisor, emulator)),
        until: Some("TESTS END".into()),
        timeout,
        silence: Some(SILENCE),
        cpus,
        ..BootArguments::new(hypervisor)
    };
    let (ending, machine) = boot::boot(&machine, &format!("diff-{place}{}", hypervisor.name()))?;
    let transcript = Transcript::read(&machine.console.text());
    let cases: String = transcript.cases.iter().map(|(name, result)| format!("{name} = {result}\n")).collect();
    fs::write(machine.log().with_extension("cases"), cases).context("cannot write the transcript")?;
    step.end(&format!("{} cases", transcript.cases.len()));
    if !transcript.faults.is_empty() {
        eprintln!("{ending}\n{}", machine.report());
    }
    Ok(transcript)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cases_that_are_run_begin_with_one_of_the_prefixes() {
        let of = |only: &str| DiffArguments { only: Some(only.into()), ..DiffArguments::default() };
        assert!(of("grant,msr/").runs("msr/read/0x10") && of("grant,msr/").runs("grant-map/x"));
        assert!(!of("grant,msr/").runs("cpuid/0x0") && DiffArguments::default().runs("cpuid/0x0"));
    }
}
