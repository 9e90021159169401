//! `migrate`: guests move live between two machines, each with a dom0 of its own, by Debian's xl over ssh.
//!
//! Dom0 of the first machine does it all, by the job `migrate`; here both machines are started and what it said is counted.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use xenolith_tests::console::Wait;
use xenolith_tests::places;

use super::account::{self, Said};
use super::job::{self, Board, Run};
use super::standstill::Silence;
use super::{RunArguments, page, terminal};
use crate::boot::Hypervisor;
use crate::debian::{self, ssh};

/// What both hosts do first.
const JOBS: &str = "daemons+network+ssh";

/// The most that all of it may take, in seconds: each step has a limit of its own.
const LONGEST: u64 = 14_400;

/// A host that says nothing for this long is looked after.
const SILENCE: Duration = Duration::from_secs(20);

/// What real Xen took, and how that was measured.
const RECORD: &str = "bench/xen-4.17-migration.toml";

/// What is moved and how often.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct Migrate {
    /// How often each guest goes there and back
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How many more moves of each guest are cut short: by the cable, by a host that is full, by the end of xl on either side
    #[arg(long, default_value_t = 0)]
    cuts: u32,
    /// The hypervisor of the second machine; by default that of the first one
    #[arg(long, value_enum)]
    second: Option<Hypervisor>,
    /// The guests, parted by commas: pvh, hvm
    #[arg(long, value_delimiter = ',', default_value = "pvh,hvm", value_parser = ["pvh", "hvm"])]
    guests: Vec<String>,
}

/// One way of a guest that arrived, as dom0 told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Moved {
    guest: String,
    round: u32,
    way: String,
    /// The longest time in which it answered no ping, in milliseconds.
    gap: u64,
    /// From xl's start to its end, in milliseconds.
    whole: u64,
}

impl Migrate {
    /// Does it on two machines like `arguments`, but with one CPU each. Without `check` they only come up, and the first
    /// one's console is handed over.
    ///
    /// **Errors:** something cannot be built or fetched, a machine does not start, or a guest was lost.
    pub fn command(&self, arguments: &RunArguments, check: bool) -> Result<()> {
        let arguments =
            RunArguments { cpus: 1, dom0_vcpus: Some(1), timeout: arguments.timeout.max(LONGEST), ..arguments.clone() };
        let on_second = RunArguments { hypervisor: self.second(arguments.hypervisor), ..arguments.clone() };
        // Xenolith is built where one of the two runs it.
        let ours = [&arguments, &on_second].into_iter().find(|each| each.hypervisor == Hypervisor::Xenolith);
        let made = job::prepare(ours.unwrap_or(&arguments)).map_err(job::spelled)?;
        let debian = ssh::with_ssh(&debian::device_model::with_one(&made)?)?;
        let ports = Ports { cable: page::port(None, 0)?, monitor: page::port(None, 0)? };
        let words = format!("rounds={} kinds={} cuts={}", self.rounds, self.guests.join("+"), self.cuts);
        let (jobs, end) = if check { (format!("{JOBS}+migrate"), "off") } else { (JOBS.to_owned(), "console") };
        let mut first = Run::on(&board(0, ports, &words), &arguments, &debian, &jobs, end)?;
        // The second one's card finds the first one's listening once that machine runs.
        first.machine.expect("")?;
        let mut second = Run::on(&board(1, ports, ""), &on_second, &debian, JOBS, "console")?;
        eprintln!(
            "The consoles are logged in {} and {}",
            first.machine.log().display(),
            second.machine.log().display()
        );
        if !check {
            eprintln!(
                "This is the host \"first\"; the other is \"second\": ssh second; docs/migration.md has an example."
            );
            return terminal::hand_over(&mut first.machine);
        }
        first.machine.console.show_from(0);
        let said = follow(&mut [&mut first, &mut second], [arguments.hypervisor, on_second.hypervisor], ports.monitor)?;
        let line = self.judged(&said, recorded(&self.guests)?);
        print!("{}", table(&moves(&said)));
        if self.cuts > 0 {
            println!("    {}", told_of_cuts(&said));
        }
        println!("{}", line.as_ref().unwrap_or_else(|line| line));
        if line.is_err() {
            bail!("the whole logs: {} and {}", first.machine.log().display(), second.machine.log().display());
        }
        Ok(())
    }

    /// Returns what the second machine runs beside a first one that runs `first`.
    fn second(&self, first: Hypervisor) -> Hypervisor {
        self.second.unwrap_or(first)
    }

