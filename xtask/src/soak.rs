//! `cargo xtask soak`: the same boot, or the same main job, many times over, to see whether one is lost.

use anyhow::{Result, bail};
use clap::Args;
use xenolith_tests::places;

use crate::boot::{self, BootArguments, Hypervisor};
use crate::progress::Step;
use crate::run;

/// Boots Xenolith with the test kernel, or does the main job, many times and counts the losses.
#[derive(Args, Clone, Debug)]
pub struct SoakArguments {
    /// How many boots
    #[arg(long, default_value_t = 50)]
    pub boots: u32,
    /// How many CPUs the machine has
    #[arg(long, default_value_t = 4)]
    pub cpus: u32,
    /// The machine's memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub memory: u64,
    /// Seconds that one boot may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub timeout: u64,
    /// The line that shows that a boot got through
    #[arg(long, value_name = "TEXT", default_value = "TESTS END")]
    pub until: String,
    /// Only the cases of the test kernel whose names begin with this
    #[arg(long, value_name = "PREFIX", default_value = "version")]
    pub only: String,
    /// Do the main job instead, the whole way from reset to the guest's page
    #[arg(long)]
    pub main_job: bool,
    /// How many main jobs
    #[arg(long, default_value_t = 20, requires = "main_job")]
    pub rounds: u32,
    /// How many vCPUs dom0 has in a main job, and CPUs the machine
    #[arg(long, value_name = "VCPUS", default_value_t = 2, requires = "main_job")]
    pub dom0_vcpus: u32,
}

/// Runs `cargo xtask soak`.
///
/// **Errors:** a machine could not be started, or a boot was lost; their logs are named.
pub fn command(arguments: &SoakArguments) -> Result<()> {
    if arguments.main_job {
        let SoakArguments { rounds, dom0_vcpus, .. } = arguments;
        let lost = run::main_jobs(*rounds, *dom0_vcpus)?;
        println!("soak: {rounds} main jobs at {dom0_vcpus} dom0 vCPUs, {} lost", lost.len());
        if !lost.is_empty() {
            bail!("main jobs were lost; their logs:\n{}", lost.join("\n"));
        }
        return Ok(());
    }
    boots(arguments)
}

fn boots(arguments: &SoakArguments) -> Result<()> {
    let mut lost = Vec::new();
    for number in 1..=arguments.boots {
        let step = Step::begin(format!("boot {number} of {} at {} CPUs", arguments.boots, arguments.cpus));
        let machine = BootArguments {
            dom0: Some(places::images().join("test-kernel")),
            cmdline: format!("only={}", arguments.only),
            options: "dom0=pvh dom0-iommu=none dom0_mem=256M".into(),
            until: Some(arguments.until.clone()),
            timeout: arguments.timeout,
            cpus: arguments.cpus,
            memory: arguments.memory,
            ..BootArguments::new(Hypervisor::Xenolith)
        };
        let (ending, machine) = boot::boot(&machine, &format!("soak-{number}"))?;
        if matches!(ending, xenolith_tests::Ending::Seen(_)) {
            step.end("got through");
        } else {
            step.end(&format!("LOST: {ending}"));
            lost.push(machine.log().display().to_string());
        }
    }
    println!("soak: {} boots at {} CPUs, {} lost", arguments.boots, arguments.cpus, lost.len());
    if !lost.is_empty() {
        bail!("boots were lost; their logs:\n{}", lost.join("\n"));
    }
    Ok(())
}
