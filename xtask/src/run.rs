//! `cargo xtask run`: Debian's dom0 on Xenolith or on Xen, its `xl` makes a guest, and the guest serves a page.

mod account;
mod compare;
mod devices;
mod dmesg;
mod exchange;
mod job;
mod page;
mod rounds;
mod standstill;
#[cfg(test)]
mod step_limit;
mod steps;
mod stress;
mod terminal;
mod test_kernel;
mod tools;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
pub use steps::{Timed, timed, timed_with_traffic};

use crate::boot::Hypervisor;

/// How dom0 runs on Xen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Dom0 {
    /// As a paravirtual guest: what Debian's Xen does by default. Not on Xenolith
    Pv,
    /// In a hardware container, as on Xenolith
    Pvh,
}

/// Boots Xenolith with Debian's dom0; its xl makes a Debian guest, whose web server answers here.
#[derive(Args, Clone, Debug)]
pub struct RunArguments {
    /// The hypervisor to run it on
    #[arg(long, value_enum, default_value = "xenolith")]
    pub hypervisor: Hypervisor,
    /// How dom0 runs; on Xen the default is pv
    #[arg(long, value_enum)]
    pub dom0: Option<Dom0>,
    /// Give no console; fetch the page, say how it went in the last line, and end by exit code
    #[arg(long)]
    pub check: bool,
    /// Run it on Xenolith, on Xen with a PV dom0 and on Xen with a PVH dom0, and print a table
    #[arg(long, conflicts_with_all = ["check", "test_kernel", "jobs"])]
    pub compare: bool,
    /// How often all three are run, in turn; the table has the least that each step took
    #[arg(long, default_value_t = 1, requires = "compare", value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Boot a small kernel of ours as domain 0 instead of Debian's
    #[arg(long, conflicts_with_all = ["check", "jobs"])]
    pub test_kernel: bool,
    /// Try xl's commands, one by one, on Xen and on Xenolith, and show what differs
    #[arg(long, conflicts_with_all = ["check", "compare", "test_kernel", "jobs"])]
    pub tools: bool,
    /// Let Debian's drivers in dom0 use these disks and cards of the machine, or all; what is written is checked after a
    /// restart of the machine, and what goes through a card on both sides
    #[arg(long, value_enum, value_name = "DEVICES", num_args = 0.., value_delimiter = ',',
          conflicts_with_all = ["check", "compare", "test_kernel", "tools", "jobs"])]
    pub devices: Option<Vec<devices::Device>>,
    /// Compare what dom0's kernel warns of with what it warns of as a PVH dom0 on Xen
    #[arg(long, conflicts_with_all = ["check", "compare", "test_kernel", "tools", "jobs", "devices"])]
    pub dmesg: bool,
    /// Keep two guests busy under stress-ng, with their disks checked and their network by iperf3, and look for any loss
    #[arg(long, conflicts_with_all = ["check", "compare", "test_kernel", "tools", "jobs", "devices", "dmesg"])]
    pub stress: bool,
    /// For how many minutes of dom0's clock
    #[arg(long, default_value_t = 10, requires = "stress")]
    pub minutes: u64,
    /// Run these jobs of dom0/root/job/ instead, parted by "+", show what they say, and end
    #[arg(long, value_name = "JOBS", conflicts_with = "check")]
    pub jobs: Option<String>,
    /// The port on this machine's loopback at which the guest's web server answers; else 8080, or any that is free
    #[arg(long)]
    pub port: Option<u16>,
    /// More words for the jobs, such as rounds=10
    #[arg(long, value_name = "WORDS", default_value = "", requires = "jobs")]
    pub words: String,
    /// How much memory the machine has, in MiB; half of it is dom0's, at most 1024
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    pub memory: u64,
    /// How many CPUs there are for guests; where there is more than one, the machine has another that runs none
    #[arg(long, default_value_t = 2)]
    pub cpus: u32,
    /// How many vCPUs dom0 has; by default as many as the machine, and 1 with a PVH dom0 on Xen
    #[arg(long, value_name = "VCPUS")]
    pub dom0_vcpus: Option<u32>,
    /// Let the machine's time go by the instructions it executes: the job then fares the same on a busy machine, but
    /// takes longer on a quiet one
    #[arg(long)]
    pub steady: bool,
    /// Use the image as it lies in target/image/
    #[arg(long)]
    pub no_build: bool,
    /// More options for the hypervisor
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    pub options: String,
    /// Stop the machine after so many seconds; a step has limits of its own
    #[arg(long, value_name = "SECONDS", default_value_t = 1500)]
    pub timeout: u64,
}

