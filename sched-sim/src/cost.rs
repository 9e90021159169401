//! The cost of a decision in instructions, counted by callgrind in a process for each machine.

use std::process::Command;

use anyhow::{Context, Result, bail};
use fastrand::Rng;
use xenolith_sched::credit2::{Credit2, Options};
use xenolith_sched::null::Null;
use xenolith_sched::rtds::Rtds;

use crate::decision;
use crate::machine::{Costs, Machine, Simulated};
use crate::per_cpu::PerCpu;
use crate::shape::Shape;
use crate::task::MS;
use crate::workload;

/// Number of decisions over which the cost is averaged.
const DECISIONS: u64 = 30_000;

/// Sizes of the machines that are compared: CPUs, vCPUs.
pub const SIZES: [(u32, usize); 2] = [(8, 64), (512, 8192)];

/// Names of the policies, as [`run`] takes them.
pub const POLICIES: [&str; 3] = [Credit2::NAME, Null::NAME, Rtds::NAME];

/// Simulates vCPUs that work and sleep and just fill a machine, for `DECISIONS` decisions. Returns the number of
/// decisions made.
///
/// **Errors:** there is no policy of this name.
pub fn run(policy: &str, cpus: u32, vcpus: usize) -> Result<u64> {
    Ok(match policy {
        "credit2" => sleepers::<Credit2>(&Options::default(), cpus, vcpus)?,
        "null" => sleepers::<Null>(&(), cpus, vcpus)?,
        "rtds" => sleepers::<Rtds>(&(), cpus, vcpus)?,
        "per-cpu" => sleepers::<PerCpu>(&(), cpus, vcpus)?,
        other => bail!("there is no policy {other}"),
    })
}

fn sleepers<P: Simulated>(options: &P::Options, cpus: u32, vcpus: usize) -> Result<u64> {
    let tasks = workload::of_name("sleepers", vcpus, cpus, &mut Rng::with_seed(1))?;
    let mut machine = Machine::<P>::new(Shape::usual(cpus).topology(), options, tasks, Costs::default(), 1);
    let mut end = 0;
    while machine.measures.decisions < DECISIONS {
        end += MS;
        machine.run_until(end, |_| {});
    }
    Ok(machine.measures.decisions)
}

/// Returns the instructions for one decision, with the wake-ups, timers and saves that go with it.
///
/// **Errors:** valgrind is missing or fails.
pub fn instructions(policy: &str, cpus: u32, vcpus: usize) -> Result<f64> {
    let own = std::env::current_exe().context("cannot find this program")?;
    let out = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={}", decision::PATTERN))
        .arg(own)
        .args(["--count-decisions", policy, "--topology", &cpus.to_string(), "--vcpus", &vcpus.to_string()])
        .output()
        .context("cannot start valgrind, which counts the instructions; on Debian: apt install valgrind")?;
    let (said, counted) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let decisions: Option<f64> = said.trim().parse().ok();
    let all = counted.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse::<f64>().ok());
    match (decisions, all) {
        (Some(decisions), Some(all)) if out.status.success() && all > 0.0 => Ok(all / decisions),
        _ => bail!("valgrind counted nothing: {said}{counted}"),
    }
}