    /// Returns the line that sums up what dom0 said; as an error if a guest was lost.
    fn judged(&self, said: &str, xen: Option<u64>) -> Result<String, String> {
        let moved = moves(said);
        let wanted = u32::try_from(self.guests.len()).unwrap_or(u32::MAX).saturating_mul(self.rounds);
        let whole = u32::try_from(moved.len() / 2).unwrap_or(u32::MAX);
        let failed: Vec<&str> =
            said.lines().filter(|line| matches!(account::step(line), Some((_, Said::Failed(_))))).collect();
        let uncut = self.cuts as usize * self.guests.len() > outcomes(said).len();
        let lost = wanted.saturating_sub(whole).max(u32::from(!failed.is_empty() || uncut));
        let xen = xen.map_or("not measured".to_owned(), |milliseconds| format!("{milliseconds} ms"));
        let downtime = median(moved.iter().map(|each| each.gap)).map_or("-".to_owned(), |gap| gap.to_string());
        let line = format!("migrate: {wanted} rounds, {lost} lost, downtime {downtime} ms (Xen: {xen})");
        if lost == 0 { Ok(line) } else { Err(format!("steps failed:\n{}\n{line}", failed.join("\n"))) }
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
    }
}

/// Waits until the first host's jobs are at their end, and returns what it said. Pulls the cable when it says so.
///
/// **Errors:** a machine ended before, its time was up, or its emulator takes no commands.
fn follow(hosts: &mut [&mut Run; 2], hypervisors: [Hypervisor; 2], monitor: u16) -> Result<String> {
    let mut silences = hypervisors.map(Silence::of);
    let mut read = 0;
    loop {
        let (wait, after) = hosts[0].machine.console.wait_for_after("", read, Instant::now() + SILENCE);
        read = after;
        match wait {
            Wait::Line(line) if line.contains("JOBS END") => return Ok(hosts[0].machine.console.text()),
            Wait::Line(line) => {
                if let Some((_, state)) = line.split_once("CABLE ") {
                    set_cable(monitor, state).context("the cable cannot be pulled")?;
                }
            }
            Wait::Closed => bail!("the first machine ended\n{}", hosts[0].machine.report()),
            Wait::TimedOut
                if hosts.iter().any(|host| host.machine.console.is_closed() || host.machine.is_overdue()) =>
            {
                let reports = hosts.iter().map(|host| host.machine.report()).collect::<Vec<_>>().join("\n");
                bail!("a machine ended or its time was up\n{reports}");
            }
            Wait::TimedOut if hypervisors == [Hypervisor::Xenolith; 2] => {}
            Wait::TimedOut => {
                hosts.iter_mut().zip(&mut silences).for_each(|(host, silence)| silence.passed(&mut host.machine));
            }
        }
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

/// Returns how each move that was cut short came out.
fn outcomes(said: &str) -> Vec<&str> {
    let read = |line: &'_ str| -> Option<usize> { line.find("CUT ") };
    said.lines().filter_map(|line| line.get(read(line)?..)?.split_whitespace().nth(4)).collect()
}

fn told_of_cuts(said: &str) -> String {
    let outcomes = outcomes(said);
    let count = |wanted: &str| outcomes.iter().filter(|&&outcome| outcome == wanted).count();
    format!(
        "{} moves cut short: {} guests stayed, {} went, {} had no xl left to go on for them, {} ran twice",
        outcomes.len(),
        count("stayed"),
        count("went"),
        count("stranded"),
        count("twice")
    )
}

/// Returns the moves that dom0 told of.
fn moves(said: &str) -> Vec<Moved> {
    let read = |line: &str| {
        let mut words = line.split_once("MOVED ")?.1.split_whitespace();
        Some(Moved {
            guest: words.next()?.to_owned(),
            round: words.next()?.parse().ok()?,
            way: words.next()?.to_owned(),
            gap: words.next()?.parse().ok()?,
            whole: words.next()?.parse().ok()?,
        })
    };
    said.lines().filter_map(read).collect()
}

fn table(moves: &[Moved]) -> String {
    let line = |moved: &Moved| {
        let Moved { guest, round, way, gap, whole } = moved;
        format!("    {guest} {round} {way:<5}  no answer for {gap:>6} ms of {whole:>7} ms\n")
    };
    moves.iter().map(line).collect()
}

/// Returns the value in the middle; of two, the lower one.
fn median(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut sorted: Vec<u64> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

/// Returns the median downtime that was recorded of these guests on real Xen, if it was of each of them.
///
/// **Errors:** the file cannot be read as what it should hold.
fn recorded(guests: &[String]) -> Result<Option<u64>> {
    let place = places::root().join(RECORD);
    if !place.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&place).with_context(|| format!("cannot read {RECORD}"))?;
    of_record(&text, guests).with_context(|| format!("{RECORD} is not as it should be"))
}

/// Returns the same of a record's text, which has a list of milliseconds for each guest.
fn of_record(text: &str, guests: &[String]) -> Result<Option<u64>> {
    let record: toml::Table = text.parse().context("it is no TOML")?;
    let mut gaps = Vec::new();
    for guest in guests {
        let Some(list) = record.get(guest) else { return Ok(None) };
        for value in list.as_array().with_context(|| format!("{guest} is no list"))? {
            let gap = value.as_integer().and_then(|gap| u64::try_from(gap).ok());
            gaps.push(gap.with_context(|| format!("{guest} holds {value:?}"))?);
        }
    }
    Ok(median(gaps.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "STEP pvh-there-1 ok 9.00\nMOVED pvh 1 there 300 9000\nMOVED pvh 1 back 500 9100\n";

    fn once(guests: &[&str]) -> Migrate {
        Migrate { rounds: 1, cuts: 0, second: None, guests: guests.iter().map(|&guest| guest.to_owned()).collect() }
    }

    #[test]
    fn a_round_that_went_there_and_back_is_counted_with_its_downtime() {
        let line = once(&["pvh"]).judged(SAID, Some(250)).unwrap();
        assert_eq!(line, "migrate: 1 rounds, 0 lost, downtime 300 ms (Xen: 250 ms)");
    }

    #[test]
    fn a_round_that_is_missing_or_a_step_that_failed_is_a_loss() {
        let missing = once(&["pvh", "hvm"]).judged(SAID, None).unwrap_err();
        assert!(missing.ends_with("migrate: 2 rounds, 1 lost, downtime 300 ms (Xen: not measured)"), "{missing}");
        let failed =
            once(&["pvh"]).judged(&format!("{SAID}STEP pvh-back-1-sound failed 1 code 1\n"), None).unwrap_err();
        assert!(failed.contains("1 lost") && failed.contains("pvh-back-1-sound"), "{failed}");
        assert!(once(&["pvh"]).judged("", None).unwrap_err().contains("1 lost, downtime - ms"));
    }

    #[test]
    fn a_cut_is_counted_by_its_outcome_and_may_not_be_missing() {
        let said = format!("{SAID}CUT 1 cable 1200 went\nCUT 2 sender 40 stranded\n");
        assert_eq!(outcomes(&said), ["went", "stranded"]);
        let told = told_of_cuts(&said);
        assert_eq!(told, "2 moves cut short: 0 guests stayed, 1 went, 1 had no xl left to go on for them, 0 ran twice");
        assert!(Migrate { cuts: 2, ..once(&["pvh"]) }.judged(&said, None).is_ok());
        assert!(Migrate { cuts: 3, ..once(&["pvh"]) }.judged(&said, None).is_err());
    }

    #[test]
    fn the_hosts_are_apart_but_on_one_cable() {
        let ports = Ports { cable: 77, monitor: 78 };
        let words = [0, 1].map(|index| board(index, ports, "").devices.join(" "));
        assert!(words[0].contains("server=on") && words[1].contains("server=off"), "{words:?}");
        assert!(words.iter().all(|word| word.contains("addr.port=77")));
        assert!(words[0].contains("mac=52:54:00:00:00:01") && words[1].contains("mac=52:54:00:00:00:02"));
    }

    #[test]
    fn the_recording_is_that_of_the_guests_that_are_moved() {
        let guests = once(&["pvh", "hvm"]).guests;
        let text = "taken = \"once\"\npvh = [30, 10]\nhvm = [40, 20]\n";
        assert_eq!(of_record(text, &guests).unwrap(), Some(20));
        assert_eq!(of_record(text, &guests[..1]).unwrap(), Some(10));
        assert_eq!(of_record("pvh = [30, 10]", &guests).unwrap(), None);
        assert!(of_record("pvh = 5", &guests).is_err());
    }

    #[test]
    fn the_recording_that_is_kept_can_be_read() {
        recorded(&once(&["pvh", "hvm"]).guests).unwrap();
    }
}
