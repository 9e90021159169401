//! `hvm`: the ways in which an HVM guest boots with Debian's device model in Debian's dom0.

use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;

use super::job::{self, Board, Failure, Run, Stage, UP, stage};
use super::{RunArguments, picture, standstill, stick, terminal};
use crate::debian::{self, Debian};

/// What an HVM guest boots from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Boot {
    /// A boot sector, by SeaBIOS
    Sector,
    /// Debian's kernel, which QEMU hands over
    Kernel,
    /// GRUB on the guest's own disc, by SeaBIOS
    Disc,
    /// The same disc, by UEFI's firmware and without a screen
    Uefi,
    /// Debian's installer from the network, by iPXE in the emulated card
    Install,
    /// memtest86+ from a CD
    Memtest,
    /// iPXE from a CD
    Ipxe,
    /// Debian's standard kernel, with discs, a card and a USB stick that come and go
    Hotplug,
    /// Debian's standard kernel without Xen's drivers, on what QEMU emulates
    Devices,
    /// Debian's kernel with Xen's events by an interrupt of PCI
    Intx,
    /// Debian's 32-bit kernels, with PAE and without
    Kernel32,
    /// Debian's kernels with Microsoft's interface
    Viridian,
}

/// A job of dom0, what boots there, and its stages.
struct Way {
    boot: Boot,
    job: &'static str,
    boots: &'static str,
    /// It is gone only where it is named.
    named: bool,
    stages: &'static [Stage],
}

