//! `tools`: what `xl` says of each of its commands, on real Xen and on Xenolith, compared line by line.

use anyhow::{Result, bail};

use super::comparison::{self, Outcome, Transcript};
use super::job::{self, Run};
use super::{Dom0, RunArguments, standstill};
use crate::boot::Hypervisor;

/// The commands stand in `dom0/root/job/tools`, `others` and `maxmem`.
const JOBS: &str = "daemons+network+disk+tools+others+maxmem";

/// How the names of their steps begin.
const PREFIX: &str = "tools-";

/// Steps that differ and are meant to, each with the reason.
const EXPLAINED: &str = "tests/explained-xl.toml";

/// Runs the commands on both and prints what differs.
///
/// **Errors:** a run did not come to its end, or something differs without a reason that is written down.
pub fn command(arguments: &RunArguments) -> Result<()> {
    let dom0 = arguments.dom0.unwrap_or(Dom0::Pv);
    let xen = transcript(&RunArguments { hypervisor: Hypervisor::Xen, dom0: Some(dom0), ..arguments.clone() })?;
    let xenolith = transcript(&RunArguments { hypervisor: Hypervisor::Xenolith, dom0: None, ..arguments.clone() })?;
    let Outcome { commands, meant, faults, stale } = comparison::judge(&xen, &xenolith, EXPLAINED)?;
    println!("tools: {commands} commands, {meant} differ for a reason, {faults} without one");
    if faults > 0 {
        bail!("xl says something else on Xenolith than on Xen");
    }
    if !stale.is_empty() {
        bail!("{EXPLAINED} explains what does not differ: {}", stale.join(", "));
    }
    Ok(())
}

fn transcript(arguments: &RunArguments) -> Result<Transcript> {
    let debian = job::prepare(arguments).map_err(job::spelled)?;
    let mut run = Run::start(arguments, &debian, JOBS, "off")?;
    eprintln!("==> xl's commands on {} (3 to 10 minutes)", arguments.hypervisor.name());
    standstill::jobs_end(&mut run, arguments.hypervisor)?;
    Ok(comparison::read(&run.machine.console.text(), PREFIX))
}
