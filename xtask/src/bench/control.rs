//! `cargo xtask bench --control`: what `xl` and our own program take to make, change and end a domain, in one dom0, on a
//! machine whose clock counts instructions: all of dom0's, the hypervisor's and the daemons' from the start of the command
//! to its end. The clock goes on while the only CPU is idle, so that time is told apart, as far as dom0's kernel knows it:
//! in hundredths of a second.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use xenolith_tests::places;

use super::table::aligned;
use crate::progress::Step;
use crate::run;

/// The jobs of dom0 that tell the figures.
const JOBS: &str = "daemons+own-control";
/// The machine: one CPU, and time by instructions.
const WORDS: [&str; 4] = ["--no-build", "--cpus", "1", "--steady"];
/// What each row may take at most of what `xl` takes.
const CEILINGS: &str = "bench/control.toml";
const PER_MICROSECOND: u64 = 1000;

/// What one side took, in instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    /// What was executed.
    busy: u64,
    /// What the clock went on by while nothing was.
    idle: u64,
}

/// The least that a row took on each side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Row {
    xl: Option<Taken>,
    ours: Option<Taken>,
}

impl Row {
    /// Returns what ours executed, as a part of what xl did.
    fn ratio(&self) -> Option<f64> {
        let (xl, ours) = (self.xl?.busy, self.ours?.busy);
        (xl > 0).then(|| ours as f64 / xl as f64)
    }
}

/// Runs the jobs and prints the table; the last line tells how many rows missed their ceilings.
///
/// **Errors:** the jobs did not come to their end, a row is above its ceiling or has none.
pub fn command() -> Result<()> {
    let step = Step::begin("measuring: xl and our own program in one dom0");
    let timed = run::timed_with_programs(&WORDS, JOBS, "");
    step.end(if timed.is_ok() { "done" } else { "failed" });
    let rows = read(&timed?.console);
    if rows.is_empty() {
        bail!("dom0 told no figures; see the log in {}", places::logs().display());
    }
    let ceilings = ceilings(&places::root().join(CEILINGS))?;
    println!("{}", table(&rows, &ceilings));
    let missed = missed(&rows, &ceilings);
    missed.iter().for_each(|row| println!("missed: {row}"));
    let last = format!("control: {} rows, {} missed", rows.len(), missed.len());
    if missed.is_empty() {
        println!("{last}");
        return Ok(());
    }
    bail!("{last}")
}

/// Reads the lines `CONTROL name xl|ours microseconds idle` of a console; of several for one the least counts.
fn read(console: &str) -> BTreeMap<String, Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for line in console.lines() {
        let Some((_, said)) = line.split_once("| CONTROL ") else { continue };
        let [name, who, took, idle] = said.split_whitespace().collect::<Vec<_>>()[..] else { continue };
        let instructions = |text: &str| text.parse::<u64>().ok().map(|us| us.saturating_mul(PER_MICROSECOND));
        let (Some(took), Some(idle)) = (instructions(took), instructions(idle)) else { continue };
        let row = rows.entry(name.to_owned()).or_default();
        let cell = match who {
            "xl" => &mut row.xl,
            "ours" => &mut row.ours,
            _ => continue,
        };
        // A hundredth may have begun before.
        let idle = idle.min(took);
        let taken = Taken { busy: took.saturating_sub(idle), idle };
        *cell = Some(cell.filter(|before| before.busy <= taken.busy).unwrap_or(taken));
    }
    rows
}

fn ceilings(place: &Path) -> Result<BTreeMap<String, f64>> {
    let text = fs::read_to_string(place).with_context(|| format!("cannot read {}", place.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is no list of ratios", place.display()))
}

/// Returns the rows that took more than they may, or of which half a figure or the ceiling is missing.
fn missed(rows: &BTreeMap<String, Row>, ceilings: &BTreeMap<String, f64>) -> Vec<String> {
    let measured = rows.iter().filter_map(|(name, row)| match (row.ratio(), ceilings.get(name)) {
        (Some(ratio), Some(most)) if ratio <= *most => None,
        (Some(ratio), Some(most)) => Some(format!("{name} took {ratio:.3} of what xl takes, and may take {most:.3}")),
        (None, _) => Some(format!("{name} was not taken on both sides")),
        (Some(_), None) => Some(format!("{name} has no ceiling in {CEILINGS}")),
    });
    let absent = ceilings.keys().filter(|name| !rows.contains_key(*name));
    measured.chain(absent.map(|name| format!("{name} was not taken at all"))).collect()
}

fn table(rows: &BTreeMap<String, Row>, ceilings: &BTreeMap<String, f64>) -> String {
    let cells = |taken: Option<Taken>| {
        let cell =
            |count: fn(&Taken) -> u64| taken.as_ref().map_or_else(String::new, |taken| format!("~{}", count(taken)));
        [cell(|taken| taken.busy), cell(|taken| taken.idle)]
    };
    let head = ["instructions", "xl", "idle", "ours", "idle", "ratio", "at most"].map(str::to_owned).to_vec();
    let lines = rows.iter().map(|(name, row)| {
        let ratio = row.ratio().map_or_else(String::new, |ratio| format!("{ratio:.3}"));
        let most = ceilings.get(name).map_or_else(String::new, |most| format!("{most:.3}"));
        let sides = [row.xl, row.ours].into_iter().flat_map(cells);
        std::iter::once(name.clone()).chain(sides).chain([ratio, most]).collect()
    });
    aligned(&std::iter::once(head).chain(lines).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "(XEN) | CONTROL list xl 900 0\r\n| CONTROL list ours 300 10\n| CONTROL list xl 850 50\n\
                        | CONTROL pause xl 10 99\nxl| CONTROL x\n| CONTROL list others 5 0\n| CONTROL list xl five 0";

    #[test]
    fn the_least_that_was_executed_on_each_side_counts() {
        let rows = read(SAID);
        let taken = |busy, idle| Some(Taken { busy, idle });
        assert_eq!(rows["list"], Row { xl: taken(800_000, 50_000), ours: taken(290_000, 10_000) });
        assert_eq!(rows["pause"], Row { xl: taken(0, 10_000), ours: None });
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn a_row_that_takes_more_or_is_not_taken_or_has_no_ceiling_is_missed() {
        let rows = |said: &str| read(said);
        let most = |list: &[(&str, f64)]| list.iter().map(|(name, most)| ((*name).to_owned(), *most)).collect();
        let list = "| CONTROL list xl 1000 0\n| CONTROL list ours 600 100";
        assert!(missed(&rows(list), &most(&[("list", 0.5)])).is_empty());
        assert_eq!(
            missed(&rows(list), &most(&[("list", 0.4)])),
            ["list took 0.500 of what xl takes, and may take 0.400"]
        );
        assert_eq!(missed(&rows(list), &most(&[])), ["list has no ceiling in bench/control.toml"]);
        assert_eq!(missed(&rows(list), &most(&[("list", 0.5), ("pause", 1.0)])), ["pause was not taken at all"]);
        let half = rows("| CONTROL list xl 1 0");
        assert_eq!(missed(&half, &most(&[("list", 1.0)])), ["list was not taken on both sides"]);
    }

    #[test]
    fn the_ceilings_of_the_tree_are_read() {
        assert!(!ceilings(&places::root().join(CEILINGS)).unwrap().is_empty());
    }
}
