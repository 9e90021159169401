//! Workloads: sets of vCPUs with their behaviour.

use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use fastrand::Rng;

use crate::task::{Habit, MS, SECOND, Spec, Spread, Task, US};

/// The named workloads with their descriptions. Any other name is the path of a recording.
pub const NAMES: &[(&str, &str)] = &[
    ("mix", "a third each of CPU-bound vCPUs, sleepers and chains of requests"),
    ("busy", "CPU-bound vCPUs of weights 128 to 1024"),
    ("sleepers", "vCPUs that work for 0.3 ms and think for as long as fills the machine"),
    ("chains", "clients whose requests pass through three servers"),
    ("bursty", "vCPUs that work and rest for long at a time"),
    ("real-time", "periodic vCPUs with deadlines beside CPU-bound ones"),
    ("boot", "vCPUs that start one after the other: a second of work, then bursts of input and output, then ticks"),
    ("hotplug", "the mix, while CPUs come and go"),
];

/// Returns the vCPUs of a workload, for a machine of `cpus` CPUs.
///
/// **Errors:** the name is neither that of a workload nor the path of a recording that can be read.
pub fn of_name(name: &str, vcpus: usize, cpus: u32, rng: &mut Rng) -> Result<Vec<Task>> {
    let make: fn(usize, usize, u32, &mut Rng) -> Habit = match name {
        "mix" | "hotplug" => mix,
        "busy" => |_, _, _, _| Habit::Busy,
        "sleepers" => |_, vcpus, cpus, _| sleeper(vcpus, cpus),
        "chains" => |index, _, _, _| link(index),
        "bursty" => |_, _, _, rng| Habit::Sleeper {
            work: Spread::Exponential(rng.u64(5..200) * MS),
            think: Spread::Exponential(rng.u64(50..1000) * MS),
        },
        "real-time" => |index, _, _, rng| if index % 4 == 0 { Habit::Busy } else { periodic(rng) },
        "boot" => |index, _, _, rng| boot(index, rng),
        file => return recorded(Path::new(file)),
    };
    let spec = |index: usize, rng: &mut Rng| Spec {
        weight: if name == "busy" { rng.u16(128..=1024) } else { 256 },
        ..Spec::of_domain(u32::try_from(index).unwrap_or(u32::MAX))
    };
    let task = |index| {
        let habit = make(index, vcpus, cpus, rng);
        let mut spec = spec(index, rng);
        if let Habit::Periodic { period, work, .. } = habit {
            (spec.period_us, spec.budget_us) = (period / US, (work / US).max(10));
        }
        Task { habit, spec }
    };
    Ok((0..vcpus).map(task).collect())
}

/// Returns whether CPUs go offline and online in a workload.
#[must_use]
pub fn has_hotplug(name: &str) -> bool {
    name == "hotplug"
}

/// Returns the behaviour of a vCPU that sleeps so often that `vcpus` of them just fill the machine.
fn sleeper(vcpus: usize, cpus: u32) -> Habit {
    let work = 300 * US;
    let think = work * (vcpus as u64).saturating_sub(u64::from(cpus)).max(1) / u64::from(cpus);
    Habit::Sleeper { work: Spread::Exponential(work), think: Spread::Exponential(think) }
}

/// Returns the behaviour of vCPU `index` in chains of a client and three servers.
fn link(index: usize) -> Habit {
    let work = Spread::Exponential(200 * US);
    match index % 4 {
        0 => Habit::Client { work, think: Spread::Exponential(2 * MS), to: index + 1 },
        3 => Habit::Server { work, next: None },
        _ => Habit::Server { work, next: Some(index + 1) },
    }
}

fn mix(index: usize, vcpus: usize, cpus: u32, _rng: &mut Rng) -> Habit {
    // Chains are of four; the last group may be cut short and is CPU-bound then.
    let (group, whole) = (index / 4, index / 4 * 4 + 4 <= vcpus);
    match group % 3 {
        0 if whole => link(index),
        1 => sleeper(vcpus, cpus),
        _ => Habit::Busy,
    }
}

fn periodic(rng: &mut Rng) -> Habit {
    let period = rng.u64(5..50) * MS;
    Habit::Periodic { period, work: period / rng.u64(5..20), offset: rng.u64(0..period) }
}

fn boot(index: usize, rng: &mut Rng) -> Habit {
    let exponential = |rng: &mut Rng, mean: u64| Spread::Exponential(mean).draw(rng);
    let mut steps = vec![(SECOND / 2 + exponential(rng, SECOND / 2), exponential(rng, 10 * MS))];
    steps.extend((0..200).map(|_| (exponential(rng, 2 * MS), exponential(rng, 3 * MS))));
    steps.extend((0..3000).map(|_| (exponential(rng, 50 * US), 10 * MS)));
    Habit::Recorded { start: index as u64 * 20 * MS, steps: steps.into(), again: false }
}

/// Reads a recording: a line for each vCPU, with its weight, when it starts, and how long it runs and sleeps in turn,
/// in microseconds. Lines that start with `#` are comments.
///
/// **Errors:** the file cannot be read, or a line has another form; with its number.
pub fn recorded(path: &Path) -> Result<Vec<Task>> {
    let known: Vec<&str> = NAMES.iter().map(|(name, _)| *name).collect();
    let text = std::fs::read_to_string(path).with_context(|| {
        format!("{} is neither a recording nor one of the workloads {}", path.display(), known.join(", "))
    })?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    lines.zip(0..).map(|((number, line), domain)| one(line, domain, number + 1)).collect()
}

fn one(line: &str, domain: u32, number: usize) -> Result<Task> {
    let numbers: Vec<u64> = line
        .split_whitespace()
        .map(|word| word.parse().with_context(|| format!("line {number}: {word} is no number")))
        .collect::<Result<_>>()?;
    let [weight, start, steps @ ..] = &numbers[..] else { bail!("line {number}: no weight and start") };
    if steps.is_empty() || steps.len() % 2 != 0 {
        bail!("line {number}: a run without the sleep after it");
    }
    let steps: Rc<[(u64, u64)]> = steps.chunks(2).map(|pair| (pair[0] * US, pair[1] * US)).collect();
    let spec = Spec { weight: u16::try_from(*weight).unwrap_or(u16::MAX).max(1), ..Spec::of_domain(domain) };
    Ok(Task { habit: Habit::Recorded { start: start * US, steps, again: true }, spec })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_workload_has_as_many_vcpus_as_asked_for() {
        for (name, _) in NAMES {
            let tasks = of_name(name, 10, 4, &mut Rng::with_seed(1)).unwrap();
            assert_eq!(tasks.len(), 10, "{name}");
            let whole = |to: usize| to < 10;
            let sound = tasks.iter().all(|task| match task.habit {
                Habit::Client { to, .. } => whole(to),
                Habit::Server { next, .. } => next.is_none_or(whole),
                _ => true,
            });
            assert!(name == &"chains" || sound, "{name}");
        }
    }

    #[test]
    fn a_recording_is_read_line_by_line() {
        let task = one("512 1000 200 300 400 500", 3, 1).unwrap();
        assert_eq!((task.spec.weight, task.spec.domain), (512, 3));
        let Habit::Recorded { start, steps, .. } = task.habit else { panic!("another habit") };
        assert_eq!((start, &steps[..]), (1_000_000, &[(200_000, 300_000), (400_000, 500_000)][..]));
        assert!(one("512 1000 200", 0, 7).unwrap_err().to_string().contains("line 7"));
        assert!(one("512 x", 0, 1).is_err());
    }
}
