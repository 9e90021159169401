//! `cargo xtask diff`: the test kernel as domain 0 of real Xen and of Xenolith, compared case by case.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, bail};
use clap::Args;
use xenolith_tests::{cpus_for_guests, places};

use crate::boot::{self, BootArguments, Hypervisor};
use crate::build::{self, BuildArguments};
use crate::explained;
use crate::progress::Step;
use crate::transcript::Transcript;

/// Fewer cases than this show too little.
const FEWEST_CASES: usize = 200;

/// How often real Xen may be started: the emulator loses a PVH domain 0 once in a while, by faults of its own.
const XEN_TRIES: u32 = 3;

/// What both hypervisors are told.
const OPTIONS: &str = "dom0=pvh dom0-iommu=none dom0_max_vcpus=2 dom0_mem=256M";

/// Runs the test kernel on real Xen and on Xenolith and compares each case.
#[derive(Args, Clone, Debug, Default)]
pub struct DiffArguments {
    /// Only the cases whose names begin with this; how many there are is not judged then
    #[arg(long, value_name = "PREFIX")]
    pub only: Option<String>,
    /// Take the images as they lie in target/image/
    #[arg(long)]
    pub no_build: bool,
}

/// Runs `cargo xtask diff`.
///
/// **Errors:** a difference that nothing explains, a reason for none, too few cases, a run that did not end.
pub fn command(arguments: &DiffArguments) -> Result<()> {
    if !arguments.no_build {
        build::command(BuildArguments::default())?;
    }
    let mut reasons = explained::read(&places::root().join("tests/explained.toml"))?;
    if let Some(only) = &arguments.only {
        reasons.retain(|name, _| name.starts_with(only));
    }
    let xen = on_xen(arguments)?;
    let xenolith = run(Hypervisor::Xenolith, arguments)?;
    if !xenolith.faults.is_empty() {
        bail!("on Xenolith: {}", xenolith.faults.join("; "));
    }
    let mut comparison = compare(&xen.cases, &xenolith.cases, &reasons);
    if !comparison.unexplained.is_empty() {
        // Timers that run late on a busy machine change an answer of real Xen's now and then.
        comparison.pass_over_wavering(&on_xen(arguments)?.cases);
    }
    print!("{}", comparison.shown());
    let cases = comparison.cases;
    println!("diff: {cases} cases, {} unexplained, {} explained", comparison.unexplained.len(), comparison.explained);
    if !comparison.unexplained.is_empty() || !comparison.idle_reasons.is_empty() {
        bail!("Xenolith differs from Xen, or tests/explained.toml explains what does not differ");
    }
    if arguments.only.is_none() && cases < FEWEST_CASES {
        bail!("{cases} cases are too few to show anything; there must be {FEWEST_CASES}");
    }
    Ok(())
}

fn on_xen(arguments: &DiffArguments) -> Result<Transcript> {
    let mut faults = String::new();
    for attempt in 1..=XEN_TRIES {
        let transcript = run(Hypervisor::Xen, arguments)?;
        if transcript.faults.is_empty() {
            return Ok(transcript);
        }
        faults = transcript.faults.join("; ");
        eprintln!(
            "    real Xen, try {attempt} of {XEN_TRIES}: {faults} (the emulator loses such a guest now and then)"
        );
    }
    bail!("the test kernel did not get through on real Xen in {XEN_TRIES} tries: {faults}")
}

/// Runs the test kernel once. Its transcript stays in `target/logs/` too.
fn run(hypervisor: Hypervisor, arguments: &DiffArguments) -> Result<Transcript> {
    let step = Step::begin(format!("the test kernel on {}", hypervisor.name()));
    let machine = BootArguments {
        dom0: Some(places::images().join("test-kernel")),
        cmdline: arguments.only.iter().map(|only| format!("only={only}")).collect(),
        options: OPTIONS.into(),
        until: Some("TESTS END".into()),
        timeout: 300,
        cpus: cpus_for_guests(2),
        ..BootArguments::new(hypervisor)
    };
    let (ending, machine) = boot::boot(&machine, &format!("diff-{}", hypervisor.name()))?;
    let transcript = Transcript::read(&machine.console.text());
    let cases: String = transcript.cases.iter().map(|(name, result)| format!("{name} = {result}\n")).collect();
    fs::write(machine.log().with_extension("cases"), cases).context("cannot write the transcript")?;
    step.end(&format!("{} cases", transcript.cases.len()));
    if !transcript.faults.is_empty() {
        eprintln!("{ending}\n{}", machine.report());
    }
    Ok(transcript)
}

