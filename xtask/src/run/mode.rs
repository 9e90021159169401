//! The modes of `cargo xtask run`, and the flags by which they were chosen before they had names.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use xenolith_tests::Emulator;

use super::devices::{self, Device};
use super::hvm::{self, Boot};
use super::libvirt::Libvirt;
use super::migrate::Migrate;
use super::{RunArguments, boot, compare, dmesg, installed, jobs, stress, test_kernel, tools};
use crate::boot::Hypervisor;

/// How long two guests are kept busy, in minutes.
const MINUTES: u64 = 10;

/// What is run instead of the main job.
#[derive(Subcommand, Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Times the main job on Xenolith, on Xen with a PV dom0 and on Xen with a PVH dom0, and prints a table
    Compare {
        /// How often all three are run, in turn; the table has the least that each step took
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// Tries xl's commands, one by one, on Xen and on Xenolith, and shows what differs
    Tools,
    /// Lets Debian's drivers in dom0 use the machine's disks and cards, and checks what passed
    Devices {
        /// The disks and cards, parted by commas or spaces; without one, all. What is written to a disk is checked after
        /// a restart of the machine, and what goes through a card on both sides
        #[arg(value_enum, value_name = "DEVICES", value_delimiter = ',')]
        devices: Vec<Device>,
    },
    /// Compares what dom0's kernel warns of with what it warns of as a PVH dom0 on Xen
    Dmesg,
    /// Keeps two guests busy under stress-ng, with disks and network, and looks for any loss
    Stress {
        /// For how many minutes of dom0's clock
        #[arg(long, default_value_t = MINUTES)]
        minutes: u64,
    },
    /// Boots HVM guests with Debian's QEMU in every way there is, and then gives dom0's console; with --check it ends
    /// instead, and says in the last line how it went
    Hvm {
        /// What they boot from, parted by commas or spaces; without one, all
        #[arg(value_enum, value_name = "BOOTS", value_delimiter = ',')]
        boots: Vec<Boot>,
    },
    /// Runs these jobs of dom0/root/job/, shows what they say, and ends
    Jobs {
        /// Their names, parted by "+", such as daemons+rounds
        #[arg(value_name = "JOBS")]
        jobs: String,
        /// More words for the jobs, such as rounds=10
        #[arg(long, value_name = "WORDS", default_value = "")]
        words: String,
    },
    /// Boots two machines that are joined by a cable, whose dom0s move guests by xl and ssh, and gives the first one's
    /// console; with --check it moves guests itself, and says in the last line how it went
    Migrate(Migrate),
    /// Starts Debian's libvirt in dom0 and gives the console; with --check it tries virsh's commands on Xen and on Xenolith
    Libvirt(Libvirt),
    /// Installs our package by apt in a Debian on a disc, starts it by GRUB's menu, removes the package and starts Debian's Xen
    Installed,
    /// Boots a small kernel of ours as domain 0 instead of Debian's
    TestKernel,
    /// Boots Debian's dom0 without disks and cards, has its xl say what it knows, and switches the machine off
    Boot {
        /// What emulates the machine: qemu, or bochs, which is slow, shares no faults with it, and has one CPU here
        #[arg(long, default_value = "qemu")]
        emulator: Emulator,
    },
}

impl Mode {
    /// Its name on the command line.
    fn name(&self) -> &'static str {
        match self {
            Self::Compare { .. } => "compare",
            Self::Tools => "tools",
            Self::Devices { .. } => "devices",
            Self::Dmesg => "dmesg",
            Self::Stress { .. } => "stress",
            Self::Hvm { .. } => "hvm",
            Self::Jobs { .. } => "jobs",
            Self::Migrate(_) => "migrate",
            Self::Libvirt(_) => "libvirt",
            Self::Installed => "installed",
            Self::TestKernel => "test-kernel",
            Self::Boot { .. } => "boot",
        }
    }

    /// Returns whether `--hypervisor` has nothing to choose.
    fn chooses_hypervisor(&self) -> bool {
        matches!(self, Self::Compare { .. } | Self::Tools | Self::Dmesg | Self::Installed | Self::TestKernel)
    }

    /// Returns whether it gives dom0's console at its end unless `--check` is said.
    fn gives_console(&self) -> bool {
        matches!(self, Self::Hvm { .. } | Self::Installed | Self::Migrate(_) | Self::Libvirt(_))
    }

    /// Runs it on the machine that `arguments` describe.
    ///
    /// **Errors:** something cannot be built or fetched, or a step failed.
    pub fn run(&self, arguments: &RunArguments, check: bool) -> Result<()> {
        match self {
            Self::Compare { rounds } => compare::command(arguments, *rounds),
            Self::Tools => tools::command(arguments),
            Self::Devices { devices } => devices::command(arguments, devices),
            Self::Dmesg => dmesg::command(arguments),
            Self::Stress { minutes } => stress::command(arguments, *minutes),
            Self::Hvm { boots } => hvm::command(arguments, boots, check),
            Self::Jobs { jobs, words } => jobs::command(arguments, jobs, words),
            Self::Migrate(migrate) => migrate.command(arguments, check),
            Self::Libvirt(libvirt) => libvirt.command(arguments, check),
            Self::Installed => installed::command(arguments, check),
            Self::TestKernel => test_kernel::command(arguments),
            Self::Boot { emulator } => boot::command(arguments, *emulator),
        }
    }
}

