//! `cargo xtask boot`: anything on Xenolith or on real Xen, in an emulated machine.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use xenolith_tests::{Emulator, Ending, Machine, MachineSpec, Media, Module, places};

use crate::oracle;
use crate::setup;

/// Which hypervisor the machine boots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Hypervisor {
    /// This project's image, as `cargo xtask build` made it
    Xenolith,
    /// Debian's Xen 4.17
    Xen,
}

impl Hypervisor {
    /// Its name on the command line and in the names of logs.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Xenolith => "xenolith",
            Self::Xen => "xen",
        }
    }

    /// Returns the image the emulator loads.
    ///
    /// **Errors:** Xenolith is not built, or Xen cannot be fetched.
    pub fn image(self) -> Result<PathBuf> {
        match self {
            Self::Xen => oracle::image(),
            Self::Xenolith => {
                let image = places::images().join("xenolith");
                if !image.is_file() {
                    bail!("there is no {}; run: cargo xtask build", image.display());
                }
                Ok(image)
            }
        }
    }
}

/// What every boot has in its options, so that something is seen.
const OPTIONS: &str = "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all";

/// Boots Xenolith, or Debian's Xen 4.17, in an emulated machine.
#[derive(Args, Clone, Debug)]
pub struct BootArguments {
    /// The hypervisor to boot
    #[arg(long, value_enum, default_value = "xenolith")]
    pub hypervisor: Hypervisor,
    /// What emulates the machine: qemu, or bochs, a slow interpreter that shares no faults with it
    #[arg(long, default_value = "qemu")]
    pub emulator: Emulator,
    /// The kernel of domain 0
    #[arg(long, value_name = "FILE")]
    pub dom0: Option<PathBuf>,
    /// The initial RAM disc of domain 0
    #[arg(long, value_name = "FILE", requires = "dom0")]
    pub initrd: Option<PathBuf>,
    /// The command line of domain 0's kernel
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    pub cmdline: String,
    /// Options for the hypervisor, after "console=com1 com1=115200,8n1 loglvl=all guest_loglvl=all"
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    pub options: String,
    /// More arguments for QEMU, parted by spaces
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    pub qemu: String,
    /// Stop the machine after this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    pub timeout: u64,
    /// Stop the machine when it wrote nothing for this many seconds
    #[arg(long, value_name = "SECONDS")]
    pub silence: Option<u64>,
    /// Stop the machine, content, when a line with this text came
    #[arg(long, value_name = "TEXT")]
    pub until: Option<String>,
    /// How many CPUs the machine has
    #[arg(long, default_value_t = 2)]
    pub cpus: u32,
    /// The machine's memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    pub memory: u64,
    /// The emulated CPU; by default "qemu64,+svm,+npt", and Bochs' "ryzen"
    #[arg(long)]
    pub cpu: Option<String>,
    /// Do not show the serial line; it is in the log all the same
    #[arg(long)]
    pub quiet: bool,
}

impl BootArguments {
    /// Makes the defaults of the command line, for a boot that another command makes.
    #[must_use]
    pub fn new(hypervisor: Hypervisor) -> Self {
        Self {
            hypervisor,
            emulator: Emulator::Qemu,
            dom0: None,
            initrd: None,
            cmdline: String::new(),
            options: String::new(),
            qemu: String::new(),
            timeout: 120,
            silence: None,
            until: None,
            cpus: 2,
            memory: 2048,
            cpu: None,
            quiet: true,
        }
    }

    /// Returns the machine these arguments describe; `name` names its log.
    ///
    /// **Errors:** the hypervisor's image cannot be had.
    pub fn spec(&self, name: &str) -> Result<MachineSpec> {
        let dom0 = self.dom0.clone().map(|file| Module { file, command_line: self.cmdline.clone() });
        let initrd = self.initrd.clone().map(|file| Module { file, command_line: String::new() });
        let media = Media::Kernel {
            image: self.hypervisor.image()?,
            options: format!("{OPTIONS} {}", self.options).trim_end().to_owned(),
            modules: dom0.into_iter().chain(initrd).collect(),
        };
        let mut spec = MachineSpec::new(name, media).under(self.emulator);
        spec.cpus = self.cpus;
        spec.memory_mib = self.memory;
        if let Some(model) = &self.cpu {
            spec.cpu_model.clone_from(model);
        }
        spec.extra = self.qemu.split_whitespace().map(str::to_owned).collect();
        spec.timeout = Duration::from_secs(self.timeout);
        spec.silence = self.silence.map(Duration::from_secs);
        spec.echo = !self.quiet;
        Ok(spec)
    }
}

/// Boots once and returns how it ended, and the machine for its console.
///
/// **Errors:** the machine could not be started.
pub fn boot(arguments: &BootArguments, name: &str) -> Result<(Ending, Machine)> {
    setup::ensure_emulator(arguments.emulator)?;
    let mut machine = Machine::start(&arguments.spec(name)?)?;
    let ending = machine.run_until(arguments.until.as_deref());
    Ok((ending, machine))
}

/// Runs `cargo xtask boot`.
///
/// **Errors:** the machine could not be started, or did not end well.
pub fn command(arguments: &BootArguments) -> Result<()> {
    setup::ensure_emulator(arguments.emulator)?;
    let name = format!("boot-{}-{}", arguments.hypervisor.name(), std::process::id());
    let mut machine = Machine::start(&arguments.spec(&name)?)?;
    eprintln!("the serial line is logged in {}", machine.log().display());
    if std::io::stdin().is_terminal() {
        pass_keyboard(&mut machine);
    }
    let ending = machine.run_until(arguments.until.as_deref());
    if let (Some(wanted), Ending::Off | Ending::DebugExit(_)) = (&arguments.until, &ending) {
        bail!("\"{wanted}\" never came: {ending}\n{}", machine.report());
    }
    if !ending.is_good() {
        bail!("{ending}\n{}", machine.report());
    }
    eprintln!("{ending}");
    Ok(())
}

/// Hands what is typed to the machine, a line at a time, for as long as this process lives.
fn pass_keyboard(machine: &mut Machine) {
    let Some(mut keyboard) = machine.take_keyboard() else { return };
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let sent = std::io::Write::write_all(&mut keyboard, format!("{line}\r").as_bytes());
            if sent.is_err() {
                break;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        boot: BootArguments,
    }

    #[test]
    fn the_defaults_of_the_command_line_are_those_of_other_commands() {
        let typed = Line::try_parse_from(["boot", "--quiet"]).unwrap().boot;
        assert_eq!(format!("{typed:?}"), format!("{:?}", BootArguments::new(Hypervisor::Xenolith)));
    }

    #[test]
    fn options_that_begin_with_a_hyphen_reach_the_emulator() {
        let typed = Line::try_parse_from(["boot", "--qemu", "-device amd-iommu"]).unwrap().boot;
        assert_eq!(typed.qemu, "-device amd-iommu");
    }

    #[test]
    fn an_initrd_without_a_kernel_is_refused() {
        assert!(Line::try_parse_from(["boot", "--initrd", "x"]).is_err());
    }
}