/// How two runs compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Comparison {
    cases: usize,
    /// Each: the name, what Xen said, what Xenolith said.
    unexplained: Vec<(String, String, String)>,
    explained: usize,
    /// Cases of which real Xen said something else when it was asked again, which is what Xenolith said.
    wavering: Vec<String>,
    /// Reasons for cases that do not differ, or do not exist.
    idle_reasons: Vec<String>,
}

impl Comparison {
    /// Passes over the differences that real Xen has with itself: those where it said in another run what Xenolith
    /// said.
    fn pass_over_wavering(&mut self, again: &BTreeMap<String, String>) {
        let (wavering, left) = std::mem::take(&mut self.unexplained)
            .into_iter()
            .partition(|(name, _, xenolith)| again.get(name).is_some_and(|xen| xen == xenolith));
        self.unexplained = left;
        self.wavering.extend(Vec::into_iter(wavering).map(|(name, ..)| name));
    }

    fn shown(&self) -> String {
        let differences = self
            .unexplained
            .iter()
            .map(|(name, xen, xenolith)| format!("{name}\n    xen:      {xen}\n    xenolith: {xenolith}\n"));
        let wavering =
            self.wavering.iter().map(|name| format!("{name}\n    real Xen says now one thing, now another\n"));
        let idle = self
            .idle_reasons
            .iter()
            .map(|name| format!("{name}\n    does not differ; take it out of tests/explained.toml\n"));
        differences.chain(wavering).chain(idle).collect()
    }
}

fn compare(
    xen: &BTreeMap<String, String>,
    xenolith: &BTreeMap<String, String>,
    reasons: &BTreeMap<String, String>,
) -> Comparison {
    let names: BTreeSet<&String> = xen.keys().chain(xenolith.keys()).collect();
    let mut comparison = Comparison { cases: names.len(), ..Comparison::default() };
    let mut differing = BTreeSet::new();
    for name in names {
        let result = |run: &BTreeMap<String, String>| run.get(name).map_or("(no such case)", String::as_str).to_owned();
        let (on_xen, on_xenolith) = (result(xen), result(xenolith));
        if on_xen == on_xenolith {
            continue;
        }
        differing.insert(name);
        if reasons.contains_key(name) {
            comparison.explained += 1;
        } else {
            comparison.unexplained.push((name.clone(), on_xen, on_xenolith));
        }
    }
    comparison.idle_reasons = reasons.keys().filter(|name| !differing.contains(name)).cloned().collect();
    comparison
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|&(name, result)| (name.to_owned(), result.to_owned())).collect()
    }

    #[test]
    fn a_difference_that_nothing_explains_is_named_with_both_results() {
        let found = compare(&cases(&[("a", "0"), ("b", "1")]), &cases(&[("a", "0"), ("b", "2")]), &cases(&[]));
        assert_eq!(found.unexplained, [("b".into(), "1".into(), "2".into())]);
        assert_eq!((found.cases, found.explained), (2, 0));
    }

    #[test]
    fn an_explained_difference_is_counted_and_not_shown() {
        let found = compare(&cases(&[("a", "0")]), &cases(&[("a", "1")]), &cases(&[("a", "by design")]));
        assert_eq!((found.unexplained.len(), found.explained, found.shown().as_str()), (0, 1, ""));
    }

    #[test]
    fn a_case_that_only_one_of_them_ran_is_a_difference() {
        assert_eq!(compare(&cases(&[("a", "0")]), &cases(&[]), &cases(&[])).unexplained.len(), 1);
        assert_eq!(compare(&cases(&[]), &cases(&[("a", "0")]), &cases(&[])).unexplained.len(), 1);
    }

    #[test]
    fn a_difference_that_real_xen_has_with_itself_is_passed_over() {
        let xenolith = cases(&[("a", "1"), ("b", "1")]);
        let mut found = compare(&cases(&[("a", "0"), ("b", "0")]), &xenolith, &cases(&[]));
        found.pass_over_wavering(&cases(&[("a", "1"), ("b", "2")]));
        assert_eq!(found.unexplained, [("b".into(), "0".into(), "1".into())]);
        assert_eq!(found.wavering, ["a"]);
        assert!(found.shown().contains("a\n    real Xen says"));
    }

    #[test]
    fn a_reason_for_no_difference_is_found() {
        let found = compare(&cases(&[("a", "0")]), &cases(&[("a", "0")]), &cases(&[("a", "once"), ("gone", "once")]));
        assert_eq!(found.idle_reasons, ["a", "gone"]);
    }
}
