//! `cargo xtask run`: builds Xenolith, boots it with the test kernel as domain 0, and says what is to be seen.

use anyhow::{Result, bail};
use clap::Args;
use xenolith_tests::{Machine, places};

use crate::boot::{BootArguments, Hypervisor};
use crate::build::{self, BuildArguments};
use crate::setup;
use crate::transcript::Transcript;

/// Builds Xenolith and boots it in an emulated machine with the test kernel as domain 0.
#[derive(Args, Clone, Debug)]
pub struct RunArguments {
    /// How many CPUs the machine has
    #[arg(long, default_value_t = 2)]
    pub cpus: u32,
    /// The machine's memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub memory: u64,
    /// Stop the machine after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub timeout: u64,
}

/// The command.
///
/// **Errors:** it does not build, the machine could not be started, or the test kernel did not come to its end.
pub fn command(arguments: &RunArguments) -> Result<()> {
    setup::ensure(&[&setup::EMULATOR])?;
    build::command(BuildArguments::default())?;
    let boot = BootArguments {
        dom0: Some(places::images().join("test-kernel")),
        options: "dom0=pvh dom0-iommu=none dom0_max_vcpus=2 dom0_mem=256M".into(),
        cpus: arguments.cpus,
        memory: arguments.memory,
        timeout: arguments.timeout,
        until: Some("TESTS END".into()),
        quiet: false,
        ..BootArguments::new(Hypervisor::Xenolith)
    };
    eprintln!(
        "\nAn emulated machine ({} CPUs, {} MiB) boots Xenolith, which starts a small kernel of ours as domain 0.\n\
         Lines with (XEN) are the hypervisor's. Lines with CASE are the kernel's: what it asked, and what it was told.\n\
         `cargo xtask diff` compares each of them with what real Xen says.\n",
        arguments.cpus, arguments.memory
    );
    let mut machine = Machine::start(&boot.spec("run")?)?;
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