/// The modes as flags, kept for scripts that use them.
#[derive(Args, Clone, Debug, Default)]
pub struct OldFlags {
    #[arg(long, hide = true)]
    compare: bool,
    #[arg(long, hide = true, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    #[arg(long, hide = true)]
    tools: bool,
    #[arg(long, hide = true, value_enum, num_args = 0.., value_delimiter = ',')]
    devices: Option<Vec<Device>>,
    #[arg(long, hide = true)]
    dmesg: bool,
    #[arg(long, hide = true)]
    stress: bool,
    #[arg(long, hide = true)]
    minutes: Option<u64>,
    #[arg(long, hide = true)]
    jobs: Option<String>,
    #[arg(long, hide = true)]
    words: Option<String>,
    #[arg(long, hide = true)]
    test_kernel: bool,
}

impl OldFlags {
    /// Returns the modes that the flags name, each with its flag.
    fn modes(&self) -> Vec<(String, Mode)> {
        let named = [
            self.compare.then(|| Mode::Compare { rounds: self.rounds.unwrap_or(1) }),
            self.tools.then_some(Mode::Tools),
            self.devices.clone().map(|devices| Mode::Devices { devices }),
            self.dmesg.then_some(Mode::Dmesg),
            self.stress.then(|| Mode::Stress { minutes: self.minutes.unwrap_or(MINUTES) }),
            self.jobs.clone().map(|jobs| Mode::Jobs { jobs, words: self.words.clone().unwrap_or_default() }),
            self.test_kernel.then_some(Mode::TestKernel),
        ];
        named.into_iter().flatten().map(|mode| (format!("--{}", mode.name()), mode)).collect()
    }

    /// Returns the first flag that says more of a mode which is not chosen by a flag, and that mode's name.
    fn astray(&self) -> Option<(&'static str, &'static str)> {
        let of_modes = [
            ("--rounds", "compare", self.rounds.is_some() && !self.compare),
            ("--minutes", "stress", self.minutes.is_some() && !self.stress),
            ("--words", "jobs", self.words.is_some() && self.jobs.is_none()),
        ];
        of_modes.into_iter().find_map(|(flag, mode, is_astray)| is_astray.then_some((flag, mode)))
    }
}

