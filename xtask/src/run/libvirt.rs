//! `libvirt`: Debian's libvirt in dom0, and what virsh says of each of its commands on real Xen and on Xenolith.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use xenolith_tests::places;

use super::account::{self, Said};
use super::comparison::{self, Outcome};
use super::job::{self, Run, Stage, UP, stage};
use super::{Dom0, RunArguments, standstill, terminal};
use crate::boot::Hypervisor;
use crate::debian;

/// What comes before the commands: a bridge, a disk, and libvirt's daemons.
const JOBS: &str = "daemons+network+disk+libvirtd";

/// The stages of that, for the one who waits.
const DAEMONS: [Stage; 2] = [stage("bridge and disk", "disk", 3, 200), stage("libvirt's daemons", "libvirt", 5, 300)];

/// How the names of the steps begin that are compared.
const PREFIX: &str = "libvirt-";

/// Steps that differ and are meant to, each with the reason.
const EXPLAINED: &str = "tests/explained-libvirt.toml";

/// How long a machine may run, in seconds: each step has a limit of its own.
const LONGEST: u64 = 14_400;

/// A guest that libvirt makes, whose commands stand in a job of dom0's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Guest {
    Pvh,
    Hvm,
}

impl Guest {
    fn job(self) -> &'static str {
        match self {
            Self::Pvh => "libvirt",
            Self::Hvm => "libvirt-hvm",
        }
    }
}

/// What is tried.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Libvirt {
    /// With --check: compare with what was recorded on Xen the last time
    #[arg(long)]
    recorded: bool,
    /// With --check: the guests, parted by commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "pvh,hvm")]
    guests: Vec<Guest>,
}

impl Libvirt {
    /// With `check` tries the commands on both, or on Xen alone where `arguments` name it; else gives the console of a dom0
    /// in which libvirt runs.
    ///
    /// **Errors:** something cannot be built or fetched, a run did not come to its end, or something differs without a
    /// reason that is written down.
    pub fn command(&self, arguments: &RunArguments, check: bool) -> Result<()> {
        let arguments = RunArguments { timeout: arguments.timeout.max(LONGEST), ..arguments.clone() };
        if !check {
            return with_console(&arguments);
        }
        let on = |hypervisor| RunArguments {
            hypervisor,
            dom0: (hypervisor == Hypervisor::Xen).then(|| arguments.dom0.unwrap_or(Dom0::Pv)),
            ..arguments.clone()
        };
        if !self.recorded {
            self.record(&on(Hypervisor::Xen))?;
        }
        if arguments.hypervisor == Hypervisor::Xen {
            println!("libvirt: recorded on Xen, {} commands", self.recorded_on(Hypervisor::Xen)?.len());
            return Ok(());
        }
        self.record(&on(Hypervisor::Xenolith))?;
        let [xen, xenolith] = [Hypervisor::Xen, Hypervisor::Xenolith].map(|each| self.recorded_on(each));
        let outcome = comparison::judge(&xen?, &xenolith?, EXPLAINED)?;
        println!("{}", self.judged(&outcome)?);
        Ok(())
    }

    /// Returns the line that sums it up.
    ///
    /// **Errors:** something differs without a reason, or a reason is given for what does not differ.
    fn judged(&self, outcome: &Outcome) -> Result<String> {
        let Outcome { commands, faults, stale, .. } = outcome;
        if *faults > 0 {
            bail!("libvirt: failed, {commands} commands, {faults} differ without a reason");
        }
        // Of a guest that was left out nothing is known.
        if !stale.is_empty() && [Guest::Pvh, Guest::Hvm].iter().all(|guest| self.guests.contains(guest)) {
            bail!("libvirt: failed, {EXPLAINED} explains what does not differ: {}", stale.join(", "));
        }
        Ok(format!("libvirt: ok, {commands} commands, 0 differ without a reason"))
    }

