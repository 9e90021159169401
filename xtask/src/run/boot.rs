//! `boot`: Debian's dom0 without disks and cards, from reset over its last step to power off, in QEMU or in Bochs.

use std::time::Instant;

use anyhow::{Result, bail};
use xenolith_tests::{Emulator, Machine, MachineSpec};

use super::account::{self, Said};
use super::{RunArguments, job};
use crate::setup;

/// What dom0 does: it starts the daemons for xl, and lets xl say what it knows.
const JOBS: &str = "job=daemons+info end=off";

/// The line that ends the jobs.
const END: &str = "JOBS END";

/// Boots dom0 and shows what it says.
///
/// **Errors:** something cannot be built or fetched, a step failed or none was seen, dom0 did not switch the machine off.
pub fn command(arguments: &RunArguments, emulator: Emulator) -> Result<()> {
    setup::ensure_emulator(emulator)?;
    // Neither emulator gives this machine an IOMMU.
    let options = format!("dom0-iommu=none {}", arguments.options);
    let arguments = RunArguments { options: options.trim_end().to_owned(), ..arguments.clone() };
    let arguments = match emulator {
        Emulator::Qemu => arguments,
        // Bochs interprets one CPU after the other.
        Emulator::Bochs => RunArguments { cpus: 1, ..arguments },
    };
    let debian = job::prepare(&arguments).map_err(job::spelled)?;
    let name = format!("boot-{}-{}", emulator.name(), arguments.hypervisor.name());
    let spec = MachineSpec { echo: true, ..job::spec(&name, &arguments, &debian, JOBS)?.under(emulator) };
    let began = Instant::now();
    let mut machine = Machine::start(&spec)?;
    machine.expect(END)?;
    let ending = machine.run_to_end();
    let steps = steps(&machine.console.text())?;
    if !ending.is_good() {
        bail!("dom0 did not switch the machine off: {ending}\n{}", machine.report());
    }
    println!("boot: ok, {steps} steps of dom0 in {} in {:.0} s", emulator.name(), began.elapsed().as_secs_f64());
    Ok(())
}

/// Counts the steps that came out well.
///
/// **Errors:** one failed, or there are none.
fn steps(console: &str) -> Result<usize> {
    let mut well = 0_usize;
    for line in console.lines() {
        match account::step(line) {
            Some((name, Said::Failed(why))) => bail!("dom0's step {name} failed: {why}"),
            Some((_, Said::Well)) => well += 1,
            Some((_, Said::Begun)) | None => {}
        }
    }
    if well == 0 {
        bail!("dom0 went through no step");
    }
    Ok(well)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_that_came_out_well_are_counted() {
        assert_eq!(steps("STEP modules begin\nSTEP modules ok 0.10\nnoise\nSTEP xenfs ok 0.20\n").unwrap(), 2);
    }

    #[test]
    fn a_step_that_failed_and_a_boot_without_steps_are_errors() {
        let failed = steps("STEP modules ok 0.10\nSTEP xl-info failed 1.00 code 1\n").unwrap_err().to_string();
        assert!(failed.contains("xl-info") && failed.contains("code 1"), "{failed}");
        assert!(steps("nothing").is_err());
    }
}
