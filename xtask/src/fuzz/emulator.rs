//! `cargo xtask fuzz emulator`: the hypervisor's emulation of instructions beside the emulator's own execution of them.
//!
//! The dice kernel (`guest/dice_kernel`) does it, as domain 0 of an emulated machine; as many machines run as there are
//! CPUs, each with cases of its own.

use std::num::NonZeroUsize;
use std::ops::Add;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use xenolith_tests::places;

use super::FuzzArguments;
use crate::boot::{self, BootArguments, Hypervisor};
use crate::build::{self, BuildArguments};

/// The target's name.
pub const NAME: &str = "emulator";

/// What the hypervisor is told: no line for an instruction that it refuses.
const OPTIONS: &str = "dom0=pvh dom0-iommu=none dom0_mem=256M dom0_max_vcpus=1 guest_loglvl=none";
/// The processor, with all instructions that are tried.
const CPU: &str = "qemu64,+svm,+npt,+movbe,+popcnt,+abm,+bmi1,+fsgsbase";
/// How far apart the cases of two machines begin.
const APART: u64 = 1 << 40;
/// The kernel says every few seconds how far it is: one that is silent for longer is lost.
const SILENCE: u64 = 120;
/// How long a machine takes to boot, in seconds, and how few cases one does in a second.
const BOOT: u64 = 120;
const FEWEST: u64 = 100;

/// What the dice kernel found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Found {
    cases: u64,
    differ: u64,
    /// Lines about differences.
    lines: Vec<String>,
    /// How often a form was refused that may be.
    refused: Vec<(String, u64)>,
    ended: bool,
}

impl Found {
    /// Reads a console.
    fn read(console: &str) -> Self {
        let mut found = Self::default();
        for line in console.lines().map(str::trim_end) {
            if let Some(end) = after(line, "DICE END ") {
                let mut numbers = end.split_whitespace().filter_map(|word| word.parse().ok());
                (found.cases, found.differ) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
                found.ended = true;
            } else if let Some(refused) = after(line, "REFUSED ") {
                let (name, count) = refused.rsplit_once(": ").unwrap_or((refused, ""));
                found.refused.push((name.to_owned(), count.parse().unwrap_or(0)));
            } else if ["DIFFERS ", "STRAY ", "BAD ", "PANIC ", "DICE FAILED"].iter().any(|mark| line.contains(mark)) {
                found.lines.push(line.to_owned());
            }
        }
        found
    }

    /// Returns true if all went well.
    const fn is_good(&self) -> bool {
        self.ended && self.lines.is_empty() && self.differ == 0 && self.cases != 0
    }
}

impl Add for Found {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        for (name, count) in other.refused {
            match self.refused.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += count,
                None => self.refused.push((name, count)),
            }
        }
        Self {
            cases: self.cases + other.cases,
            differ: self.differ + other.differ,
            lines: [self.lines, other.lines].concat(),
            refused: self.refused,
            ended: self.ended && other.ended,
        }
    }
}

fn after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.split_once(mark).map(|(_, rest)| rest)
}

/// Runs the cases.
///
/// **Errors:** something differs (the lines say how to run it alone), or a machine did not come to its end.
pub fn command(arguments: &FuzzArguments) -> Result<()> {
    if !arguments.no_build {
        build::command(BuildArguments::default())?;
    }
    let seed =
        arguments.seed.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |now| now.as_secs()));
    println!("seed {seed}");
    let machines = match arguments.case {
        Some(_) => 1,
        None => thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64,
    };
    let share = |machine: u64| match (arguments.case, arguments.cases) {
        (Some(case), _) => (case, Some(1)),
        (None, cases) => {
            (machine * APART, cases.map(|cases| cases * (machine + 1) / machines - cases * machine / machines))
        }
    };
    let run = |machine: u64| {
        let (first, cases) = share(machine);
        one_machine(arguments, machine, seed, first, cases)
    };
    let found = thread::scope(|scope| {
        let workers: Vec<_> = (0..machines).map(|machine| scope.spawn(move || run(machine))).collect();
        let found =
            workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| bail!("a machine's watcher panicked")));
        found.collect::<Result<Vec<_>>>()
    })?;
    let found = found.into_iter().reduce(Add::add).unwrap_or_default();
    for (name, count) in &found.refused {
        println!("not emulated: {name} ({count})");
    }
    println!("{NAME}: {} cases, {} differ", found.cases, found.differ);
    if !found.is_good() {
        bail!("instructions differ between RAM and a device's memory, or a machine did not come to its end");
    }
    Ok(())
}

/// Runs the cases of one machine, and prints what differs.
fn one_machine(arguments: &FuzzArguments, machine: u64, seed: u64, first: u64, cases: Option<u64>) -> Result<Found> {
    let seconds = if cases.is_some() { u64::from(u32::MAX) } else { arguments.seconds };
    let mut words = format!("seed={seed} first={first} seconds={seconds}");
    if let Some(cases) = cases {
        words.push_str(&format!(" cases={cases}"));
    }
    for word in &arguments.words {
        words.push_str(&format!(" {word}"));
    }
    let machine_arguments = BootArguments {
        dom0: Some(places::images().join("dice-kernel")),
        cmdline: words,
        options: OPTIONS.into(),
        cpu: Some(CPU.into()),
        until: Some("DICE END".into()),
        timeout: BOOT + cases.map_or(seconds, |cases| cases / FEWEST),
        silence: Some(SILENCE),
        cpus: 1,
        memory: 1024,
        ..BootArguments::new(Hypervisor::Xenolith)
    };
    let (ending, machine) = boot::boot(&machine_arguments, &format!("dice-{machine}"))?;
    let found = Found::read(&machine.console.text());
    found.lines.iter().for_each(|line| println!("{line}"));
    if !found.ended {
        bail!("the dice kernel did not come to its end: {ending}\n{}", machine.report());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_read_among_other_lines() {
        let console = "(XEN) boot\nDICE 5 cases, 0 differ\nDIFFERS --seed 1 --case 7: ADD m,r bits=64\nREFUSED MUL m: 12\n\
                       DICE END 4096 cases, 1 differ, 2 s\n";
        let found = Found::read(console);
        assert_eq!((found.cases, found.differ, found.ended), (4096, 1, true));
        assert_eq!(found.lines, ["DIFFERS --seed 1 --case 7: ADD m,r bits=64"]);
        assert_eq!(found.refused, [("MUL m".to_owned(), 12)]);
        assert!(!found.is_good());
    }

    #[test]
    fn a_run_without_an_end_or_without_cases_is_not_good() {
        assert!(!Found::read("DICE 4096 cases, 0 differ\n").is_good());
        assert!(!Found::read("DICE END 0 cases, 0 differ, 0 s\n").is_good());
        assert!(!Found::read("STRAY --seed 1\nDICE END 9 cases, 0 differ, 0 s\n").is_good());
        assert!(Found::read("DICE END 9 cases, 0 differ, 0 s\n").is_good());
    }

    #[test]
    fn what_two_machines_found_is_added() {
        let one = Found::read("REFUSED a: 1\nDICE END 2 cases, 0 differ, 0 s\n");
        let other = Found::read("REFUSED a: 2\nREFUSED b: 3\nDICE END 4 cases, 0 differ, 0 s\n");
        let both = one + other;
        assert_eq!((both.cases, both.refused), (6, vec![("a".into(), 3), ("b".into(), 3)]));
    }
}
