//! Plays a workload under a policy.

use std::time::Instant;

use fastrand::Rng;
use xenolith_hal::CpuId;

use crate::machine::{Costs, Machine, Simulated};
use crate::report::Report;
use crate::shape::Shape;
use crate::task::{MS, SECOND, Task, US};

/// What is played.
#[derive(Clone, Debug)]
pub struct Scene {
    pub shape: Shape,
    pub tasks: Vec<Task>,
    /// CPUs come and go.
    pub hotplug: bool,
    /// Simulated time, in nanoseconds.
    pub end: u64,
    pub seed: u64,
    /// Up to when it is recorded who had which CPU, in nanoseconds.
    pub record_until: u64,
}

/// Asking a CPU and switching, as an interrupt and a world switch take.
pub const COSTS: Costs = Costs { kick_ns: US, switch_ns: 2 * US };

/// Plays a scene.
#[must_use]
pub fn play<P: Simulated>(scene: &Scene, options: &P::Options) -> Report {
    let start = Instant::now();
    let tasks = scene.tasks.clone();
    let mut machine = Machine::<P>::new(scene.shape.topology(), options, tasks, COSTS, scene.seed);
    machine.measures.record_until = scene.record_until;
    if scene.hotplug {
        plug(&mut machine, scene);
    }
    machine.run_until(scene.end, |_| {});
    machine.measures.close(scene.end);
    Report::of(P::NAME, machine, scene.shape.cpus, start.elapsed().as_secs_f64())
}

/// Each CPU but the first goes from time to time and comes back.
fn plug<P: Simulated>(machine: &mut Machine<P>, scene: &Scene) {
    let mut rng = Rng::with_seed(scene.seed);
    for cpu in (1..scene.shape.cpus).map(CpuId) {
        let mut now = 0;
        while now < scene.end {
            let gone = now + rng.u64(50 * MS..SECOND);
            now = gone + rng.u64(MS..200 * MS);
            machine.plug_at(gone, cpu, false);
            machine.plug_at(now, cpu, true);
        }
    }
}
