//! Control commands, as `xenstore-control` sends them. Responses have the wording of Debian's daemon.

use std::fmt::Write as _;

use xenstore_wire::{ErrorName, Strings};

use super::domains::number;
use super::rights::Caller;
use super::{Answer, Engine, Host, done};
use crate::store::Change;

const HELP: &str = "check\t\nlog\ton|off\nlive-update\t[-c <cmdline>] [-F] [-t <timeout>] <file>\n    \
    Default timeout is 60 seconds.\nlogfile\t<file>\nmemreport\t[<file>]\nprint\t<string>\n\
    quota\t[set <name> <val>|<domid>]\nquota-soft\t[set <name> <val>]\nhelp\t\n\0";

impl Engine {
    pub(super) fn control(&mut self, host: &mut impl Host, caller: &Caller, body: &[u8]) -> Answer {
        caller.must_be_privileged()?;
        let strings = Strings::all(body).ok_or(ErrorName::Invalid)?;
        let words: Result<Vec<&str>, _> = strings.into_iter().map(std::str::from_utf8).collect();
        let words = words.map_err(|_| ErrorName::Invalid)?;
        match &words[..] {
            ["check"] => {
                self.check(host);
                done()
            }
            ["help"] => Ok(HELP.into()),
            ["log", "on"] => {
                host.set_logging(true);
                done()
            }
            ["log", "off"] => {
                host.set_logging(false);
                done()
            }
            ["logfile", path] => {
                host.log_to(path)?;
                done()
            }
            ["print", line] => {
                host.log(line);
                done()
            }
            ["memreport"] => {
                host.report(None, &self.memory_report())?;
                done()
            }
            ["memreport", path] => {
                host.report(Some(path), &self.memory_report())?;
                done()
            }
            ["quota"] => Ok(self.quotas()),
            ["quota", "max"] => Ok(self.largest()),
            ["quota", "set", name, value] => self.set_limit(name, value, false),
            ["quota", domain] => self.quota_of(domain),
            ["quota-soft"] => {
                let line =
                    listed("memory", self.limits.memory_soft, "Total Xenstore memory per domain (warning level)");
                Ok(format!("Quota settings:\n{line}\0").into_bytes())
            }
            ["quota-soft", "set", name, value] => self.set_limit(name, value, true),
            ["live-update", rest @ ..] => host.live_update(rest).map(|said| [said.as_bytes(), &[0]].concat()),
            _ => Err(ErrorName::Invalid),
        }
    }

    fn set_limit(&mut self, name: &str, value: &str, soft: bool) -> Answer {
        let value = number(value.as_bytes()).ok_or(ErrorName::Invalid)?;
        let is_known = if soft { self.limits.set_soft(name, value) } else { self.limits.set(name, value) };
        if !is_known {
            return Err(ErrorName::Invalid);
        }
        self.changes.push(Change::Limit { name: name.to_owned(), soft, value });
        done()
    }

    fn quotas(&self) -> Vec<u8> {
        let mut text = String::from("Quota settings:\n");
        self.limits.list().into_iter().for_each(|(name, value, what)| text.push_str(&listed(name, value, what)));
        text.push('\0');
        text.into_bytes()
    }

    fn quota_of(&self, domain: &str) -> Answer {
        let domain = number(domain.as_bytes()).and_then(|number| u16::try_from(number).ok());
        let domain = domain.ok_or(ErrorName::Invalid)?;
        if domain != 0 && !self.domains.contains_key(&domain) {
            return Err(ErrorName::Missing);
        }
        let (nodes, watches, transactions, memory) = self
            .accounts
            .of(domain)
            .map_or((0, 0, 0, 0), |account| (account.nodes, account.watches, account.transactions, account.memory));
        let waiting = self.connections.get(&u32::from(domain)).map_or(0, |connection| connection.waiting() as u64);
        Ok(taken(domain, &[nodes, watches, transactions, waiting, memory]))
    }

    /// Lists the highest resource use of any domain but dom0.
    fn largest(&self) -> Vec<u8> {
        let mut most = [0; 5];
        for (_, account) in self.accounts.all().filter(|(domain, _)| *domain != 0) {
            let has = [account.nodes, account.watches, account.transactions, 0, account.memory];
            most.iter_mut().zip(has).for_each(|(most, has)| *most = (*most).max(has));
        }
        taken(0, &most)
    }

    fn memory_report(&self) -> String {
        let mut report = String::from("domain nodes watches transactions bytes\n");
        for (domain, account) in self.accounts.all() {
            let row = (account.nodes, account.watches, account.transactions, account.memory);
            let _ = writeln!(report, "{domain} {} {} {} {}", row.0, row.1, row.2, row.3);
        }
        let waiting: usize = self.connections.values().map(super::Connection::waiting).sum();
        let _ = writeln!(report, "{} connections, {waiting} events wait", self.connections.len());
        report
    }

    /// Compares the accounts with the tree, and logs differences.
    fn check(&self, host: &mut impl Host) {
        for line in self.disagreements() {
            host.log(&line);
        }
    }

    /// Lists differences between the accounts and the tree: none, unless this program has a bug.
    #[must_use]
    pub fn disagreements(&self) -> Vec<String> {
        let mut counted = self.counted();
        let mut found = Vec::new();
        for (domain, account) in self.accounts.all() {
            let (nodes, memory) = counted.remove(&domain).unwrap_or_default();
            // Memory is charged for watches too.
            if nodes != account.nodes || memory > account.memory {
                found.push(format!(
                    "check: domain {domain} owns {nodes} nodes of {memory} bytes, its account says {} and {}",
                    account.nodes, account.memory
                ));
            }
        }
        found.extend(counted.keys().map(|domain| format!("check: domain {domain} owns nodes and has no account")));
        found
    }
}

/// Formats a line of the list of quotas.
fn listed(name: &str, value: u64, what: &str) -> String {
    format!("{name:<17}: {value:>8} {what}\n")
}

/// Formats the resource use of a domain.
fn taken(domain: u16, values: &[u64; 5]) -> Vec<u8> {
    let mut text = format!("Domain {domain}:\n");
    for (name, value) in ["nodes", "watches", "transactions", "outstanding", "memory"].into_iter().zip(values) {
        let _ = writeln!(text, "{name:<16}: {value:>8}");
    }
    text.push('\0');
    text.into_bytes()
}
