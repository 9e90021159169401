//! `jobs`: some jobs of dom0's, and what they say.

use anyhow::{Result, bail};

use super::account::{self, Said};
use super::job::{self, Run};
use super::{RunArguments, picture, standstill, stick};
use crate::debian;

/// How the names of dom0's jobs begin that want a device model, or libvirt: both are large.
const HVM_JOBS: &str = "hvm";
const LIBVIRT_JOBS: &str = "libvirt";

/// How the names of jobs begin that make domains by our own program.
const OWN_JOBS: &str = "own";

/// The one that wants Debian's installer, which is large as well.
const INSTALL_JOB: &str = "hvm-install";

/// Jobs with 32-bit kernels.
const KERNEL32_JOBS: [&str; 2] = ["hvm-kernel32", "hvm-viridian"];

/// Runs some jobs of dom0, with more words for them, and shows what they say.
///
/// **Errors:** a step failed, or the jobs did not come to their end.
pub fn command(arguments: &RunArguments, jobs: &str, words: &str) -> Result<()> {
    let mut debian = debian::kernels::with_more(&job::prepare(arguments).map_err(job::spelled)?)?;
    let named = |prefix: &str| jobs.split('+').any(|job| job.starts_with(prefix));
    if named(LIBVIRT_JOBS) {
        debian = debian::libvirt::with_libvirt(&debian)?;
    } else if named(HVM_JOBS) {
        debian = debian::device_model::with_one(&debian)?;
    }
    if named(OWN_JOBS) {
        debian = debian::programs::with_domains(&debian)?;
    }
    if jobs.split('+').any(|job| job == INSTALL_JOB) {
        debian = debian::netboot::with_installer(&debian)?;
    }
    if jobs.split('+').any(|job| KERNEL32_JOBS.contains(&job)) {
        debian = debian::kernels32::with_them(&debian)?;
    }
    let stick = jobs.split('+').any(|job| job == stick::JOB).then(stick::devices).transpose()?;
    let mut run = Run::start_with(arguments, &debian, jobs, "off", words, stick.unwrap_or_default())?;
    run.machine.console.show_from(0);
    let end = standstill::jobs_end(&mut run, arguments.hypervisor)?;
    let text = run.machine.console.text();
    let failed: Vec<&str> =
        text.lines().filter(|line| matches!(account::step(line), Some((_, Said::Failed(_))))).collect();
    if !failed.is_empty() {
        bail!("steps failed:\n{}\nthe whole log: {}", failed.join("\n"), run.machine.log().display());
    }
    eprintln!("{end}; the whole log: {}", run.machine.log().display());
    picture::keep(&text)?.iter().for_each(|file| eprintln!("a guest's screen: {}", file.display()));
    Ok(())
}
