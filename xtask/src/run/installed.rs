//! `installed`: Debian on a disc, our package installed in it by apt, started by GRUB's own menu; then the package is removed,
//! and the machine starts Debian's Xen.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use xenolith_tests::{Machine, MachineSpec, Media, Module, places};

use super::RunArguments;
use crate::deb;
use crate::debian::installed;
use crate::progress::Step;
use crate::setup;

/// The most that one start may take, up to the machine's power off.
const LONGEST: Duration = Duration::from_secs(2400);

/// What a start said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// Steps that failed.
    failed: Vec<String>,
    /// Units that failed.
    units_failed: BTreeSet<String>,
    /// How many units are there.
    units: usize,
    /// It came to the end of its steps.
    ended: bool,
}

impl Said {
    /// Reads a console for the steps of `dom0/installed/steps`, the last of which is named `end`.
    fn read(console: &str, end: &str) -> Self {
        let mut said = Self::default();
        for line in console.lines() {
            let after = |mark: &str| line.split_once(mark).map(|(_, rest)| rest.trim());
            if let Some((name, code)) = after("STEP ").and_then(|step| step.split_once(" code ")) {
                if code != "0" {
                    said.failed.push(format!("{name} (code {code})"));
                }
            } else if let Some(unit) = after("| FAILED ") {
                said.units_failed.insert(unit.split_whitespace().next().unwrap_or_default().to_owned());
            } else if let Some(count) = after("| UNITS ") {
                said.units = count.parse().unwrap_or(0);
            } else if after("STEPS ").is_some_and(|last| last == format!("{end} end")) {
                said.ended = true;
            }
        }
        said
    }
}

/// Runs it.
///
/// **Errors:** something cannot be built or fetched, or a start failed; with `check` the process ends by its code.
pub fn command(arguments: &RunArguments, check: bool) -> Result<()> {
    let began = Instant::now();
    match gone_through(arguments) {
        Ok(units) => {
            let seconds = began.elapsed().as_secs_f64();
            println!("installed: ok, {units} units, started by GRUB's menu, removed and Xen again, {seconds:.0} s");
            Ok(())
        }
        Err(error) if check => {
            println!("installed: failed: {error:#}");
            std::process::exit(1);
        }
        Err(error) => Err(error),
    }
}

/// Goes through the starts, and returns how many units there are on Xenolith.
fn gone_through(arguments: &RunArguments) -> Result<usize> {
    setup::ensure(&[&setup::EMULATOR])?;
    let packages = deb::make()?;
    let debian = installed::make()?;
    let disc = places::target().join("installed/disc");
    let step = Step::begin("putting our packages on the disc");
    installed::with_packages(&debian, &disc, &packages)?;
    step.end("done");

    let modules = vec![Module { file: debian.initrd.clone(), command_line: String::new() }];
    let options = "root=/dev/sda1 console=ttyS0 quiet".to_owned();
    let by_kernel = Media::Kernel { image: debian.kernel, options, modules };
    let start = |what: &str, name: &str, media: &Media, banner: Option<&str>| -> Result<Said> {
        let step = Step::begin(what);
        let drive = format!("if=none,id=disc,format=raw,file={}", disc.display().to_string().replace(',', ",,"));
        let mut spec = MachineSpec::new(&format!("installed-{name}"), media.clone());
        spec.memory_mib = arguments.memory;
        spec.cpus = 2;
        spec.timeout = LONGEST;
        spec.extra =
            ["-drive", &drive, "-device", "ide-hd,drive=disc", "-device", "amd-iommu"].map(str::to_owned).into();
        let mut machine = Machine::start(&spec)?;
        let ending = machine.run_to_end();
        let console = machine.console.text();
        let said = Said::read(&console, name);
        let whole = || format!("the whole log: {}", machine.log().display());
        if !said.ended {
            bail!("{what}: it did not come to its end ({ending})\n{}", machine.report());
        }
        if !said.failed.is_empty() {
            bail!("{what}: steps failed: {}; {}", said.failed.join(", "), whole());
        }
        if let Some(banner) = banner.filter(|banner| !console.contains(banner)) {
            bail!("{what}: \"{banner}\" is not among what it said; {}", whole());
        }
        step.end("done");
        Ok(said)
    };
    start("apt installs our packages, update-grub makes the menu", "install", &by_kernel, None)?;
    let ours = start(
        "started by GRUB's menu on Xenolith, package removed",
        "look",
        &Media::OwnDisc,
        Some("Xenolith version"),
    )?;
    let xens =
        start("started by GRUB's menu on Debian's Xen", "look-again", &Media::OwnDisc, Some("(XEN) Xen version 4.17"))?;
    let more: Vec<&str> = ours.units_failed.difference(&xens.units_failed).map(String::as_str).collect();
    if !more.is_empty() {
        bail!("units that fail on Xenolith and not on Xen: {}", more.join(", "));
    }
    (ours.units > 0).then_some(ours.units).context("no unit was seen on Xenolith")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "[  OK  ] x\n[   12.3] steps[412]: | UNITS 61\r\n[   12.3] steps[412]: | FAILED a.service loaded failed\r\n\
                           [   12.4] steps[412]: STEP units code 0\r\nSTEP info code 1\r\n[   12.5] steps[412]: STEPS look end\r\n";

    #[test]
    fn steps_and_units_are_read_from_the_console() {
        let said = Said::read(CONSOLE, "look");
        assert_eq!(said.failed, ["info (code 1)"]);
        assert_eq!(said.units_failed, BTreeSet::from(["a.service".to_owned()]));
        assert_eq!((said.units, said.ended), (61, true));
        assert!(!Said::read(CONSOLE, "install").ended);
    }
}
