//! `migrate`: guests move between two machines, each with a dom0 of its own, by Debian's xl over ssh.
//!
//! Dom0 of the first machine does it all, by the job `migrate`; here both machines are started and what it said is counted.

mod record;
mod told;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use xenolith_tests::console::Wait;

use super::job::{self, Board, Run};
use super::standstill::Silence;
use super::{RunArguments, page, terminal};
use crate::boot::Hypervisor;
use crate::debian::{self, Debian, network_disc, ssh};
use told::{Figures, Told};

/// What both hosts do first.
const JOBS: &str = "daemons+network+ssh+nbd";

/// The most that all of it may take, in seconds: each step has a limit of its own.
const LONGEST: u64 = 14_400;

/// A host that says nothing for this long is looked after.
const SILENCE: Duration = Duration::from_secs(20);

/// What is moved and how often.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Migrate {
    /// How often each guest goes there and back
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many more moves of each guest are cut short: by the cable, by a host that is full, by the end of xl on either side
    #[arg(long, default_value_t = 0)]
    cuts: u32,
    /// How often each guest is saved on one host and restored on the other, there and back
    #[arg(long, default_value_t = 0)]
    saves: u32,
    /// Afterwards move the same guests as often between two machines with Xen: the last line has its figures then instead of
    /// those on record
    #[arg(long)]
    beside_xen: bool,
    /// The hypervisor of the second machine; by default that of the first one
    #[arg(long, value_enum)]
    second: Option<Hypervisor>,
    /// The processor of the second machine, by QEMU's name for it: one that lacks what the first one has. Then each guest is
    /// moved there once, and may end up on either side, but on one alone
    #[arg(long, value_name = "MODEL")]
    second_cpu: Option<String>,
    /// The guests, parted by commas: pvh, hvm
    #[arg(long, value_delimiter = ',', default_value = "pvh,hvm", value_parser = ["pvh", "hvm"])]
    guests: Vec<String>,
}

impl Migrate {
    /// Does it on two machines like `arguments`, but with one CPU each. Without `check` they only come up, and the first
    /// one's console is handed over.
    ///
    /// **Errors:** something cannot be built or fetched, a machine does not start, or a guest was lost.
    pub fn command(&self, arguments: &RunArguments, check: bool) -> Result<()> {
        if self.second_cpu.is_some() && (self.rounds, self.cuts) != (0, 1) {
            let one = Self { rounds: 0, saves: 0, cuts: 1, beside_xen: false, ..self.clone() };
            return one.command(arguments, check);
        }
        let first =
            RunArguments { cpus: 1, dom0_vcpus: Some(1), timeout: arguments.timeout.max(LONGEST), ..arguments.clone() };
        let second = RunArguments { hypervisor: self.second.unwrap_or(first.hypervisor), ..first.clone() };
        let pair = [&first, &second];
        if self.beside_xen && pair.iter().all(|each| each.hypervisor == Hypervisor::Xen) {
            bail!("--beside-xen is of no use where both machines run Xen");
        }
        // Xenolith is built where one of the two runs it.
        let ours = pair.into_iter().find(|each| each.hypervisor == Hypervisor::Xenolith);
        let made = job::prepare(ours.unwrap_or(&first)).map_err(job::spelled)?;
        let debian = network_disc::with_one(&ssh::with_ssh(&debian::device_model::with_one(&made)?)?)?;
        let mut hosts = Hosts::start(pair, &debian, check.then_some(self), self.second_cpu.clone())?;
        if !check {
            eprintln!(
                "This is the host \"first\"; the other is \"second\": ssh second; docs/migration.md has an example."
            );
            return terminal::hand_over(&mut hosts.first.machine);
        }
        let said = hosts.follow()?;
        let logs = hosts.logs();
        drop(hosts);
        let told = Told::of(&said);
        print!("{}", told.table());
        let xen = if self.beside_xen { Some(self.on_xen(&first, &debian)?) } else { record::of(&self.guests)? };
        let line = self.judged(&told, xen);
        println!("{}", line.as_ref().unwrap_or_else(|line| line));
        if line.is_err() {
            bail!("the whole logs: {logs}");
        }
        Ok(())
    }

    /// Moves the same guests as often between two machines with Xen, and returns what that took.
    fn on_xen(&self, arguments: &RunArguments, debian: &Debian) -> Result<Figures> {
        println!("The same on Xen:");
        let moves_alone = Self { saves: 0, cuts: 0, ..self.clone() };
        let xen = RunArguments { hypervisor: Hypervisor::Xen, dom0: None, ..arguments.clone() };
        let mut hosts = Hosts::start([&xen, &xen], debian, Some(&moves_alone), None)?;
        let told = Told::of(&hosts.follow()?);
        print!("{}", told.table());
        Ok(told.figures())
    }

