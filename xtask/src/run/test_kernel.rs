//! Xenolith with the test kernel as domain 0, and what is to be seen of it.

use anyhow::{Result, bail};
use xenolith_tests::{Machine, cpus_for_guests, places};

use super::RunArguments;
use crate::boot::{BootArguments, Hypervisor};
use crate::build::{self, BuildArguments};
use crate::setup;
use crate::transcript::Transcript;

/// The machine's memory in MiB.
const MEMORY: u64 = 1024;

/// How long the test kernel may take, in seconds.
const LIMIT: u64 = 180;

/// Builds Xenolith and boots it with the test kernel.
///
/// **Errors:** it does not build, the machine could not be started, or the test kernel did not come to its end.
pub fn command(arguments: &RunArguments) -> Result<()> {
    setup::ensure(&[&setup::EMULATOR])?;
    build::command(BuildArguments::default())?;
    let boot = BootArguments {
        dom0: Some(places::images().join("test-kernel")),
        options: "dom0=pvh dom0-iommu=none dom0_max_vcpus=2 dom0_mem=256M".into(),
        cpus: cpus_for_guests(arguments.cpus),
        memory: MEMORY,
        timeout: arguments.timeout.min(LIMIT),
        until: Some("TESTS END".into()),
        quiet: false,
        ..BootArguments::new(Hypervisor::Xenolith)
    };
    eprintln!(
        "\nAn emulated machine ({} CPUs, {MEMORY} MiB) boots Xenolith, which starts a small kernel of ours as domain 0.\n\
         Lines with (XEN) are the hypervisor's. Lines with CASE are the kernel's: what it asked, and what it was told.\n\
         `cargo xtask diff` compares each of them with what real Xen says.\n",
        cpus_for_guests(arguments.cpus)
    );
    let mut machine = Machine::start(&boot.spec("run-test-kernel")?)?;
    let ending = machine.run_until(boot.until.as_deref());
    let transcript = Transcript::read(&machine.console.text());
    if !transcript.faults.is_empty() {
        bail!("{}; {ending}\n{}", transcript.faults.join("; "), machine.report());
    }
    eprintln!(
        "\nThe kernel asked {} things and came to its end. The whole log: {}",
        transcript.cases.len(),
        machine.log().display()
    );
    Ok(())
}
