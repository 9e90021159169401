//! The steps of a job: what dom0 said of each, and how long they took.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

/// A step and how long it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    pub step: String,
    pub took: Duration,
}

/// What dom0 said of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is under way.
    Begun,
    /// It came out well.
    Well,
    /// It did not, for this cause.
    Failed(String),
}

/// Reads a line of dom0's console that speaks of a step: its name and what is said of it.
///
/// Whatever stands before the word STEP on the line is passed over: hypervisors write on the same serial line.
#[must_use]
pub fn step(line: &str) -> Option<(&str, Said)> {
    let (_, rest) = line.split_once("STEP ")?;
    let mut words = rest.split_whitespace();
    let name = words.next()?;
    let said = match words.next()? {
        "begin" => Said::Begun,
        "ok" => Said::Well,
        "failed" => Said::Failed(words.skip(1).collect::<Vec<_>>().join(" ")),
        _ => return None,
    };
    Some((name, said))
}

/// Returns the steps in a table, the seconds aligned, with their sum.
#[must_use]
pub fn table(timings: &[Timing]) -> String {
    let width = timings.iter().map(|timing| timing.step.len()).max().unwrap_or(0).max("whole job".len());
    let line = |step: &str, took: Duration| format!("    {step:<width$}  {:>6.1} s\n", took.as_secs_f64());
    let steps: String = timings.iter().map(|timing| line(&timing.step, timing.took)).collect();
    steps + &line("whole job", timings.iter().map(|timing| timing.took).sum())
}

/// How long each step took the last time, by a file that outlives the run.
pub struct Memory {
    place: PathBuf,
    remembered: Vec<Timing>,
}

impl Memory {
    /// Reads what is remembered at `place`; nothing is no fault.
    #[must_use]
    pub fn at(place: PathBuf) -> Self {
        let text = fs::read_to_string(&place).unwrap_or_default();
        Self { place, remembered: text.lines().filter_map(remembered).collect() }
    }

    /// Returns what a step may be expected to take: the last time, or `usual`.
    #[must_use]
    pub fn expected(&self, step: &str, usual: Duration) -> Duration {
        self.remembered.iter().find(|timing| timing.step == step).map_or(usual, |timing| timing.took)
    }

    /// Returns whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remembered.is_empty()
    }

    /// Remembers `timings` in place of what was.
    ///
    /// **Errors:** the file cannot be written.
    pub fn keep(&self, timings: &[Timing]) -> Result<()> {
        let line = |timing: &Timing| format!("{} {}\n", timing.took.as_millis(), timing.step);
        if let Some(directory) = self.place.parent() {
            fs::create_dir_all(directory).context("cannot make the directory of times")?;
        }
        fs::write(&self.place, timings.iter().map(line).collect::<String>()).context("cannot keep the times")
    }
}

fn remembered(line: &str) -> Option<Timing> {
    let (took, step) = line.split_once(' ')?;
    Some(Timing { step: step.to_owned(), took: Duration::from_millis(took.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenolith_tests::places;

    fn timing(step: &str, seconds: u64) -> Timing {
        Timing { step: step.to_owned(), took: Duration::from_secs(seconds) }
    }

    #[test]
    fn a_steps_line_is_read_behind_whatever_stands_before_it() {
        assert_eq!(step("STEP xl-info begin"), Some(("xl-info", Said::Begun)));
        assert_eq!(step("(XEN) x STEP xl-info ok 1.50\r"), Some(("xl-info", Said::Well)));
        let late = Said::Failed("no end within 60 s".into());
        assert_eq!(step("STEP web-page failed 60.01 no end within 60 s"), Some(("web-page", late)));
        assert_eq!(step("| STEPS to take"), None);
    }

    #[test]
    fn the_table_lines_up_and_ends_with_the_sum() {
        let shown = table(&[timing("short", 5), timing("a longer step", 100)]);
        assert_eq!(shown, "    short             5.0 s\n    a longer step   100.0 s\n    whole job       105.0 s\n");
    }

    #[test]
    fn what_a_step_took_is_expected_the_next_time() {
        let place = places::target().join("tmp").join(format!("times-{}", std::process::id()));
        let memory = Memory::at(place.clone());
        assert!(memory.is_empty());
        memory.keep(&[timing("a step", 7)]).unwrap();
        let again = Memory::at(place.clone());
        assert_eq!(again.expected("a step", Duration::ZERO), Duration::from_secs(7));
        assert_eq!(again.expected("another", Duration::from_secs(3)), Duration::from_secs(3));
        fs::remove_file(place).unwrap();
    }
}
