//! Jobs of dom0 whose steps are timed by dom0 itself.

use std::time::Duration;

use anyhow::{Result, bail};

use super::account::{self, Said};
use super::job::{self, Board, Run, spelled};
use super::{RunArguments, standstill, stress, typed};
use crate::debian;

/// What jobs came to.
pub struct Timed {
    /// Each step that came out well, with the time that it took by dom0's clock.
    pub steps: Vec<(String, Duration)>,
    /// All that stood on the console.
    pub console: String,
}

/// Runs jobs of dom0 with what `words` say, on the machine of the main job.
///
/// **Errors:** something cannot be built or fetched, a step failed, or the jobs did not come to their end.
pub fn timed(words: &[&str], jobs: &str) -> Result<Timed> {
    let arguments = typed(words)?;
    let debian = job::prepare(&arguments).map_err(spelled)?;
    let run = Run::start(&arguments, &debian, jobs, "off")?;
    ended(run, &arguments)
}

/// Returns the same with more words for the jobs.
///
/// **Errors:** as of [`timed`].
pub fn timed_with_words(words: &[&str], jobs: &str, more: &str) -> Result<Timed> {
    let arguments = typed(words)?;
    let debian = job::prepare(&arguments).map_err(spelled)?;
    let run = Run::start_with(&arguments, &debian, jobs, "off", more, Vec::new())?;
    ended(run, &arguments)
}

/// Returns the same of a dom0 that has our own programs and more kernels for guests; `job_words` are for the jobs.
///
/// **Errors:** as of [`timed`].
pub fn timed_with_programs(words: &[&str], jobs: &str, job_words: &str) -> Result<Timed> {
    let arguments = typed(words)?;
    let debian = debian::kernels::with_more(&job::prepare(&arguments).map_err(spelled)?)?;
    let debian = debian::programs::with_domains(&debian)?;
    let run = Run::start_with(&arguments, &debian, jobs, "off", job_words, Vec::new())?;
    ended(run, &arguments)
}

/// Returns the same on a machine with two disks for a guest whose traffic is measured.
///
/// **Errors:** as of [`timed`].
pub fn timed_with_traffic(words: &[&str], jobs: &str) -> Result<Timed> {
    let arguments = typed(words)?;
    let debian = job::prepare(&arguments).map_err(spelled)?;
    let devices = stress::devices(&debian::traffic_disk()?, "ide-hd,drive=second,bus=ide.1");
    let board = Board { name: "traffic", devices, ..Board::default() };
    let run = Run::on(&board, &arguments, &debian, jobs, "off")?;
    ended(run, &arguments)
}

fn ended(mut run: Run, arguments: &RunArguments) -> Result<Timed> {
    standstill::jobs_end(&mut run, arguments.hypervisor)?;
    let text = run.machine.console.text();
    let mut steps = Vec::new();
    for line in text.lines() {
        match account::step(line) {
            Some((name, Said::Well)) => steps.extend(took(line).map(|took| (name.to_owned(), took))),
            Some((name, Said::Failed(why))) => bail!("{name}: {why}; the whole log: {}", run.machine.log().display()),
            _ => {}
        }
    }
    Ok(Timed { steps, console: text })
}

/// Returns the seconds at the end of such a line.
fn took(line: &str) -> Option<Duration> {
    let (_, seconds) = line.rsplit_once(" ok ")?;
    Duration::try_from_secs_f64(seconds.trim().parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seconds_stand_at_the_end_of_the_line() {
        assert_eq!(took("(XEN) x STEP create ok 1.50\r"), Some(Duration::from_millis(1500)));
        assert_eq!(took("STEP create ok -1"), None);
        assert_eq!(took("STEP create begin"), None);
    }
}
