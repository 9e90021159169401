//! `cargo xtask bench --control --store`: what a request takes of the daemon's processor time beside 10 to
//! 2000 domains, of Debian's C program, Debian's OCaml program and ours, each in a dom0 of its own, on a machine whose clock
//! counts instructions.
//!
//! What the program that asks takes, and the kernel for it, is the same beside each of them and is not counted.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};
use xenolith_tests::places;

use super::table::aligned;
use crate::progress::Step;
use crate::run;

const JOBS: &str = "daemons+store-cost";
/// The machine: one CPU, time by instructions, and room for the domains.
const WORDS: [&str; 8] = ["--no-build", "--cpus", "1", "--steady", "--memory", "4096", "--xenstored", "ours"];
/// The programs, by the names that they have in dom0 and in the table.
const DAEMONS: [(&str, &str); 3] = [("xenstored-debian", "C"), ("oxenstored", "OCaml"), ("xenstored", "ours")];
const OURS: &str = "ours";
const DEBIANS: &str = "xenstored-debian";
const CEILINGS: &str = "bench/control-store.toml";
/// The numbers of domains between which the cost may hardly grow.
const FEW: u32 = 10;
const MANY: u32 = 2000;

/// Instructions by what was asked, the daemon, and the number of domains.
type Costs = BTreeMap<(String, String, u32), u64>;

