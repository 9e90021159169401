//! Properties of null: a static assignment, no timer, as many vCPUs run as can.

use fastrand::Rng;
use xenolith_hal::CpuId;
use xenolith_sched::null::Null;

use super::storm::{Storm, play};
use super::{Property, random};
use crate::machine::{Costs, Machine};
use crate::task::{Habit, SECOND, Spec, Task};

pub fn properties() -> Vec<Property> {
    let of = |name, cases, try_one| Property { name, cases, try_one };
    vec![
        of("null: affinity holds, no vCPU runs twice", 200, moments),
        of("null: each vCPU that runs has one CPU for itself and keeps it, without a timer", 100, static_map),
        of("null: as many run as can, and one that waits gets the first CPU that becomes free", 100, waiting_list),
    ]
}

fn tasks(rng: &mut Rng, count: u32, cpus: u32) -> Vec<Task> {
    let task = |domain| Task {
        habit: random::habit(rng),
        spec: Spec { affinity: random::affinity(rng, cpus), ..Spec::of_domain(domain) },
    };
    (0..count).map(task).collect()
}

fn moments(rng: &mut Rng) -> Result<(), String> {
    let shape = random::shape(rng, 16);
    let count = rng.u32(1..=2 * shape.cpus);
    let (tasks, storm) = (tasks(rng, count, shape.cpus), Storm::any(rng));
    let (_, watch) = play::<Null>(rng, shape, &(), tasks, storm, SECOND, false);
    watch.result().map_err(|error| format!("{error} ({shape:?}, {count} vCPUs, {storm:?})"))
}

fn static_map(rng: &mut Rng) -> Result<(), String> {
    let shape = random::shape(rng, 16);
    let count = rng.u32(1..=2 * shape.cpus);
    let tasks = tasks(rng, count, shape.cpus);
    let mut machine = Machine::<Null>::new(shape.topology(), &(), tasks, Costs::default(), rng.u64(..));
    let mut owners = vec![None; shape.cpus as usize];
    let mut fault = None;
    machine.run_until(2 * SECOND, |machine| {
        for (cpu, owner) in machine.cpus.iter().zip(&mut owners) {
            if let Some(vcpu) = cpu.running
                && *owner.get_or_insert(vcpu) != vcpu
            {
                fault = Some(format!("vCPU {vcpu} runs where vCPU {owner:?} did"));
            }
        }
    });
    owners.retain(Option::is_some);
    let owners: Vec<usize> = owners.into_iter().flatten().collect();
    let twice = owners.iter().any(|vcpu| owners.iter().filter(|other| *other == vcpu).count() > 1);
    match fault {
        Some(fault) => Err(fault),
        None if twice => Err(format!("a vCPU had two CPUs: {owners:?}")),
        None if machine.measures.deadlines > 0 => Err("a timer was set".into()),
        None => Ok(()),
    }
}

fn waiting_list(rng: &mut Rng) -> Result<(), String> {
    let shape = random::shape(rng, 8);
    let count = rng.u32(1..=2 * shape.cpus);
    let busy = |domain| Task { habit: Habit::Busy, spec: Spec::of_domain(domain) };
    let tasks = (0..count).map(busy).collect();
    let mut machine = Machine::<Null>::new(shape.topology(), &(), tasks, Costs::default(), 0);
    let running = |machine: &Machine<Null>| machine.cpus.iter().filter_map(|cpu| cpu.running).collect::<Vec<_>>();
    let expect = |machine: &Machine<Null>, cpus: u32, what: &str| {
        let all = running(machine).len();
        let right = cpus.min(count) as usize;
        if all == right { Ok(()) } else { Err(format!("{all} of {count} run {what}, not {right} ({shape:?})")) }
    };
    machine.run_until(SECOND, |_| {});
    expect(&machine, shape.cpus, "at first")?;
    if shape.cpus > 1 {
        let cpu = CpuId(rng.u32(0..shape.cpus));
        machine.plug_at(SECOND, cpu, false);
        machine.plug_at(2 * SECOND, cpu, true);
        machine.run_until(2 * SECOND - 1, |_| {});
        expect(&machine, shape.cpus - 1, "without a CPU")?;
        machine.run_until(3 * SECOND, |_| {});
        expect(&machine, shape.cpus, "with all again")?;
    }
    Ok(())
}
