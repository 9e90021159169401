//! The machines that are measured: what each boots, always by the clock that counts instructions.

use std::time::Duration;

use anyhow::{Result, bail};
use xenolith_tests::{Machine, MachineSpec, Media, Module, places};

use super::rows::Run;
use super::sizes;
use crate::boot::Hypervisor;
use crate::progress::Step;
use crate::setup;

/// One machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// No hypervisor: the benchmark kernel by itself.
    Bare,
    /// Xen as Debian boots it.
    Xen,
    /// Xen without the defences against speculation, which Xenolith does not have yet.
    XenPlain,
    Xenolith,
}

/// What every hypervisor is told. Domain 0 gets one vCPU and little memory; the rest is for other domains.
const OPTIONS: &str = "console=com1 com1=115200,8n1 dom0=pvh dom0-iommu=none dom0_max_vcpus=1 dom0_mem=256M";

/// The rows for which the machine has two CPUs, and how long it has for them.
const OF_TWO_CPUS: [&str; 4] = ["two-cpus/send", "two-cpus/send-to-upcall", "two-cpus/ping-pong", PER_CPU];
/// The row of which the kernel tells what a whole machine takes: it is what a second CPU makes that more.
const PER_CPU: &str = "memory/per-cpu";
const FOR_TWO_CPUS: Duration = Duration::from_secs(120);

/// The machine's memory in MiB.
const MEMORY: u64 = 2048;

/// How often real Xen may be started: the emulator loses a PVH domain 0 once in a while, by faults of its own.
const TRIES: u32 = 3;

/// What Xen says of a dead domain 0, before it counts five seconds in which nothing happens but instructions.
const CRASH: &str = "Dom0 crashed";

impl Column {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bare, Self::Xen, Self::XenPlain, Self::Xenolith];
    /// The columns that stand side by side in the table.
    pub const SHOWN: [Self; 3] = [Self::Xen, Self::XenPlain, Self::Xenolith];
    /// The columns that need nothing but what this project builds.
    pub const OWN: [Self; 2] = [Self::Bare, Self::Xenolith];

    /// Its name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Xen => "xen",
            Self::XenPlain => "xen-spec-ctrl-no",
            Self::Xenolith => "xenolith",
        }
    }

    /// Returns what stands above it in the table.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Xen => "Xen",
            Self::XenPlain => "Xen spec-ctrl=no",
            Self::Xenolith => "Xenolith",
        }
    }

    fn media(self, words: &str) -> Result<Media> {
        let kernel = places::images().join("bench-kernel");
        let (hypervisor, more) = match self {
            Self::Bare => {
                return Ok(Media::Kernel { image: kernel, options: words.to_owned(), modules: Vec::new() });
            }
            Self::Xen => (Hypervisor::Xen, ""),
            Self::XenPlain => (Hypervisor::Xen, " spec-ctrl=no"),
            // One thread emulates all CPUs, so that guests are safe on each.
            Self::Xenolith => (Hypervisor::Xenolith, " guests-on-cpu0"),
        };
        let options = format!("{OPTIONS}{more}");
        let modules = vec![Module { file: kernel, command_line: words.to_owned() }];
        Ok(Media::Kernel { image: hypervisor.image()?, options, modules })
    }

    /// Returns the machine, with these words on the benchmark kernel's command line.
    ///
    /// **Errors:** something that it boots cannot be had.
    pub fn spec(self, words: &str) -> Result<MachineSpec> {
        self.spec_with(words, 1)
    }

    fn spec_with(self, words: &str, cpus: u32) -> Result<MachineSpec> {
        let mut spec = MachineSpec::new(&format!("bench-{}", self.name()), self.media(words)?);
        spec.cpus = cpus;
        spec.memory_mib = MEMORY;
        spec.accelerator = "tcg,thread=single".into();
        spec.extra = ["-icount", "shift=0,sleep=off", "-rtc", "base=2026-01-01,clock=vm"].map(str::to_owned).into();
        spec.timeout = Duration::from_secs(1500);
        Ok(spec)
    }
}

/// Takes all rows of a machine, those whose names hold one of the texts of `filter`: with one CPU, with two, and the
/// sizes of what it boots.
///
/// **Errors:** something cannot be had, or the benchmark kernel did not come to its end.
pub fn run(column: Column, filter: Option<&str>) -> Result<Run> {
    setup::ensure(&[&setup::EMULATOR])?;
    let mut run = boot(column, filter, 1)?;
    let wanted = |name: &str| {
        filter.is_none_or(|filter| filter.split(',').any(|text| name.contains(text) || text.contains(name)))
    };
    if column != Column::Bare && OF_TWO_CPUS.iter().any(|name| wanted(name)) {
        join(&mut run, boot(column, filter, 2)?);
    }
    run.rows.extend(sizes::rows(column, wanted)?);
    Ok(run)
}

/// Adds the rows that were taken with two CPUs to those with one.
fn join(run: &mut Run, two: Run) {
    for (name, figure) in two.rows {
        match run.rows.iter_mut().find(|(other, _)| *other == name) {
            Some((_, one)) if name == PER_CPU => *one = figure.less(one),
            _ => run.rows.push((name, figure)),
        }
    }
}

fn boot(column: Column, filter: Option<&str>, cpus: u32) -> Result<Run> {
    let mut words: String = filter.map(|filter| format!("only={filter}")).unwrap_or_default();
    if cpus > 1 {
        words.push_str(&format!(" cpus={cpus}"));
    }
    let mut spec = column.spec_with(&words, cpus)?;
    if cpus > 1 {
        spec.timeout = FOR_TWO_CPUS;
    }
    let mut faults = String::new();
    for attempt in 1..=TRIES {
        let more = if cpus > 1 { ", two CPUs" } else { "" };
        let step = Step::begin(format!("measuring: {}{more}", column.title()));
        let mut machine = Machine::start(&spec)?;
        let ending = machine.run_until(Some(CRASH));
        let run = Run::read(&machine.console.text());
        step.end(&format!("{} rows", run.rows.len()));
        if run.faults.is_empty() {
            return Ok(run);
        }
        faults = format!("{}; {ending}\n{}", run.faults.join("; "), machine.report());
        eprintln!("    try {attempt} of {TRIES}: {faults}");
        if matches!(column, Column::Bare | Column::Xenolith) {
            break;
        }
    }
    bail!("the benchmark did not get through on {}: {faults}", column.title())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::rows::Figure;

    #[test]
    fn what_a_cpu_takes_is_what_the_machine_with_two_has_more() {
        let run = |figures: &[(&str, i64)]| {
            let row = |(name, count): &(&str, i64)| ((*name).to_owned(), Figure::Exact(*count));
            Run { rows: figures.iter().map(row).collect(), ..Run::default() }
        };
        let mut all = run(&[(PER_CPU, 1000), ("last", 1)]);
        join(&mut all, run(&[(PER_CPU, 1300), ("two-cpus/send", 2)]));
        assert_eq!(all, run(&[(PER_CPU, 300), ("last", 1), ("two-cpus/send", 2)]));
    }

    #[test]
    fn what_one_machine_did_not_tell_is_not_taken_off() {
        let none = Figure::None("result -38".into());
        assert_eq!(none.less(&Figure::Exact(1)), none);
        assert_eq!(Figure::Exact(3).less(&none), none);
        assert_eq!(Figure::About(3).less(&Figure::Exact(1)), Figure::About(2));
    }
}