/// A kind of ratio: the daemon and the number of domains above the line, and below it.
struct Kind {
    name: &'static str,
    shown: &'static str,
    above: (&'static str, u32),
    below: (&'static str, u32),
}

/// The kinds, by the names that the file of ceilings has for them.
const KINDS: [Kind; 3] = [
    Kind {
        name: "grows",
        shown: "ours beside 2000 domains, of ours beside 10",
        above: (OURS, MANY),
        below: (OURS, FEW),
    },
    Kind {
        name: "of-c-at-10",
        shown: "ours of Debian's C program, beside 10 domains",
        above: (OURS, FEW),
        below: (DEBIANS, FEW),
    },
    Kind {
        name: "of-c-at-1000",
        shown: "ours of Debian's C program, beside 1000 domains",
        above: (OURS, 1000),
        below: (DEBIANS, 1000),
    },
];

/// What each ratio may be at most, by kind and by what was asked.
type Ceilings = BTreeMap<String, BTreeMap<String, f64>>;

/// Runs the job with each daemon and prints the table; the last line tells how many ratios missed their ceilings.
///
/// **Errors:** the job did not come to its end, a ratio is above its ceiling or has none.
pub fn command() -> Result<()> {
    let mut costs = Costs::new();
    for (program, shown) in DAEMONS {
        let step = Step::begin(format!("measuring: requests to xenstore, {shown}"));
        let timed = run::timed_with_words(&WORDS, JOBS, &format!("xenstored={program}"));
        step.end(if timed.is_ok() { "done" } else { "failed" });
        costs.extend(read(&timed?.console));
    }
    let ceilings = ceilings()?;
    println!("{}", table(&costs));
    let (rows, missed) = judged(&costs, &ceilings);
    rows.iter().for_each(|row| println!("{row}"));
    let last = format!("control: store: {} ratios, {missed} missed", rows.len());
    if missed > 0 {
        bail!("{last}");
    }
    println!("{last}");
    Ok(())
}

fn ceilings() -> Result<Ceilings> {
    let place = places::root().join(CEILINGS);
    let text = fs::read_to_string(&place).with_context(|| format!("cannot read {}", place.display()))?;
    let ceilings: Ceilings = toml::from_str(&text).with_context(|| format!("{CEILINGS} is no list of ratios"))?;
    match ceilings.keys().find(|name| KINDS.iter().all(|kind| kind.name != **name)) {
        Some(unknown) => bail!("{CEILINGS} has a section {unknown:?}, which there is not"),
        None => Ok(ceilings),
    }
}

/// Reads the lines `STORE what daemon domains nanoseconds` of a console.
fn read(console: &str) -> Costs {
    let one = |line: &str| {
        let (_, said) = line.split_once("| STORE ")?;
        let [what, daemon, domains, taken] = said.split_whitespace().collect::<Vec<_>>()[..] else { return None };
        Some(((what.to_owned(), daemon.to_owned(), domains.parse().ok()?), taken.parse().ok()?))
    };
    console.lines().filter_map(one).collect()
}

/// Returns a line for each ratio that has a ceiling, and how many were missed.
fn judged(costs: &Costs, ceilings: &Ceilings) -> (Vec<String>, usize) {
    let (mut rows, mut missed) = (Vec::new(), 0);
    for Kind { name, shown, above, below } in KINDS {
        let of = |what: &str, (daemon, domains): (&str, u32)| {
            costs.get(&(what.to_owned(), daemon.to_owned(), domains)).map(|&cost| cost as f64)
        };
        for (what, most) in ceilings.get(name).into_iter().flatten() {
            let ratio = of(what, above).zip(of(what, below)).map(|(above, below)| above / below);
            let is_met = ratio.is_some_and(|ratio| ratio <= *most);
            missed += usize::from(!is_met);
            let found = ratio.map_or_else(|| "not measured".into(), |ratio| format!("{ratio:.3}"));
            let verdict = if is_met { "" } else { "missed: " };
            rows.push(format!("{verdict}{what}, {shown}: {found}, at most {most:.3}"));
        }
    }
    (rows, missed)
}

fn table(costs: &Costs) -> String {
    let counts: std::collections::BTreeSet<u32> = costs.keys().map(|(.., domains)| *domains).collect();
    let whats: std::collections::BTreeSet<&String> = costs.keys().map(|(what, ..)| what).collect();
    let head = ["instructions of the daemon".to_owned(), "program".to_owned()];
    let head = head.into_iter().chain(counts.iter().map(|count| format!("{count} domains"))).collect();
    let line = |what: &str, program: &str, shown: &str| {
        let cell = |domains: &u32| {
            let key = (what.to_owned(), if shown == OURS { OURS } else { program }.to_owned(), *domains);
            costs.get(&key).map_or_else(String::new, |cost| format!("~{cost}"))
        };
        [what.to_owned(), shown.to_owned()].into_iter().chain(counts.iter().map(cell)).collect::<Vec<_>>()
    };
    let lines =
        whats.iter().flat_map(|what| DAEMONS.iter().map(move |(program, shown)| (what.as_str(), *program, *shown)));
    let lines = lines.map(|(what, program, shown)| line(what, program, shown));
    aligned(&std::iter::once(head).chain(lines).collect::<Vec<Vec<String>>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "(XEN) | STORE read xenstored-debian 10 20000\r\n| STORE read ours 10 8000\n| STORE read ours 2000 9000\n\
                        | STORE read ours 1000 8500\n| STORE read xenstored-debian 1000 90000\n| STORE read ours many 1";

    fn ceilings(grows: f64) -> Ceilings {
        let of = |name: &str, most| (name.to_owned(), BTreeMap::from([("read".to_owned(), most)]));
        BTreeMap::from([of("grows", grows), of("of-c-at-10", 0.5), of("of-c-at-1000", 0.2)])
    }

    #[test]
    fn each_ratio_is_held_to_its_ceiling() {
        let costs = read(SAID);
        assert_eq!(costs.len(), 5);
        let (rows, missed) = judged(&costs, &ceilings(1.2));
        assert_eq!((rows.len(), missed), (3, 0));
        assert_eq!(judged(&costs, &ceilings(1.1)).1, 1);
    }

    #[test]
    fn what_was_not_measured_is_missed() {
        assert_eq!(judged(&Costs::new(), &ceilings(1.2)).1, 3);
    }

    #[test]
    fn the_ceilings_of_the_tree_are_read() {
        assert_eq!(super::ceilings().unwrap().len(), KINDS.len());
    }
}
