//! The rows of `cargo xtask bench --control --many` about many domains: what one more takes when there are none, 99, 999 and 1999
//! others, in instructions of dom0 and the hypervisor together.
//!
//! The clock of the machine counts all that is executed from the start of a create to the first instruction of the new domain,
//! and from the start of a destroy to its end. Of that, "own" is what the program itself took, in dom0's kernel and in the
//! hypervisor too; the rest are the daemons.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use xenolith_tests::places;

use super::table::aligned;
use crate::progress::Step;
use crate::run;

/// The job of dom0 that tells the figures, and its word: as many domains as there are to be.
const JOBS: &str = "daemons+own-many";
const JOB_WORDS: &str = "many=2000";
/// The machine: as for the other rows, with memory for the domains.
const WORDS: [&str; 8] = ["--no-build", "--cpus", "1", "--steady", "--memory", "16384", "--timeout", "9000"];
/// What each row may take at most, and what the last may take of the first.
const CEILINGS: &str = "bench/many.toml";

/// What one row took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    clock: u64,
    own: u64,
}

/// Rows by what was done and how many domains there were then.
type Rows = BTreeMap<(String, u32), Taken>;

/// Runs the job and prints the table; the last line tells how many rows missed their ceilings.
///
/// **Errors:** the job did not come to its end, a row is above its ceiling or has none.
pub fn command() -> Result<()> {
    let step = Step::begin("measuring: 2000 domains in one dom0");
    let timed = run::timed_with_programs(&WORDS, JOBS, JOB_WORDS);
    step.end(if timed.is_ok() { "done" } else { "failed" });
    let rows = read(&timed?.console);
    if rows.is_empty() {
        bail!("dom0 told no figures; see the log in {}", places::logs().display());
    }
    let ceilings = ceilings(&places::root().join(CEILINGS))?;
    println!("{}", table(&rows));
    let missed = missed(&rows, &ceilings);
    missed.iter().for_each(|row| println!("missed: {row}"));
    let last = format!("many: {} rows, {} missed", rows.len(), missed.len());
    if missed.is_empty() {
        println!("{last}");
        return Ok(());
    }
    bail!("{last}")
}

/// Reads the lines `MANY what number clock own` of a console; of several for one the last counts: the first ones warm up.
fn read(console: &str) -> Rows {
    let row = |line: &str| {
        let (_, said) = line.split_once("| MANY ")?;
        let [what, number, clock, own] = said.split_whitespace().collect::<Vec<_>>()[..] else { return None };
        let taken = Taken { clock: clock.parse().ok()?, own: own.parse().ok()? };
        Some(((what.to_owned(), number.parse().ok()?), taken))
    };
    console.lines().filter_map(row).collect()
}

fn ceilings(place: &Path) -> Result<BTreeMap<String, f64>> {
    let text = fs::read_to_string(place).with_context(|| format!("cannot read {}", place.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is no list of numbers", place.display()))
}

/// Returns the rows that took more than they may, by the name `what-number` or `what-growth`, or that are not there.
fn missed(rows: &Rows, ceilings: &BTreeMap<String, f64>) -> Vec<String> {
    let figures = figures(rows);
    let above = ceilings.iter().filter_map(|(name, most)| match figures.get(name) {
        Some(figure) if figure <= most => None,
        Some(figure) => Some(format!("{name} is {figure:.3}, and may be {most:.3}")),
        None => Some(format!("{name} was not taken")),
    });
    let without = figures.keys().filter(|name| !ceilings.contains_key(*name));
    above.chain(without.map(|name| format!("{name} has no ceiling in {CEILINGS}"))).collect()
}

/// Returns the figures that have ceilings: what each row took itself, and what the last of a kind did of the first.
fn figures(rows: &Rows) -> BTreeMap<String, f64> {
    let mut figures: BTreeMap<String, f64> =
        rows.iter().map(|((what, number), taken)| (format!("{what}-{number}"), taken.own as f64)).collect();
    for ((what, number), first) in rows {
        let last = rows.range((what.clone(), 2)..).take_while(|((other, _), _)| other == what).last();
        if let (1, Some((_, last))) = (number, last) {
            figures.insert(format!("{what}-growth"), last.own as f64 / first.own.max(1) as f64);
        }
    }
    figures
}

fn table(rows: &Rows) -> String {
    let head = ["instructions", "domains", "own", "with daemons"].map(str::to_owned).to_vec();
    let line = |((what, number), taken): (&(String, u32), &Taken)| {
        vec![what.clone(), number.to_string(), format!("~{}", taken.own), format!("~{}", taken.clock)]
    };
    aligned(&std::iter::once(head).chain(rows.iter().map(line)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "(XEN) | MANY create-4 1 900 400\r\n| MANY create-4 1 800 300\nx| MANY create-4 2000 900 330\n\
                        | MANY destroy 1 5 4\n| MANY destroy x 5 4\n| MANY destroy 1 5";

    #[test]
    fn the_last_of_several_lines_counts_and_growth_is_of_the_first() {
        let rows = read(SAID);
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[&("create-4".to_owned(), 1)], Taken { clock: 800, own: 300 });
        let figures = figures(&rows);
        let names: Vec<&str> = figures.keys().map(String::as_str).collect();
        assert_eq!(names, ["create-4-1", "create-4-2000", "create-4-growth", "destroy-1"]);
        assert!((figures["create-4-growth"] - 1.1).abs() < 1e-9);
    }

    #[test]
    fn a_row_that_takes_more_or_is_missing_or_has_no_ceiling_is_missed() {
        let rows = read("| MANY destroy 1 5 4\n| MANY destroy 100 9 5");
        let most = |list: &[(&str, f64)]| list.iter().map(|(name, most)| ((*name).to_owned(), *most)).collect();
        let all = [("destroy-1", 4.0), ("destroy-100", 5.0), ("destroy-growth", 1.25)];
        assert!(missed(&rows, &most(&all)).is_empty());
        assert_eq!(
            missed(&rows, &most(&[("destroy-1", 3.0), all[1], all[2]])),
            ["destroy-1 is 4.000, and may be 3.000"]
        );
        assert_eq!(missed(&rows, &most(&all[..2])), ["destroy-growth has no ceiling in bench/many.toml"]);
        let more = [all[0], all[1], all[2], ("create-4-1", 1.0)];
        assert_eq!(missed(&rows, &most(&more)), ["create-4-1 was not taken"]);
    }

    #[test]
    fn the_ceilings_of_the_tree_are_read() {
        assert!(!ceilings(&places::root().join(CEILINGS)).unwrap().is_empty());
    }
}