/// Returns the mode that was chosen, by its name or by its flag of old; nothing for the main job.
///
/// **Errors:** two modes are named, or something is said that the mode has no use for; the message is one line.
pub fn chosen(named: Option<&Mode>, old: &OldFlags, check: bool, hypervisor: Hypervisor) -> Result<Option<Mode>> {
    let by_name = named.map(|mode| (mode.name().to_owned(), mode.clone()));
    let mut modes = by_name.into_iter().chain(old.modes());
    let first = modes.next();
    if let (Some((one, _)), Some((other, _))) = (&first, modes.next()) {
        bail!("{one} and {other} exclude each other: name one mode (cargo xtask run --help lists them)");
    }
    if let Some((flag, mode)) = old.astray() {
        bail!("{flag} belongs to the mode {mode} and stands after its name: cargo xtask run {mode} {flag} ...");
    }
    let Some((said, mode)) = first else { return Ok(None) };
    if check && !mode.gives_console() {
        bail!("--check and {said} exclude each other: {} gives no console and ends by exit code anyway", mode.name());
    }
    if mode.chooses_hypervisor() && hypervisor == Hypervisor::Xen {
        bail!("--hypervisor and {said} exclude each other: {} chooses what it runs on itself", mode.name());
    }
    Ok(Some(mode))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::super::{Dom0, RunCommand};
    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: RunCommand,
    }

    fn run(words: &str) -> RunCommand {
        Line::try_parse_from(format!("run {words}").split_whitespace()).unwrap().run
    }

    fn mode(words: &str) -> Option<Mode> {
        run(words).mode().unwrap()
    }

    fn refused(words: &str) -> String {
        run(words).mode().unwrap_err().to_string()
    }

    #[test]
    fn the_flags_of_old_choose_the_modes_that_have_names_now() {
        for (flags, words) in [
            ("--compare --rounds 3", "compare --rounds 3"),
            ("--compare", "compare"),
            ("--tools", "tools"),
            ("--devices", "devices"),
            ("--devices ahci,virtio-net", "devices ahci,virtio-net"),
            ("--dmesg", "dmesg"),
            ("--stress --minutes 2", "stress --minutes 2"),
            ("--stress", "stress"),
            ("--jobs daemons+rounds --words rounds=10", "jobs daemons+rounds --words rounds=10"),
            ("--jobs daemons+info", "jobs daemons+info"),
            ("--test-kernel", "test-kernel"),
        ] {
            assert!(mode(words).is_some());
            assert_eq!(mode(flags), mode(words), "{flags}");
        }
        assert_eq!(mode("--check"), None);
        assert!(run("--check").check);
        for words in ["hvm --check", "--check hvm"] {
            assert_eq!((mode(words), run(words).check), (Some(Mode::Hvm { boots: vec![] }), true), "{words}");
        }
        for words in ["migrate --check", "--check migrate"] {
            assert!(matches!(mode(words), Some(Mode::Migrate(_))) && run(words).check, "{words}");
        }
        assert_eq!(mode("hvm disc,kernel"), Some(Mode::Hvm { boots: vec![Boot::Disc, Boot::Kernel] }));
        assert_eq!(mode(""), None);
    }

    #[test]
    fn no_word_has_two_meanings() {
        Line::command().debug_assert();
    }

    #[test]
    fn devices_are_all_or_those_that_are_named() {
        assert_eq!(mode("devices"), Some(Mode::Devices { devices: vec![] }));
        let two = Some(Mode::Devices { devices: vec![Device::Ahci, Device::VirtioNet] });
        assert_eq!(mode("devices ahci,virtio-net"), two);
        assert_eq!(mode("devices ahci virtio-net"), two);
    }

    #[test]
    fn dom0_boots_in_qemu_unless_bochs_is_named() {
        assert_eq!(mode("boot"), Some(Mode::Boot { emulator: Emulator::Qemu }));
        assert_eq!(mode("boot --emulator bochs"), Some(Mode::Boot { emulator: Emulator::Bochs }));
    }

    #[test]
    fn what_is_said_of_the_machine_may_stand_before_the_mode_or_after_it() {
        for words in ["--cpus 4 --dom0 pv stress --memory 4096", "stress --memory 4096 --dom0 pv --cpus 4"] {
            let machine = run(words).machine;
            assert_eq!((machine.cpus, machine.memory, machine.dom0), (4, 4096, Some(Dom0::Pv)), "{words}");
        }
    }

    #[test]
    fn a_wrong_combination_is_refused_in_one_line_that_names_both() {
        for (words, named) in [
            ("--tools compare", ["--tools", "compare"]),
            ("--tools --dmesg", ["--tools", "--dmesg"]),
            ("--check --jobs daemons", ["--check", "--jobs"]),
            ("--check stress", ["--check", "stress"]),
            ("--rounds 3", ["--rounds", "compare"]),
            ("--minutes 3 stress", ["--minutes", "stress"]),
            ("--words a=b --tools", ["--words", "jobs"]),
            ("--hypervisor xen tools", ["--hypervisor", "tools"]),
            ("test-kernel --hypervisor xen", ["--hypervisor", "test-kernel"]),
        ] {
            let line = refused(words);
            assert!(named.iter().all(|name| line.contains(name)) && line.lines().count() == 1, "{words}: {line}");
        }
    }

    #[test]
    fn help_lists_the_modes_and_not_the_flags_of_old() {
        let help = Line::command().render_long_help().to_string();
        assert!(help.contains("compare") && help.contains("--check"), "{help}");
        assert!(!help.contains("--tools") && !help.contains("--jobs"), "{help}");
    }
}
