//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rings::Order;

use crate::{BadPolicy, Limits, Policy, Publish, Rule};

/// Serves the sockets of domains that have no network card: the back end of PV Calls.
#[derive(Clone, Debug, Parser)]
#[command(name = "xenolith-pvcalls", disable_version_flag = true)]
pub struct Options {
    #[command(subcommand)]
    pub command: Command,
}

/// What is to be done.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Waits for devices in xenstore, and starts a process for each guest
    Watch(Serving),
    /// Serves one guest until its device is gone
    Serve {
        /// The guest's ID
        domain: u16,
        #[command(flatten)]
        serving: Serving,
    },
}

/// How guests are served.
#[derive(Args, Clone, Debug)]
pub struct Serving {
    /// A port of the host that leads to one of the guest; the node `publish` of the device goes before
    #[arg(long, value_name = "[ADDRESS:]HOST-PORT:PORT")]
    pub publish: Vec<String>,
    /// Where the guest may connect to, allow=NETWORK or deny=NETWORK, the first that matches counts; the node `rules` of the
    /// device goes before
    #[arg(long, value_name = "allow|deny=ADDRESS[/BITS][:PORT[-PORT]]")]
    pub rule: Vec<String>,
    /// Sockets of a guest
    #[arg(long, default_value_t = Limits::default().sockets)]
    pub sockets: usize,
    /// Connections of a guest
    #[arg(long, default_value_t = Limits::default().connections)]
    pub connections: usize,
    /// Pages of rings of a guest that are mapped
    #[arg(long, default_value_t = Limits::default().pages)]
    pub pages: usize,
    /// Bytes that closed sockets of a guest have still to send
    #[arg(long, default_value_t = Limits::default().bytes)]
    pub unsent_bytes: usize,
    /// Connections that may wait at a socket that listens
    #[arg(long, default_value_t = Limits::default().backlog)]
    pub backlog: u32,
    /// Pages of a data ring, as the base 2 logarithm: 4 to 9
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(4..=9))]
    pub ring_order: u32,
    /// Seconds that a closed socket may take to send its last bytes
    #[arg(long, default_value_t = Limits::default().linger.as_secs())]
    pub linger: u64,
    /// Log into this directory, as pvcalls-DOMAIN.json, in place of the standard output; a file begins anew at 16 MiB, and the
    /// one before ends in .old
    #[arg(long, value_name = "DIRECTORY")]
    pub log: Option<PathBuf>,
    /// Lines of the log in a second; what goes beyond it is counted
    #[arg(long, default_value_t = 1000)]
    pub log_rate: u32,
    /// Write counters for Prometheus into this directory, as pvcalls-DOMAIN.prom
    #[arg(long, value_name = "DIRECTORY")]
    pub metrics: Option<PathBuf>,
    /// Become this user and group once all devices are open
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=0xffff_fffe))]
    pub user: Option<u32>,
}

impl Serving {
    /// Returns the budget of a guest.
    #[must_use]
    pub fn limits(&self) -> Limits {
        Limits {
            sockets: self.sockets,
            connections: self.connections,
            pages: self.pages,
            bytes: self.unsent_bytes,
            backlog: self.backlog,
            order: Order::new(self.ring_order, Order::MAX).unwrap_or(Order::MAX),
            linger: Duration::from_secs(self.linger),
        }
    }

    /// Returns the policy of a guest whose device says so itself, or does not.
    ///
    /// **Errors:** words that are no rule or port.
    pub fn policy(&self, rules: Option<&str>, publish: Option<&str>) -> Result<Policy, BadPolicy> {
        let words = |node: Option<&str>, option: &[String]| -> Vec<String> {
            node.map_or_else(|| option.to_vec(), |node| node.split_whitespace().map(str::to_owned).collect())
        };
        let rules = words(rules, &self.rule).iter().map(|word| word.parse()).collect::<Result<Vec<Rule>, _>>()?;
        let ports = words(publish, &self.publish);
        Policy::new(rules, ports.iter().map(|word| word.parse()).collect::<Result<Vec<Publish>, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_consistent_and_a_device_goes_before_it() {
        <Options as clap::CommandFactory>::command().debug_assert();
        let words = "xenolith-pvcalls serve 5 --publish 8080:80 --rule deny=10.0.0.0/8 --sockets 7 --ring-order 4";
        let Command::Serve { domain, serving } = Options::parse_from(words.split(' ')).command else {
            panic!("no serve")
        };
        assert_eq!((domain, serving.limits().sockets, serving.limits().order.number()), (5, 7, 4));
        let web = "0.0.0.0:80".parse().unwrap();
        assert!(serving.policy(None, None).unwrap().listen(web).is_ok());
        assert!(serving.policy(None, Some("")).unwrap().listen(web).is_err());
        assert!(serving.policy(Some("permit=all"), None).unwrap_err().to_string().contains("allow="));
        assert!(Options::try_parse_from(["xenolith-pvcalls", "watch", "--ring-order", "3"]).is_err());
    }
}