const WAYS: [Way; 12] = [
    Way {
        boot: Boot::Sector,
        job: "hvm",
        boots: "a boot sector behind SeaBIOS",
        named: false,
        stages: &[
            stage("xl create of an HVM guest, its QEMU runs", "hvm-model-runs", 10, 900),
            stage("hvmloader, up to SeaBIOS", "hvm-invokes-bios", 4, 600),
            stage("boot sector, up to its power off", "hvm-gone", 10, 900),
            stage("2 vCPUs, and QEMU is killed", "hvm-gone-again", 12, 1500),
        ],
    },
    Way {
        boot: Boot::Kernel,
        job: "hvm-linux",
        boots: "Debian's kernel by kernel=, saved, restored, moved",
        named: false,
        stages: &[
            stage("Debian's kernel by kernel=, loaded", "hvm-linux-kernel", 90, 1900),
            stage("Debian's kernel by kernel=, to its userspace", "hvm-linux-up", 15, 900),
            stage("saved and restored", "hvm-linux-alive-restored", 35, 900),
            stage("moved live", "hvm-linux-moved", 30, 600),
            stage("shut down", "hvm-linux-gone", 10, 600),
        ],
    },
    Way {
        boot: Boot::Disc,
        job: "hvm-disc",
        boots: "GRUB and Debian from a disc by BIOS",
        named: false,
        stages: &[
            stage("disc, up to GRUB's menu", "hvm-disc-menu-picture", 30, 2000),
            stage("Debian's kernel from the disc, loaded", "hvm-disc-kernel", 90, 1700),
            stage("Debian's kernel from the disc, to its userspace", "hvm-disc-picture", 30, 1100),
            stage("typed at its screen, shut down", "hvm-disc-gone", 30, 900),
        ],
    },
    Way {
        boot: Boot::Uefi,
        job: "hvm-uefi",
        boots: "the same disc by UEFI",
        named: false,
        stages: &[
            stage("UEFI, up to GRUB's menu", "hvm-uefi-menu", 40, 2000),
            stage("Debian's kernel by UEFI, to its userspace", "hvm-uefi-up", 40, 2000),
            stage("typed at its keyboard, shut down", "hvm-uefi-gone", 30, 900),
        ],
    },
    Way {
        boot: Boot::Install,
        job: "hvm-install",
        boots: "Debian's installer from the network, to its menu",
        named: false,
        stages: &[
            stage("iPXE in the card's ROM, asking for PXELINUX", "hvm-install-rom", 40, 1800),
            stage("PXELINUX, up to the installer's menu", "hvm-install-picture", 60, 1000),
            stage("the installer destroyed", "hvm-install-gone", 5, 300),
        ],
    },
    Way {
        boot: Boot::Memtest,
        job: "hvm-memtest",
        boots: "memtest86+",
        named: false,
        stages: &[
            stage("memtest86+, up to its screen", "hvm-memtest-screen", 20, 1500),
            stage("memtest86+ tests memory, destroyed", "hvm-memtest-gone", 20, 900),
        ],
    },
    Way {
        boot: Boot::Ipxe,
        job: "hvm-ipxe",
        boots: "iPXE",
        named: false,
        stages: &[
            stage("iPXE, up to its screen", "hvm-ipxe-screen", 20, 1500),
            stage("iPXE has an address, destroyed", "hvm-ipxe-gone", 20, 900),
        ],
    },
    Way {
        boot: Boot::Hotplug,
        job: "hvm-hotplug",
        boots: "discs, a card and a USB stick that come and go",
        named: true,
        stages: &[
            stage("Debian's standard kernel, to its userspace", "hotplug-up", 100, 2000),
            stage("discs in the CD drive", "hotplug-second-disc", 20, 600),
            stage("a disc in the form qcow2", "hotplug-detach-again", 20, 900),
            stage("a card", "hotplug-card-gone", 20, 600),
            stage("a USB stick", "hotplug-controller-detach", 30, 900),
            stage("words to QEMU, shut down", "hotplug-gone", 10, 400),
            stage("the same discs of a PVH guest", "cold-gone", 40, 900),
        ],
    },
    Way {
        boot: Boot::Devices,
        job: "hvm-devices",
        boots: "emulated disc, cards and tablet by a guest's own drivers",
        named: true,
        stages: &[
            stage("Debian's standard kernel without Xen's drivers", "devices-up", 150, 2000),
            stage("drivers, an IDE disc", "devices-disc-read", 40, 2000),
            stage("cards, tablet and screen, switched off", "devices-gone", 60, 2000),
        ],
    },
    Way {
        boot: Boot::Intx,
        job: "hvm-intx",
        boots: "Xen's events by an interrupt of PCI",
        named: true,
        stages: &[
            stage("Debian's kernel without a vector for events", "intx-up", 100, 2000),
            stage("disc, card and clock by INTx, saved", "intx-saved", 60, 2000),
            stage("restored, and the same again", "intx-gone", 60, 2000),
        ],
    },
    Way {
        boot: Boot::Kernel32,
        job: "hvm-kernel32",
        boots: "Debian's 32-bit kernels with PAE and without",
        named: true,
        stages: &[
            stage("a 32-bit kernel with PAE", "kernel-686-pae-gone", 100, 2000),
            stage("a 32-bit kernel without", "kernel-686-gone", 100, 2000),
        ],
    },
    Way {
        boot: Boot::Viridian,
        job: "hvm-viridian",
        boots: "Debian's kernels with Microsoft's interface",
        named: true,
        stages: &[
            stage("a kernel that takes it, with the usual groups", "viridian-usual-no-crash", 100, 2500),
            stage("the same with all groups", "viridian-all-no-crash", 100, 2500),
            stage("a kernel that takes Xen's beside it", "viridian-gone", 100, 2500),
        ],
    },
];

/// How long the machine may run, in seconds: the stages have limits of their own.
const LONGEST: u64 = 20_000;

