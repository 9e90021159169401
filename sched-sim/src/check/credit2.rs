//! Properties of credit2: work conservation, shares, caps, waiting times.

use fastrand::Rng;
use xenolith_sched::credit2::{Credit2, Options};
use xenolith_sched::policy::Sharing;

use super::storm::{Storm, play};
use super::{Property, random};
use crate::fluid::{Claim, shares};
use crate::machine::{Costs, Machine};
use crate::shape::Shape;
use crate::task::{Habit, MS, SECOND, Spec, Task};

pub fn properties() -> Vec<Property> {
    let of = |name, cases, try_one| Property { name, cases, try_one };
    vec![
        of(
            "credit2: affinity holds, no vCPU runs twice, no CPU idles while a vCPU waits that it may run",
            400,
            moments,
        ),
        of("credit2: shares of CPU-bound vCPUs within 2 % of weights over 10 s", 200, weights),
        of("credit2: caps within 1 %, with idle CPUs and without", 150, caps),
        of("credit2: a capped domain leaves the rest to others by weight", 50, rest),
        of("credit2: no vCPU waits longer than its weight explains", 100, waits),
    ]
}

fn any_options(rng: &mut Rng) -> Options {
    let sharing = [Sharing::Cpu, Sharing::Core, Sharing::Socket, Sharing::Node, Sharing::All];
    Options { sharing: sharing[rng.usize(0..sharing.len())], ..Options::default() }
}

fn moments(rng: &mut Rng) -> Result<(), String> {
    let shape = random::shape(rng, 16);
    let count = rng.u32(1..=3 * shape.cpus);
    let task = |domain| {
        let (affinity, weight) = (random::affinity(rng, shape.cpus), rng.u16(1..2000));
        let cap_percent = if rng.u8(0..4) == 0 { rng.u32(1..200) } else { 0 };
        Task { habit: random::habit(rng), spec: Spec { affinity, weight, cap_percent, ..Spec::of_domain(domain) } }
    };
    let tasks = (0..count).map(task).collect();
    let (options, storm) = (any_options(rng), Storm::any(rng));
    let (_, watch) = play::<Credit2>(rng, shape, &options, tasks, storm, SECOND, true);
    watch.result().map_err(|error| format!("{error} ({shape:?}, {count} vCPUs, {:?}, {storm:?})", options.sharing))
}

/// Simulates CPU-bound vCPUs for ten seconds and returns each one's share of a CPU.
fn shares_of(shape: Shape, options: &Options, tasks: Vec<Task>) -> Vec<f64> {
    let mut machine = Machine::<Credit2>::new(shape.topology(), options, tasks, Costs::default(), 0);
    machine.run_until(10 * SECOND, |_| {});
    machine.measures.ran_ns().iter().map(|ran| *ran as f64 / (10.0 * SECOND as f64)).collect()
}

fn weights(rng: &mut Rng) -> Result<(), String> {
    let shape = random::shape(rng, 16);
    let count = rng.usize(1..=4 * shape.cpus as usize);
    let weights: Vec<u16> = (0..count).map(|_| rng.u16(64..2048)).collect();
    let options = any_options(rng);
    let had = shares_of(shape, &options, random::busy(&weights));
    let claims: Vec<Claim> = weights.iter().map(|weight| Claim { weight: f64::from(*weight), most: 1.0 }).collect();
    let ideal = shares(f64::from(shape.cpus), &claims);
    for (vcpu, (share, ideal)) in had.iter().zip(ideal).enumerate() {
        // The last slices, which nobody has made up for yet, are two thousandths.
        if (share - ideal).abs() > 0.02 * ideal + 0.002 {
            let weight = weights[vcpu];
            let sharing = options.sharing;
            return Err(format!(
                "a weight of {weight} had {share:.4}, not {ideal:.4} ({shape:?}, {sharing:?}, {weights:?})"
            ));
        }
    }
    Ok(())
}

fn caps(rng: &mut Rng) -> Result<(), String> {
    let shape = random::shape(rng, 8);
    let vcpus = rng.u32(1..=4);
    let cap_percent = rng.u32(1..=100 * vcpus.min(shape.cpus));
    let others = rng.u32(0..=2);
    let capped = |_| Task { habit: Habit::Busy, spec: Spec { cap_percent, weight: 4096, ..Spec::of_domain(0) } };
    let other = |domain| Task { habit: random::habit(rng), spec: Spec { weight: 64, ..Spec::of_domain(domain) } };
    let tasks: Vec<Task> = (0..vcpus).map(capped).chain((1..=others).map(other)).collect();
    let had: f64 = shares_of(shape, &Options::default(), tasks)[..vcpus as usize].iter().sum();
    let (had, most) = (had * 100.0, f64::from(cap_percent));
    // Beside others its cap is the most that it gets; alone it gets all of that.
    if had > most + 1.0 || (others == 0 && had < most - 1.0) {
        return Err(format!("{had:.2} % instead of {most} % ({vcpus} vCPUs, {others} others, {shape:?})"));
    }
    Ok(())
}

fn rest(rng: &mut Rng) -> Result<(), String> {
    let cap_percent = rng.u32(5..=50);
    let weights: Vec<u16> = (0..rng.usize(1..6)).map(|_| rng.u16(128..1024)).collect();
    let mut tasks = random::busy(&weights);
    // By its weight it would have nearly all.
    let spec = Spec { cap_percent, weight: 65_535, ..Spec::of_domain(1000) };
    tasks.push(Task { habit: Habit::Busy, spec });
    let had = shares_of(Shape::usual(1), &Options::default(), tasks);
    let most = f64::from(cap_percent) / 100.0;
    let all: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
    let ideal = weights.iter().map(|weight| (1.0 - most) * f64::from(*weight) / all).chain([most]);
    for (share, ideal) in had.iter().zip(ideal) {
        if (share - ideal).abs() > 0.02 * ideal + 0.002 {
            return Err(format!("{share:.4} instead of {ideal:.4} (cap {cap_percent}, {weights:?})"));
        }
    }
    Ok(())
}

fn waits(rng: &mut Rng) -> Result<(), String> {
    let shape = random::shape(rng, 8);
    let count = rng.u32(1..=4 * shape.cpus);
    let task = |domain| Task {
        habit: random::habit(rng),
        spec: Spec { weight: rng.u16(16..2048), ..Spec::of_domain(domain) },
    };
    let tasks: Vec<Task> = (0..count).map(task).collect();
    let weights: Vec<f64> = tasks.iter().map(|task| f64::from(task.spec.weight)).collect();
    let options = any_options(rng);
    let (machine, watch) = play::<Credit2>(rng, shape, &options, tasks, Storm::default(), 2 * SECOND, true);
    let (all, cpus): (f64, f64) = (weights.iter().sum(), f64::from(shape.cpus));
    for (vcpu, wait) in watch.waits(machine.now).into_iter().enumerate() {
        // After a slice of its own, what the others may have by their weights until it is its turn again, and a slice
        // of each. Twice that, as queues are balanced from time to time only, and what two that were moved there may catch
        // up at a stretch.
        let slice = (10.0 * weights[vcpu] / 256.0).clamp(1.0, 10.0);
        let fair = slice * all / weights[vcpu] / cpus + 10.0 * (1.0 + weights.len() as f64 / cpus);
        if wait as f64 > (2.0 * fair + 100.0) * MS as f64 {
            let ms = wait / MS;
            return Err(format!(
                "weight {} waited {ms} ms, {fair:.0} are fair ({shape:?}, {options:?})",
                weights[vcpu]
            ));
        }
    }
    watch.result()
}