impl RunArguments {
    /// How dom0 runs, where it was not said.
    fn dom0(&self) -> Dom0 {
        let usual = match self.hypervisor {
            Hypervisor::Xenolith => Dom0::Pvh,
            Hypervisor::Xen => Dom0::Pv,
        };
        self.dom0.unwrap_or(usual)
    }

    /// Dom0's vCPUs. Real Xen interrupts every other vCPU of a PVH dom0 for each page that a tool unmaps, so there
    /// one is the usual number.
    fn dom0_vcpus(&self) -> u32 {
        let crowded = self.hypervisor == Hypervisor::Xen && self.dom0() == Dom0::Pvh;
        self.dom0_vcpus.unwrap_or(if crowded { 1 } else { self.cpus })
    }
}

/// The arguments as they are after these words.
fn typed(words: &[&str]) -> Result<RunArguments> {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArguments,
    }
    Ok(<Line as clap::Parser>::try_parse_from(std::iter::once(&"run").chain(words))?.run)
}

/// What `cargo xtask run --check` does, for the tests.
///
/// **Errors:** something cannot be built or fetched, or a step failed.
pub fn check() -> Result<()> {
    if job::check(&typed(&["--check", "--no-build"])?) {
        Ok(())
    } else {
        bail!("the main job failed; its last line says where")
    }
}

/// What `cargo xtask run --devices` does, with little data, for the tests.
///
/// **Errors:** as [`command`].
pub fn devices_quickly() -> Result<()> {
    devices::with(&typed(&["--devices", "--no-build"])?, &[], devices::QUICK)
}

/// Does the main job `count` times with so many vCPUs of dom0, and gives the logs of those that were lost.
///
/// **Errors:** something cannot be built or fetched.
pub fn main_jobs(count: u32, dom0_vcpus: u32) -> Result<Vec<String>> {
    let vcpus = dom0_vcpus.to_string();
    rounds::lost(&typed(&["--check", "--cpus", &vcpus, "--dom0-vcpus", &vcpus])?, count)
}

/// The command.
///
/// **Errors:** something cannot be built or fetched, or a step failed.
pub fn command(arguments: &RunArguments) -> Result<()> {
    if arguments.test_kernel {
        test_kernel::command(arguments)
    } else if arguments.compare {
        compare::command(arguments)
    } else if arguments.tools {
        tools::command(arguments)
    } else if arguments.dmesg {
        dmesg::command(arguments)
    } else if arguments.stress {
        stress::command(arguments)
    } else if let Some(list) = &arguments.devices {
        devices::command(arguments, list)
    } else if arguments.check {
        if !job::check(arguments) {
            // Nothing follows the line that says so.
            std::process::exit(1);
        }
        Ok(())
    } else if let Some(jobs) = &arguments.jobs {
        job::some_jobs(arguments, jobs)
    } else {
        job::with_console(arguments)
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

    #[test]
    fn devices_are_all_or_those_that_are_named() {
        use devices::Device;
        assert_eq!(typed(&["--devices"]).devices, Some(vec![]));
        assert_eq!(typed(&["--devices", "ahci,virtio-net"]).devices, Some(vec![Device::Ahci, Device::VirtioNet]));
        assert_eq!(typed(&[]).devices, None);
    }
}