    /// Returns the lines that sum up what dom0 said; as an error if a guest was lost.
    fn judged(&self, told: &Told, xen: Option<Figures>) -> Result<String, String> {
        let guests = u32::try_from(self.guests.len()).unwrap_or(u32::MAX);
        let [wanted, saves, cuts] = [self.rounds, self.saves, self.cuts].map(|each| guests.saturating_mul(each));
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let missing = wanted.saturating_sub(count(told.moves.len() / 2));
        let short = saves > count(told.saves.len() / 2) || cuts > count(told.cuts.len());
        let lost = missing.max(u32::from(!told.failed.is_empty() || short));
        let shown = |value: Option<u64>, unit: &str, without: &str| {
            value.map_or(without.to_owned(), |value| format!("{value}{unit}"))
        };
        let here = told.figures();
        let on_xen =
            |value: fn(&Figures) -> Option<u64>, unit| shown(xen.as_ref().and_then(value), unit, "not measured");
        let sent = format!(
            "    sent {} MiB a move (Xen: {})",
            shown(here.mebibytes(), "", "-"),
            on_xen(Figures::mebibytes, " MiB")
        );
        let downtime = shown(here.downtime, "", "-");
        let xens = on_xen(|figures| figures.downtime, " ms");
        let line = format!("{sent}\nmigrate: {wanted} rounds, {lost} lost, downtime {downtime} ms (Xen: {xens})");
        if lost == 0 { Ok(line) } else { Err(format!("steps failed:\n{}\n{line}", told.failed.join("\n"))) }
    }

    /// The words by which dom0 knows what to do.
    fn words(&self) -> String {
        let Self { rounds, saves, cuts, .. } = self;
        let how = if self.second_cpu.is_some() { " how=processor" } else { "" };
        format!("rounds={rounds} saves={saves} cuts={cuts} kinds={}{how}", self.guests.join("+"))
    }
}

/// Two machines on one cable.
struct Hosts {
    first: Run,
    second: Run,
    hypervisors: [Hypervisor; 2],
    monitor: u16,
}

impl Hosts {
    /// Starts them; with `moves` the first one's dom0 does them, else both come up and wait. The second one has the processor
    /// `cpu`, if one is named.
    fn start(pair: [&RunArguments; 2], debian: &Debian, moves: Option<&Migrate>, cpu: Option<String>) -> Result<Self> {
        let ports = Ports { cable: page::port(None, 0)?, monitor: page::port(None, 0)? };
        let (jobs, end) =
            if moves.is_some() { (format!("{JOBS}+migrate"), "off") } else { (JOBS.to_owned(), "console") };
        let words = moves.map(Migrate::words).unwrap_or_default();
        let mut first = Run::on(&board(0, ports, &words), pair[0], debian, &jobs, end)?;
        // The second one's card finds the first one's listening once that machine runs.
        first.machine.expect("")?;
        let board = Board { cpu, ..board(1, ports, "") };
        let second = Run::on(&board, pair[1], debian, JOBS, "console")?;
        let hosts = Self { first, second, hypervisors: pair.map(|each| each.hypervisor), monitor: ports.monitor };
        eprintln!("The consoles are logged in {}", hosts.logs());
        Ok(hosts)
    }

    fn logs(&self) -> String {
        format!("{} and {}", self.first.machine.log().display(), self.second.machine.log().display())
    }

    /// Shows what the first one says until its jobs are at their end, and returns it. Pulls the cable when it says so.
    ///
    /// **Errors:** a machine ended before, its time was up, or its emulator takes no commands.
    fn follow(&mut self) -> Result<String> {
        self.first.machine.console.show_from(0);
        let mut silences = self.hypervisors.map(Silence::of);
        let mut read = 0;
        loop {
            let console = &self.first.machine.console;
            let (wait, after) = console.wait_for_after("", read, Instant::now() + SILENCE);
            read = after;
            match wait {
                Wait::Line(line) if line.contains("JOBS END") => return Ok(console.text()),
                Wait::Line(line) => {
                    if let Some((_, state)) = line.split_once("CABLE ") {
                        set_cable(self.monitor, state).context("the cable cannot be pulled")?;
                    }
                }
                Wait::Closed => bail!("the first machine ended\n{}", self.first.machine.report()),
                Wait::TimedOut => {
                    let mut each = [&mut self.first, &mut self.second];
                    if each.iter().any(|host| host.machine.console.is_closed() || host.machine.is_overdue()) {
                        let reports = each.map(|host| host.machine.report()).join("\n");
                        bail!("a machine ended or its time was up\n{reports}");
                    }
                    for ((host, silence), hypervisor) in each.iter_mut().zip(&mut silences).zip(self.hypervisors) {
                        if hypervisor == Hypervisor::Xen {
                            silence.passed(&mut host.machine);
                        }
                    }
                }
            }
        }
    }
}

/// Ports of this machine's loopback: where the first host's card finds the other's, and where its emulator takes commands.
#[derive(Clone, Copy)]
struct Ports {
    cable: u16,
    monitor: u16,
}

