//! Storms: CPU hotplug and changes of parameters while a workload runs.

use fastrand::Rng;
use xenolith_hal::CpuId;

use super::invariants::Watch;
use super::random;
use crate::machine::{Costs, Machine, Simulated};
use crate::shape::Shape;
use crate::task::{MS, Task, US};

/// What happens besides the workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Storm {
    /// CPUs go offline and online.
    pub plugs: bool,
    /// Weights, caps, budgets and affinities change.
    pub changes: bool,
    /// Rescheduling and switching take time, so for a moment a CPU may be idle or run a vCPU that it may not run any
    /// more.
    pub costs: bool,
}

impl Storm {
    /// Returns a random one.
    pub fn any(rng: &mut Rng) -> Self {
        Self { plugs: rng.bool(), changes: rng.bool(), costs: rng.u8(0..4) == 0 }
    }
}

/// Simulates a workload with a storm until `end`, and checks the invariants at each moment.
pub fn play<P: Simulated>(
    rng: &mut Rng,
    shape: Shape,
    options: &P::Options,
    tasks: Vec<Task>,
    storm: Storm,
    end: u64,
    conserving: bool,
) -> (Machine<P>, Watch) {
    let costs = if storm.costs { Costs { kick_ns: 2 * US, switch_ns: 3 * US } } else { Costs::default() };
    let mut machine = Machine::<P>::new(shape.topology(), options, tasks, costs, rng.u64(..));
    let mut watch = Watch::new(!storm.costs, conserving);
    if storm.plugs {
        plug(rng, &mut machine, shape.cpus, end);
    }
    if storm.changes {
        let mut now = 0;
        while now < end {
            now += rng.u64(MS..40 * MS);
            machine.run_until(now.min(end), |machine| watch.look(machine));
            change(rng, &mut machine, shape.cpus);
        }
    }
    machine.run_until(end, |machine| watch.look(machine));
    (machine, watch)
}

/// Schedules random hotplug of all CPUs but one. All CPUs are online for the last fifth of the time.
fn plug<P: Simulated>(rng: &mut Rng, machine: &mut Machine<P>, cpus: u32, end: u64) {
    let stays = rng.u32(0..cpus);
    for cpu in (0..cpus).filter(|cpu| *cpu != stays) {
        let mut now = 0;
        while now < end * 4 / 5 {
            let gone = now + rng.u64(MS..100 * MS);
            now = gone + rng.u64(10 * US..100 * MS);
            machine.plug_at(gone, CpuId(cpu), false);
            machine.plug_at(now, CpuId(cpu), true);
        }
    }
}

fn change<P: Simulated>(rng: &mut Rng, machine: &mut Machine<P>, cpus: u32) {
    let index = rng.usize(0..machine.vcpus.len());
    let mut spec = machine.vcpus[index].task.spec;
    match rng.u8(0..4) {
        0 => spec.affinity = random::affinity(rng, cpus),
        1 => spec.weight = rng.u16(1..2000),
        2 => spec.cap_percent = if spec.cap_percent == 0 { rng.u32(1..100) } else { 0 },
        _ => {
            spec.period_us = rng.u64(1_000..50_000);
            spec.budget_us = rng.u64(10..=spec.period_us);
            spec.extratime = rng.bool();
        }
    }
    machine.set(index, spec);
}
