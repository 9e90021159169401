//! `compare`: the same job on Xenolith and on real Xen, timed side by side.

use std::time::Duration;

use anyhow::Result;

use super::account::Timing;
use super::job::{self, Failure, Run, Stage, UP, WEB};
use super::{Dom0, RunArguments};
use crate::boot::Hypervisor;

/// The columns: what is run, and how often it may be tried.
const COLUMNS: [(&str, Hypervisor, Dom0, u32); 3] = [
    ("Xenolith", Hypervisor::Xenolith, Dom0::Pvh, 1),
    // The emulator loses a guest of real Xen now and then, by faults of its own.
    ("Xen, PV dom0", Hypervisor::Xen, Dom0::Pv, 3),
    ("Xen, PVH dom0, 1 vCPU", Hypervisor::Xen, Dom0::Pvh, 3),
];

/// The guest without a disk or a card, whose way is timed in parts.
const RAM: [Stage; 3] = [
    Stage { shown: "xl create, paused", until: "create", usual: 10, limit: 400 },
    Stage { shown: "unpause to guest's userspace", until: "guest-userspace", usual: 20, limit: 600 },
    Stage { shown: "xl destroy", until: "destroy", usual: 1, limit: 120 },
];

const JOBS: &str = "daemons+ram+destroy+network+disk+web";

/// The whole main job, which is all but the parts of the other guest.
const WHOLE: &str = "main job, reset to page";

/// Runs the columns one after the other, `rounds` times, and prints the table.
///
/// **Errors:** something cannot be made. A column whose job failed says so and the others are shown all the same.
pub fn command(arguments: &RunArguments, rounds: u32) -> Result<()> {
    let mut columns = COLUMNS.map(|(name, ..)| (name, Ok(Vec::new())));
    for round in 1..=rounds {
        for ((name, hypervisor, dom0, tries), (_, least)) in COLUMNS.into_iter().zip(&mut columns) {
            eprintln!("\n=== {name}, round {round} of {rounds}");
            // All rounds are of one image.
            let no_build = arguments.no_build || round > 1;
            let taken = column(&RunArguments { hypervisor, dom0: Some(dom0), no_build, ..arguments.clone() }, tries);
            *least = least.clone().and_then(|least| taken.map(|taken| lesser(&least, taken)));
        }
    }
    println!("\n{}", table(&columns));
    for (name, failed) in columns.iter().filter_map(|(name, column)| column.as_ref().err().map(|why| (name, why))) {
        println!("{name}: {failed}");
    }
    if columns.iter().any(|(_, column)| column.is_err()) {
        anyhow::bail!("not every column came to its end");
    }
    Ok(())
}

/// Returns what each step took at least, from what it took so far and this time. What else the machine does, such as
/// its host giving it less of a processor, makes a step longer and never shorter.
fn lesser(so_far: &[Timing], taken: Vec<Timing>) -> Vec<Timing> {
    let before = |step: &str| so_far.iter().find(|timing| timing.step == step).map(|timing| timing.took);
    let least =
        |timing: Timing| Timing { took: before(&timing.step).map_or(timing.took, |b| b.min(timing.took)), ..timing };
    taken.into_iter().map(least).collect()
}

/// Returns the times of one column, or the last failure.
fn column(arguments: &RunArguments, tries: u32) -> Result<Vec<Timing>, String> {
    let mut last = String::new();
    for attempt in 1..=tries {
        match once(arguments) {
            Ok(timings) => return Ok(timings),
            Err(failure) => {
                eprintln!("    try {attempt} of {tries}: {}: {}\n{}", failure.step, failure.cause, failure.report);
                last = format!("{}: {}", failure.step, failure.cause);
            }
        }
    }
    Err(last)
}

fn once(arguments: &RunArguments) -> Result<Vec<Timing>, Failure> {
    let debian = job::prepare(arguments)?;
    let started = Run::start(arguments, &debian, JOBS, "console");
    let mut run = started.map_err(|error| Failure::before("starting the machine", &error))?;
    run.go_through(&UP)?;
    run.go_through(&RAM)?;
    run.go_through(&WEB)?;
    run.fetch()?;
    Ok(shown(&run.timings))
}

/// Returns the rows of the table from the times of all stages.
fn shown(timings: &[Timing]) -> Vec<Timing> {
    let parts: Vec<&str> = RAM.iter().map(|stage| stage.shown).collect();
    let is_part = |timing: &&Timing| parts.contains(&timing.step.as_str());
    let whole: Duration = timings.iter().filter(|timing| !is_part(timing)).map(|timing| timing.took).sum();
    let rows = timings.iter().filter(|timing| is_part(timing) || timing.step == UP[0].shown);
    rows.cloned().chain([Timing { step: WHOLE.into(), took: whole }]).collect()
}

/// Formats a table: a row for each step, a column for each run; a run that failed has dashes.
fn table(columns: &[(&str, Result<Vec<Timing>, String>)]) -> String {
    let steps: Vec<&str> =
        [UP[0].shown].into_iter().chain(RAM.iter().map(|stage| stage.shown)).chain([WHOLE]).collect();
    let width = steps.iter().map(|step| step.len()).max().unwrap_or(0);
    let head: String = columns.iter().map(|(name, _)| format!("  {name:>10}")).collect();
    let mut rows = format!("{:<width$}{head}\n", "seconds");
    for step in steps {
        rows.push_str(&format!("{step:<width$}"));
        for (name, column) in columns {
            let took = column.as_ref().ok().and_then(|timings| timings.iter().find(|timing| timing.step == step));
            let cell = took.map_or("-".into(), |timing| format!("{:.1}", timing.took.as_secs_f64()));
            rows.push_str(&format!("  {cell:>wide$}", wide = name.len().max(10)));
        }
        rows.push('\n');
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(step: &str, seconds: u64) -> Timing {
        Timing { step: step.to_owned(), took: Duration::from_secs(seconds) }
    }

    #[test]
    fn the_main_job_is_all_but_the_other_guests_parts() {
        let rows = shown(&[timing(UP[0].shown, 10), timing(RAM[0].shown, 100), timing(WEB[0].shown, 5)]);
        assert_eq!(rows, [timing(UP[0].shown, 10), timing(RAM[0].shown, 100), timing(WHOLE, 15)]);
    }

    #[test]
    fn of_several_rounds_the_least_of_each_step_stands() {
        let first = lesser(&[], vec![timing(WHOLE, 15), timing(RAM[0].shown, 3)]);
        let second = lesser(&first, vec![timing(WHOLE, 12), timing(RAM[0].shown, 4)]);
        assert_eq!(second, [timing(WHOLE, 12), timing(RAM[0].shown, 3)]);
    }

    #[test]
    fn a_run_that_failed_leaves_dashes_and_the_columns_line_up() {
        let shown = table(&[("A", Ok(vec![timing(WHOLE, 15)])), ("a longer name", Err("lost".into()))]);
        let last = shown.lines().last().unwrap();
        assert!(last.starts_with(WHOLE) && last.contains("15.0") && last.ends_with('-'), "{shown}");
        assert!(shown.lines().all(|line| line.len() == last.len()), "{shown}");
    }
}