    /// Runs the commands, and keeps what was said.
    fn record(&self, arguments: &RunArguments) -> Result<()> {
        let mut jobs = JOBS.to_owned();
        self.guests.iter().for_each(|guest| jobs.push_str(&format!("+{}", guest.job())));
        let mut run = start(arguments, &jobs, "off")?;
        let hypervisor = arguments.hypervisor;
        eprintln!("==> virsh's commands on {} (5 to 20 minutes); {}", hypervisor.name(), run.machine.log().display());
        let began = Instant::now();
        standstill::jobs_end(&mut run, hypervisor)?;
        let text = run.machine.console.text();
        let lost = lost(&text);
        if !lost.is_empty() {
            bail!("on {} steps failed:\n{}\n{}", hypervisor.name(), lost.join("\n"), run.machine.report());
        }
        eprintln!("    done in {:.0} s", began.elapsed().as_secs_f64());
        let place = places::target().join("libvirt");
        fs::create_dir_all(&place).context("cannot make the directory of transcripts")?;
        fs::write(place.join(hypervisor.name()), text).context("cannot keep what was said")
    }

    fn recorded_on(&self, hypervisor: Hypervisor) -> Result<comparison::Transcript> {
        let place = places::target().join("libvirt").join(hypervisor.name());
        let text =
            fs::read_to_string(&place).with_context(|| format!("nothing was recorded in {}", place.display()))?;
        Ok(comparison::read(&text, PREFIX))
    }
}

/// Returns the steps that failed and are not compared: what the commands wait for in between.
fn lost(text: &str) -> Vec<&str> {
    let is_lost =
        |line: &&str| matches!(account::step(line), Some((name, Said::Failed(_))) if !name.starts_with(PREFIX));
    text.lines().filter(is_lost).collect()
}

fn start(arguments: &RunArguments, jobs: &str, end: &str) -> Result<Run> {
    let debian = debian::libvirt::with_libvirt(&job::prepare(arguments).map_err(job::spelled)?)?;
    Run::start(arguments, &debian, jobs, end)
}

fn with_console(arguments: &RunArguments) -> Result<()> {
    let mut run = start(arguments, JOBS, "console")?;
    run.go_through(&UP).and_then(|()| run.go_through(&DAEMONS)).map_err(job::spelled)?;
    eprintln!("virsh -c xen:///system list --all; docs/libvirt.md has an example of a guest.");
    terminal::hand_over(&mut run.machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Libvirt {
        Libvirt { recorded: false, guests: vec![Guest::Pvh, Guest::Hvm] }
    }

    #[test]
    fn what_differs_without_a_reason_fails_and_so_does_a_reason_for_nothing() {
        let well = Outcome { commands: 9, meant: 2, ..Outcome::default() };
        assert_eq!(all().judged(&well).unwrap(), "libvirt: ok, 9 commands, 0 differ without a reason");
        let fault = Outcome { faults: 1, ..well.clone() };
        assert!(all().judged(&fault).unwrap_err().to_string().contains("failed, 9 commands, 1 differ"));
        let stale = Outcome { stale: vec!["libvirt-start".into()], ..well };
        assert!(all().judged(&stale).is_err());
        assert!(Libvirt { guests: vec![Guest::Hvm], ..all() }.judged(&stale).is_ok());
    }

    #[test]
    fn only_a_step_that_is_not_compared_must_come_out_well() {
        let text = "STEP libvirt-start failed 1.0 code 1\nSTEP guest-up failed 9.0 not within 9 s\nSTEP disk ok 1.0\n";
        assert_eq!(lost(text), ["STEP guest-up failed 9.0 not within 9 s"]);
    }

    #[test]
    fn every_guest_has_a_job_whose_steps_are_compared() {
        for guest in [Guest::Pvh, Guest::Hvm] {
            let job = fs::read_to_string(places::root().join("dom0/root/job").join(guest.job())).unwrap();
            assert!(job.contains("start start "), "{guest:?}");
        }
    }
}