/// Returns the board of host `index`: a card whose cable leads to the other's.
fn board(index: usize, ports: Ports, words: &str) -> Board {
    let Ports { cable, monitor } = ports;
    let (name, address) = ssh::HOSTS.get(index).copied().unwrap_or_default();
    let server = if index == 0 { "on" } else { "off" };
    let mut devices = vec![
        "-netdev".to_owned(),
        format!("stream,id=cable,server={server},addr.type=inet,addr.host=127.0.0.1,addr.port={cable}"),
        "-device".to_owned(),
        format!("e1000e,netdev=cable,mac=52:54:00:00:00:0{}", index + 1),
    ];
    if index == 0 {
        let socket = format!("socket,id=monitor,host=127.0.0.1,port={monitor},server=on,wait=off");
        let words = ["-chardev", &socket, "-mon", "chardev=monitor,mode=readline"];
        devices.extend(words.map(str::to_owned));
    }
    Board {
        name: if index == 0 { "migrate-first" } else { "migrate-second" },
        devices,
        words: format!("host={name} address={address} {words}").trim_end().to_owned(),
        restarts: false,
        cpu: None,
    }
}

/// Plugs the cable in or pulls it: `state` is on or off.
fn set_cable(monitor: u16, state: &str) -> Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, monitor)).context("the monitor does not answer")?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).context("no limit can be set")?;
    let command = format!("set_link cable {}\n", state.trim());
    stream.write_all(command.as_bytes()).context("the monitor takes no command")?;
    // It is done once the monitor asks for the next command: its second prompt.
    let mut said = String::new();
    let mut piece = [0; 256];
    while said.matches("(qemu)").count() < 2 {
        let count = stream.read(&mut piece).context("the monitor says nothing")?;
        anyhow::ensure!(count > 0, "the monitor has gone");
        said.push_str(&String::from_utf8_lossy(piece.get(..count).unwrap_or_default()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str =
        "STEP pvh-there-1 ok 9.00\nMOVED pvh 1 there 300 9000 2097152\nMOVED pvh 1 back 500 9100 4194304\n";
    const XEN: Figures = Figures { downtime: Some(250), sent: None };

    fn once(guests: &[&str]) -> Migrate {
        let guests = guests.iter().map(|&guest| guest.to_owned()).collect();
        Migrate { rounds: 1, cuts: 0, saves: 0, beside_xen: false, second: None, second_cpu: None, guests }
    }

    fn judged(wanted: &Migrate, said: &str, xen: Option<Figures>) -> Result<String, String> {
        wanted.judged(&Told::of(said), xen)
    }

    #[test]
    fn a_round_that_went_there_and_back_is_counted_with_its_downtime_and_bytes() {
        let lines = judged(&once(&["pvh"]), SAID, Some(XEN)).unwrap();
        let wanted = "    sent 2 MiB a move (Xen: not measured)\n\
                      migrate: 1 rounds, 0 lost, downtime 300 ms (Xen: 250 ms)";
        assert_eq!(lines, wanted);
    }

    #[test]
    fn a_round_that_is_missing_or_a_step_that_failed_is_a_loss() {
        let missing = judged(&once(&["pvh", "hvm"]), SAID, None).unwrap_err();
        assert!(missing.ends_with("migrate: 2 rounds, 1 lost, downtime 300 ms (Xen: not measured)"), "{missing}");
        let failed = format!("{SAID}STEP pvh-back-1-sound failed 1 code 1\n");
        let failed = judged(&once(&["pvh"]), &failed, None).unwrap_err();
        assert!(failed.contains("1 lost") && failed.contains("pvh-back-1-sound"), "{failed}");
        assert!(judged(&once(&["pvh"]), "", None).unwrap_err().contains("1 lost, downtime - ms"));
    }

    #[test]
    fn a_cut_or_a_save_may_not_be_missing() {
        let said = format!("{SAID}CUT 1 cable 1200 went\nCUT 2 sender 40 stranded\n");
        assert!(judged(&Migrate { cuts: 2, ..once(&["pvh"]) }, &said, None).is_ok());
        assert!(judged(&Migrate { cuts: 3, ..once(&["pvh"]) }, &said, None).is_err());
        let said = format!("{SAID}SAVED pvh 1 there 9000 100\nSAVED pvh 1 back 9000 100\n");
        assert!(judged(&Migrate { saves: 1, ..once(&["pvh"]) }, &said, None).is_ok());
        assert!(judged(&Migrate { saves: 2, ..once(&["pvh"]) }, &said, None).is_err());
    }

    #[test]
    fn the_hosts_are_apart_but_on_one_cable() {
        let ports = Ports { cable: 77, monitor: 78 };
        let words = [0, 1].map(|index| board(index, ports, "").devices.join(" "));
        assert!(words[0].contains("server=on") && words[1].contains("server=off"), "{words:?}");
        assert!(words.iter().all(|word| word.contains("addr.port=77")));
        assert!(words[0].contains("mac=52:54:00:00:00:01") && words[1].contains("mac=52:54:00:00:00:02"));
    }
}
