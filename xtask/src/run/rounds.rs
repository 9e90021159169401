//! The main job over and over, to see whether one is lost.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use xenolith_tests::places;

use super::RunArguments;
use super::job;

/// Does the main job `count` times and gives where the logs of the lost ones lie.
///
/// **Errors:** something cannot be built or fetched; a log cannot be kept.
pub fn lost(arguments: &RunArguments, count: u32) -> Result<Vec<String>> {
    let debian = job::prepare(arguments).map_err(job::spelled)?;
    let vcpus = arguments.dom0_vcpus();
    let mut logs = Vec::new();
    for number in 1..=count {
        eprintln!("\n=== main job {number} of {count} at {vcpus} dom0 vCPUs, {} lost so far", logs.len());
        match job::main_job_with(arguments, &debian) {
            Ok(_) => {}
            Err(failure) => {
                eprintln!("LOST: {}: {}\n{}", failure.step, failure.cause, failure.report);
                let what = format!("{}: {}", failure.step, failure.cause);
                logs.push(keep(failure.log.as_deref(), &format!("lost-main-job-{vcpus}-{number}"), &what)?);
            }
        }
    }
    Ok(logs)
}

/// Puts the log where the next round does not write over it, and says where, and what was lost.
fn keep(log: Option<&Path>, name: &str, what: &str) -> Result<String> {
    let Some(log) = log else { return Ok(format!("no log: {what}")) };
    let kept = places::logs().join(format!("{name}.log"));
    fs::copy(log, &kept).with_context(|| format!("cannot keep {}", log.display()))?;
    Ok(format!("{}: {what}", kept.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_a_loss_outlives_the_next_round() {
        let name = format!("test-lost-{}", std::process::id());
        fs::create_dir_all(places::logs()).unwrap();
        let log = places::logs().join(format!("{name}.first"));
        fs::write(&log, "what was seen").unwrap();
        let told = keep(Some(&log), &name, "step: cause").unwrap();
        fs::write(&log, "the next round").unwrap();
        let kept = places::logs().join(format!("{name}.log"));
        assert_eq!(fs::read_to_string(&kept).unwrap(), "what was seen");
        assert_eq!(told, format!("{}: step: cause", kept.display()));
        for file in [log, kept] {
            fs::remove_file(file).unwrap();
        }
    }
}
