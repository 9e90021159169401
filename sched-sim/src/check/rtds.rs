//! Properties of RTDS: deadlines, budgets, work conservation.

use fastrand::Rng;
use xenolith_sched::rtds::Rtds;

use super::edf::{Job, admits};
use super::storm::{Storm, play};
use super::{Property, random};
use crate::machine::{Costs, Machine};
use crate::shape::Shape;
use crate::task::{Habit, MS, SECOND, Spec, Task, US};

pub fn properties() -> Vec<Property> {
    let of = |name, cases, try_one| Property { name, cases, try_one };
    vec![
        of("rtds: affinity holds, no vCPU runs twice, no CPU idles while a vCPU with a budget waits", 300, moments),
        of("rtds: no deadline is missed by a set that a test of global EDF admits", 300, deadlines),
        of("rtds: those that overrun make nobody else miss", 300, isolation),
        of("rtds: one that never stops gets its budget and no more, or what is left with extra time", 100, budgets),
    ]
}

fn moments(rng: &mut Rng) -> Result<(), String> {
    let shape = random::shape(rng, 16);
    let count = rng.u32(1..=3 * shape.cpus);
    let task = |domain| {
        let (affinity, period_us) = (random::affinity(rng, shape.cpus), rng.u64(1_000..50_000));
        let (budget_us, extratime) = (rng.u64(10..=period_us), rng.bool());
        let spec = Spec { affinity, period_us, budget_us, extratime, ..Spec::of_domain(domain) };
        Task { habit: random::habit(rng), spec }
    };
    let (tasks, storm) = ((0..count).map(task).collect(), Storm::any(rng));
    let (_, watch) = play::<Rtds>(rng, shape, &(), tasks, storm, SECOND, true);
    watch.result().map_err(|error| format!("{error} ({shape:?}, {count} vCPUs, {storm:?})"))
}

/// Returns a random set of jobs that one of the schedulability tests admits on `cpus` CPUs, filled up until the tests
/// refuse most further jobs. The utilization of its jobs has a random bound, which decides how full the set can be.
fn admitted(rng: &mut Rng, cpus: u32) -> Vec<Job> {
    let most = 0.05 + 0.9 * rng.f64();
    let mut jobs = Vec::new();
    for _ in 0..40 * cpus {
        let period = rng.u64(1..60) * MS;
        let part = most * (0.05 + 0.95 * rng.f64());
        // Whole microseconds, as budgets are.
        let work = (period as f64 * part) as u64 / US * US;
        jobs.push(Job { work: work.max(10 * US), period });
        if !admits(cpus, &jobs) {
            jobs.pop();
        }
    }
    jobs
}

fn server(rng: &mut Rng, job: Job, overruns: bool, domain: u32) -> Task {
    let (period, work) = (job.period, job.work);
    let habit = if overruns { Habit::Busy } else { Habit::Periodic { period, work, offset: rng.u64(0..period) } };
    // One that overruns uses what is left over, or not.
    let extratime = overruns && rng.bool();
    let spec = Spec { period_us: period / US, budget_us: work / US, extratime, ..Spec::of_domain(domain) };
    Task { habit, spec }
}

fn deadlines(rng: &mut Rng) -> Result<(), String> {
    no_misses(rng, |_| false)
}

fn isolation(rng: &mut Rng) -> Result<(), String> {
    no_misses(rng, |rng| rng.u8(0..3) == 0)
}

fn no_misses(rng: &mut Rng, overruns: impl Fn(&mut Rng) -> bool) -> Result<(), String> {
    let shape = random::shape(rng, 8);
    let jobs = admitted(rng, shape.cpus);
    let mut tasks = Vec::new();
    for (job, domain) in jobs.iter().zip(0..) {
        let overruns = overruns(rng);
        tasks.push(server(rng, *job, overruns, domain));
    }
    let mut machine = Machine::<Rtds>::new(shape.topology(), &(), tasks, Costs::default(), 0);
    machine.run_until(3 * SECOND, |_| {});
    match machine.measures.misses {
        0 => Ok(()),
        misses => Err(format!("{misses} of {} missed ({shape:?}, {jobs:?})", machine.measures.jobs)),
    }
}

fn budgets(rng: &mut Rng) -> Result<(), String> {
    let shape = Shape::usual(rng.u32(1..=8));
    let jobs = admitted(rng, shape.cpus);
    let extratime = rng.bool();
    let task = |(job, domain): (&Job, u32)| Task {
        habit: Habit::Busy,
        spec: Spec { period_us: job.period / US, budget_us: job.work / US, extratime, ..Spec::of_domain(domain) },
    };
    let tasks = jobs.iter().zip(0..).map(task).collect();
    let mut machine = Machine::<Rtds>::new(shape.topology(), &(), tasks, Costs::default(), 0);
    machine.run_until(5 * SECOND, |_| {});
    for (job, ran) in jobs.iter().zip(machine.measures.ran_ns()) {
        let (share, right) = (*ran as f64 / (5 * SECOND) as f64, job.work as f64 / job.period as f64);
        let slack = 0.01 * right + (job.period as f64 / (5 * SECOND) as f64);
        if share < right - slack || (!extratime && share > right + slack) {
            return Err(format!("{job:?} had {share:.4} of a CPU, not {right:.4}"));
        }
    }
    let all: u64 = machine.measures.ran_ns().iter().sum();
    let busy = u64::from(shape.cpus).min(jobs.len() as u64) * 5 * SECOND;
    if extratime && all != busy {
        return Err(format!("{all} ns were used of {busy}"));
    }
    Ok(())
}
