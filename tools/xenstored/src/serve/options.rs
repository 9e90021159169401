//! The command line: that of Debian's xenstored 4.17.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

use crate::engine::Limits;

/// Serves xenstore: the tree of settings by which the domains of a host and their tools find each other.
#[derive(Clone, Debug, Parser)]
#[command(name = "xenstored", disable_version_flag = true)]
pub struct Options {
    /// Do not serve domain 0's own kernel
    #[arg(short = 'D', long)]
    pub no_domain_init: bool,
    /// Write the daemon's process number to this file
    #[arg(short = 'F', long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Stay in the foreground
    #[arg(short = 'N', long)]
    pub no_fork: bool,
    /// Print the daemon's process number
    #[arg(short = 'P', long)]
    pub output_pid: bool,
    /// Log to this file
    #[arg(short = 'T', long, value_name = "FILE")]
    pub trace_file: Option<PathBuf>,
    /// Nodes that a domain may own
    #[arg(short = 'E', long, value_name = "NB")]
    pub entry_nb: Option<u64>,
    /// Size of a domain's node, in bytes
    #[arg(short = 'S', long, value_name = "SIZE")]
    pub entry_size: Option<u64>,
    /// Watches that a domain may have
    #[arg(short = 'W', long, value_name = "NB")]
    pub watch_nb: Option<u64>,
    /// Transactions that a domain may have open
    #[arg(short = 't', long, value_name = "NB")]
    pub transaction: Option<u64>,
    /// Permissions of a domain's node
    #[arg(short = 'A', long, value_name = "NB")]
    pub perm_nb: Option<u64>,
    /// Length of a path, in bytes, besides the directory of a domain
    #[arg(short = 'M', long, value_name = "CHARS")]
    pub path_max: Option<u64>,
    /// Set a limit by name: transaction-nodes, memory, outstanding
    #[arg(short = 'Q', long, value_name = "WHAT=NB", value_parser = named)]
    pub quota: Vec<(String, u64)>,
    /// Set a limit above which a warning is logged: memory
    #[arg(short = 'q', long, value_name = "WHAT=NB", value_parser = named)]
    pub quota_soft: Vec<(String, u64)>,
    /// No effect: an event that a client does not read delays no other client
    #[arg(short = 'w', long, value_name = "WHAT=SECONDS", value_parser = named)]
    pub timeout: Vec<(String, u64)>,
    /// No effect: there is no database that could be corrupt
    #[arg(short = 'R', long)]
    pub no_recovery: bool,
    /// No effect: the store is always in memory
    #[arg(short = 'I', long, value_name = "ON|OFF", num_args = 0..=1)]
    pub internal_db: Option<Option<String>>,
    /// Keep the nodes of a destroyed domain
    #[arg(short = 'K', long)]
    pub keep_orphans: bool,
    /// Log every request
    #[arg(short = 'V', long)]
    pub verbose: bool,
    /// Take rings and events from files in this directory in place of a hypervisor, to test the daemon
    #[arg(long, value_name = "DIRECTORY")]
    pub rings_in_files: Option<PathBuf>,
    /// Run as the worker; the standard input is its socket to the keeper
    #[arg(long, hide = true)]
    pub serve: bool,
    /// Run as the keeper of a running worker; the standard input is its socket to the worker
    #[arg(long, hide = true)]
    pub adopt: bool,
}

fn named(text: &str) -> Result<(String, u64), String> {
    let (name, value) = text.split_once('=').ok_or("a name, \"=\" and a number")?;
    let value = value.parse().map_err(|_| format!("{value:?} is no number"))?;
    Ok((name.to_owned(), value))
}

impl Options {
    /// Reads the program's own command line, or ends the program with help.
    #[must_use]
    pub fn of_program() -> Self {
        // Debian's answers to -H as well.
        let spelled = std::env::args_os().map(|word| if word == "-H" { OsString::from("--help") } else { word });
        Self::parse_from(spelled)
    }

    /// Returns the quotas, as the command line sets them.
    ///
    /// **Errors:** there is no quota of a name that was given; a message that says so.
    pub fn limits(&self) -> Result<Limits, String> {
        let mut limits = Limits::default();
        let plain = [
            ("nodes", self.entry_nb),
            ("node-size", self.entry_size),
            ("watches", self.watch_nb),
            ("transactions", self.transaction),
            ("permissions", self.perm_nb),
            ("path-max", self.path_max),
        ];
        for (name, value) in plain.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            limits.set(name, value);
        }
        for (name, value) in &self.quota {
            if !limits.set(name, *value) {
                return Err(format!("there is no limit {name:?}; xenstore-control quota lists them"));
            }
        }
        for (name, value) in &self.quota_soft {
            if !limits.set_soft(name, *value) {
                return Err(format!("there is no soft limit {name:?}; there is memory"));
            }
        }
        Ok(limits)
    }

    /// Returns the directory of the socket, the journal and the mailboxes.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        std::env::var_os("XENSTORED_RUNDIR").map_or_else(|| "/var/run/xenstored".into(), PathBuf::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_set_by_option_and_by_name() {
        let options = ["xenstored", "-E", "5", "--watch-nb", "6", "-Q", "memory=7", "-q", "memory=8", "-I", "off"];
        let limits = Options::try_parse_from(options).unwrap().limits().unwrap();
        assert_eq!((limits.nodes, limits.watches, limits.memory, limits.memory_soft), (5, 6, 7, 8));
        let unknown = Options::try_parse_from(["xenstored", "-Q", "none=7"]).unwrap().limits();
        assert!(unknown.unwrap_err().contains("none"));
        assert!(Options::try_parse_from(["xenstored", "-Q", "memory"]).is_err());
    }
}
