//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use domains::TscMode;

/// Makes and ends PVH domains. `xl` shows and ends them as well.
#[derive(Clone, Debug, Parser)]
#[command(name = "xenolith-domain", disable_version_flag = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

/// What is to be done.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Makes a domain and lets it run
    Create(Box<Create>),
    /// Pauses a domain
    Pause(Which),
    /// Unpauses a domain
    Unpause(Which),
    /// Destroys a domain with its devices
    Destroy(Which),
    /// Suspends a domain, writes it to a file that `xl restore` reads as well, and ends it
    Save {
        /// Its name or its ID
        #[arg(value_name = "DOMAIN")]
        domain: String,
        /// The file
        file: PathBuf,
    },
    /// Makes a domain of a file that `save` or `xl save` wrote
    Restore {
        /// The file
        file: PathBuf,
        /// Do not let it run yet
        #[arg(short, long)]
        paused: bool,
    },
    /// Lists domains
    List,
    /// Names what killed programs left of domains, and removes it
    Doctor {
        /// Only name it
        #[arg(short = 'n', long)]
        dry_run: bool,
    },
    /// Shows what CPUID and MSRs tell a domain
    #[command(hide = true)]
    Policy(Which),
    /// Makes many small domains, and tells what it takes as there are more
    #[command(hide = true)]
    Many {
        /// How many
        count: u32,
        /// The memory of each
        #[arg(long, value_name = "MIB", default_value_t = 4)]
        memory: u64,
    },
    /// Ends the domains that `many` made
    #[command(hide = true)]
    ManyEnd,
}

/// A domain that there is.
#[derive(Args, Clone, Debug)]
pub struct Which {
    /// Its name or its ID
    #[arg(value_name = "DOMAIN")]
    pub domain: String,
}

/// A domain that is to be made.
#[derive(Args, Clone, Debug)]
pub struct Create {
    /// Its name
    pub name: String,
    /// Its kernel: an ELF file with a PVH entry, or a bzImage
    #[arg(long, value_name = "FILE")]
    pub kernel: PathBuf,
    /// Its initial RAM disc
    #[arg(long, value_name = "FILE")]
    pub ramdisk: Option<PathBuf>,
    /// Its kernel's command line
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    pub command_line: String,
    /// Its memory
    #[arg(long, value_name = "MIB", default_value_t = 128)]
    pub memory: u64,
    /// How many vCPUs it has
    #[arg(long, default_value_t = 1)]
    pub vcpus: u32,
    /// How it reads the time stamp counter
    #[arg(long, value_enum, default_value = "default")]
    pub tsc: Tsc,
    /// A disk: a block device of this domain, what it is called there, and whether it is written
    #[arg(long, value_name = "PATH,xvdX[,r|w]")]
    pub disk: Vec<String>,
    /// A network card: its address, and the bridge that it joins
    #[arg(long, value_name = "MAC,BRIDGE")]
    pub card: Vec<String>,
    /// Do not let it run yet
    #[arg(short, long)]
    pub paused: bool,
}

/// How a domain reads the time stamp counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tsc {
    /// The hypervisor chooses
    Default,
    /// Each reading is emulated
    Always,
    /// Never emulated
    Native,
}

impl From<Tsc> for TscMode {
    fn from(tsc: Tsc) -> Self {
        match tsc {
            Tsc::Default => Self::Default,
            Tsc::Always => Self::Always,
            Tsc::Native => Self::Native,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_consistent_and_read() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
        let words = "xenolith-domain create web --kernel k --memory 64 --disk /dev/sda,xvda,w --disk /dev/sdb,xvdb -p";
        let Command::Create(create) = Arguments::parse_from(words.split(' ')).command else { panic!("no create") };
        assert_eq!((create.memory, create.vcpus, create.disk.len(), create.paused), (64, 1, 2, true));
        assert!(Arguments::try_parse_from(["xenolith-domain", "create", "web"]).is_err(), "there is no kernel");
        assert!(Arguments::try_parse_from(["xenolith-domain", "destroy"]).is_err());
    }
}