/// Goes through those of `boots`, or all that need not be named where that is empty; then dom0's console is there, or with
/// `check` the last line says how it went.
///
/// **Errors:** something cannot be built or fetched, or a step failed; with `check` the process ends by its code.
pub fn command(arguments: &RunArguments, boots: &[Boot], check: bool) -> Result<()> {
    let began = Instant::now();
    let ways: Vec<&Way> =
        WAYS.iter().filter(|way| boots.contains(&way.boot) || boots.is_empty() && !way.named).collect();
    match (gone_through(arguments, &ways, check), check) {
        (Ok(_), true) => {
            let boots: Vec<&str> = ways.iter().map(|way| way.boots).collect();
            println!("hvm: ok, {}; {:.0} s", boots.join("; "), began.elapsed().as_secs_f64());
            Ok(())
        }
        (Ok(mut run), false) => terminal::hand_over(&mut run.machine),
        (Err(failure), true) => {
            println!("{}\n{}", failure.report, failure.line("hvm"));
            // Nothing follows the line that says so.
            std::process::exit(1);
        }
        (Err(failure), false) => Err(job::spelled(failure)),
    }
}

/// Makes dom0 with all that the ways want.
fn system(debian: &Debian, ways: &[&Way]) -> Result<Debian> {
    let mut debian = debian::device_model::with_one(&debian::kernels::with_more(debian)?)?;
    if ways.iter().any(|way| way.boot == Boot::Install) {
        debian = debian::netboot::with_installer(&debian)?;
    }
    if ways.iter().any(|way| matches!(way.boot, Boot::Kernel32 | Boot::Viridian)) {
        debian = debian::kernels32::with_them(&debian)?;
    }
    Ok(debian)
}

fn gone_through(arguments: &RunArguments, ways: &[&Way], check: bool) -> Result<Run, Failure> {
    let debian = system(&job::prepare(arguments)?, ways)
        .map_err(|error| Failure::before("making a dom0 with a device model", &error))?;
    let jobs: Vec<&str> = std::iter::once("daemons").chain(ways.iter().map(|way| way.job)).collect();
    let sticks = jobs.contains(&stick::JOB).then(stick::devices).transpose();
    let devices = sticks.map_err(|error| Failure::before("making a USB stick", &error))?.unwrap_or_default();
    let board = Board { name: "hvm", devices, ..Board::default() };
    let arguments = RunArguments { timeout: arguments.timeout.max(LONGEST), ..arguments.clone() };
    let mut run = Run::on(&board, &arguments, &debian, &jobs.join("+"), if check { "off" } else { "console" })
        .map_err(|error| Failure::before("starting the machine", &error))?;
    eprintln!("The machine's console is logged in {}", run.machine.log().display());
    run.go_through(&UP)?;
    ways.iter().try_for_each(|way| run.go_through(way.stages))?;
    let told = |run: &Run, error: anyhow::Error| run.failure("end of the jobs", format!("{error:#}"));
    standstill::jobs_end(&mut run, arguments.hypervisor).map_err(|error| told(&run, error))?;
    let kept = picture::keep(&run.machine.console.text()).map_err(|error| told(&run, error))?;
    kept.iter().for_each(|file| println!("a guest's screen: {}", file.display()));
    run.remember();
    Ok(run)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use xenolith_tests::places;

    use super::*;

    #[test]
    fn every_stage_ends_with_a_step_of_its_job() {
        for way in &WAYS {
            let job = |name: &str| fs::read_to_string(places::root().join("dom0/root/job").join(name)).unwrap();
            // A step of what jobs have in common is named after the guest.
            let steps = job(way.job) + &job("hvm-guest").replace("$1", way.job);
            let names = ["kernel-686-", "kernel-686-pae-", "viridian-usual-", "viridian-all-"];
            let steps: String = names.iter().map(|name| steps.replace("$name-", name)).collect();
            // `seen` and `says` are steps as well.
            let steps = steps.replace("\nseen ", "\nawait ").replace("\nsays ", "\nawait ");
            for Stage { until, .. } in way.stages {
                let named = |word: &str| {
                    steps.contains(&format!("{word} {until} ")) || steps.contains(&format!("{word} \"{until}\" "))
                };
                assert!(named("step") || named("await") || steps.contains("alive hvm-linux restored"), "{until}");
            }
        }
    }
}
