//! `cargo xtask run`: Debian's dom0 on Xenolith or on Xen, its `xl` makes a guest, and the guest serves a page.

mod account;
mod boot;
mod compare;
mod comparison;
mod devices;
mod dmesg;
mod exchange;
mod hvm;
mod installed;
mod job;
mod jobs;
mod libvirt;
mod migrate;
mod mode;
mod page;
mod picture;
mod rounds;
mod standstill;
#[cfg(test)]
mod step_limit;
mod steps;
mod stick;
mod stress;
mod terminal;
mod test_kernel;
mod tools;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use mode::{Mode, OldFlags};
pub use steps::{Timed, timed, timed_with_programs, timed_with_traffic, timed_with_words};

use crate::boot::Hypervisor;

/// How dom0 runs on Xen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dom0 {
    /// As a paravirtual guest: what Debian's Xen does by default. Not on Xenolith
    Pv,
    /// In a hardware container, as on Xenolith
    Pvh,
}

/// Which daemon keeps xenstore in dom0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Xenstored {
    /// That of `tools/xenstored`
    Ours,
    /// That of Debian's package xen-utils
    Debian,
}

/// Boots Xenolith with Debian's dom0; its xl makes a Debian guest, whose web server answers here.
#[derive(Args, Clone, Debug)]
#[command(subcommand_help_heading = "Modes", subcommand_value_name = "MODE")]
pub struct RunCommand {
    #[command(subcommand)]
    mode: Option<Mode>,
    /// Give no console; fetch the page, say how it went in the last line, and end by exit code. Of the modes, hvm, migrate and
    /// libvirt have it too
    #[arg(long, global = true)]
    pub check: bool,
    #[command(flatten)]
    old: OldFlags,
    #[command(flatten)]
    pub machine: RunArguments,
}

impl RunCommand {
    /// Returns the mode; nothing for the main job.
    ///
    /// **Errors:** what was said excludes each other.
    fn mode(&self) -> Result<Option<Mode>> {
        mode::chosen(self.mode.as_ref(), &self.old, self.check, self.machine.hypervisor)
    }
}

/// What is run on and how, in every mode.
#[derive(Args, Clone, Debug)]
pub struct RunArguments {
    /// The hypervisor to run it on
    #[arg(long, value_enum, default_value = "xenolith", global = true)]
    pub hypervisor: Hypervisor,
    /// How dom0 runs; on Xen the default is pv
    #[arg(long, value_enum, global = true)]
    pub dom0: Option<Dom0>,
    /// Which daemon keeps xenstore in dom0
    #[arg(long, value_enum, default_value = "debian", global = true)]
    pub xenstored: Xenstored,
    /// The port on this machine's loopback at which the guest's web server answers; else 8080, or any that is free
    #[arg(long, global = true)]
    pub port: Option<u16>,
    /// How much memory the machine has, in MiB; half of it is dom0's, at most 1024
    #[arg(long, value_name = "MIB", default_value_t = 2048, global = true)]
    pub memory: u64,
    /// How many CPUs there are for guests; where there is more than one, the machine has another that runs none
    #[arg(long, default_value_t = 2, global = true)]
    pub cpus: u32,
    /// How many vCPUs dom0 has; by default as many as the machine, and 1 with a PVH dom0 on Xen
    #[arg(long, value_name = "VCPUS", global = true)]
    pub dom0_vcpus: Option<u32>,
    /// Let the machine's time go by the instructions it executes: the job then fares the same on a busy machine, but
    /// takes longer on a quiet one
    #[arg(long, global = true)]
    pub steady: bool,
    /// Use the image as it lies in target/image/
    #[arg(long, global = true)]
    pub no_build: bool,
    /// More options for the hypervisor
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true, global = true)]
    pub options: String,
    /// Stop the machine after this many seconds; a step has limits of its own
    #[arg(long, value_name = "SECONDS", default_value_t = 1500, global = true)]
    pub timeout: u64,
}

impl RunArguments {
    /// Returns how dom0 runs, PV or PVH; where no option says so, as the hypervisor's default is.
    fn dom0(&self) -> Dom0 {
        let usual = match self.hypervisor {
            Hypervisor::Xenolith => Dom0::Pvh,
            Hypervisor::Xen => Dom0::Pv,
        };
        self.dom0.unwrap_or(usual)
    }

    /// Returns the number of dom0's vCPUs. Real Xen interrupts every other vCPU of a PVH dom0 for each page that a tool
    /// unmaps, so there one is the usual number.
    fn dom0_vcpus(&self) -> u32 {
        let crowded = self.hypervisor == Hypervisor::Xen && self.dom0() == Dom0::Pvh;
        self.dom0_vcpus.unwrap_or(if crowded { 1 } else { self.cpus })
    }
}

/// Returns the machine as it is after these words.
fn typed(words: &[&str]) -> Result<RunArguments> {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArguments,
    }
    Ok(<Line as clap::Parser>::try_parse_from(std::iter::once(&"run").chain(words))?.run)
}

/// Does what `cargo xtask run --check` does, for the tests.
///
/// **Errors:** something cannot be built or fetched, or a step failed.
pub fn check() -> Result<()> {
    if job::check(&typed(&["--no-build"])?) { Ok(()) } else { bail!("the main job failed; its last line says where") }
}

/// Does what `cargo xtask run devices` does, with little data, for the tests.
///
/// **Errors:** as [`command`].
pub fn devices_quickly() -> Result<()> {
    devices::with(&typed(&["--no-build"])?, &[], devices::QUICK)
}

/// Does the main job `count` times with this number of dom0's vCPUs, and returns the logs of the lost ones.
///
/// **Errors:** something cannot be built or fetched.
pub fn main_jobs(count: u32, dom0_vcpus: u32) -> Result<Vec<String>> {
    let vcpus = dom0_vcpus.to_string();
    rounds::lost(&typed(&["--cpus", &vcpus, "--dom0-vcpus", &vcpus])?, count)
}

/// Runs `cargo xtask run`.
///
/// **Errors:** something cannot be built or fetched, or a step failed.
pub fn command(command: &RunCommand) -> Result<()> {
    let machine = &command.machine;
    match command.mode()? {
        Some(mode) => mode.run(machine, command.check),
        None if command.check => {
            if !job::check(machine) {
                // Nothing follows the line that says so.
                std::process::exit(1);
            }
            Ok(())
        }
        None => job::with_console(machine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(words: &[&str]) -> RunArguments {
        super::typed(words).unwrap()
    }

    #[test]
    fn dom0_is_what_each_hypervisor_is_used_with_unless_it_is_said() {
        assert_eq!(typed(&[]).dom0(), Dom0::Pvh);
        assert_eq!(typed(&["--hypervisor", "xen"]).dom0(), Dom0::Pv);
        assert_eq!(typed(&["--hypervisor", "xen", "--dom0", "pvh"]).dom0(), Dom0::Pvh);
    }

    #[test]
    fn only_a_pvh_dom0_on_xen_is_kept_to_one_vcpu() {
        assert_eq!(typed(&["--cpus", "4"]).dom0_vcpus(), 4);
        assert_eq!(typed(&["--hypervisor", "xen", "--dom0", "pvh"]).dom0_vcpus(), 1);
        assert_eq!(typed(&["--hypervisor", "xen", "--dom0", "pvh", "--dom0-vcpus", "2"]).dom0_vcpus(), 2);
    }
}
