//! Simulation of a workload under a policy.

use std::time::Instant;

use fastrand::Rng;
use xenolith_hal::CpuId;

use crate::machine::{Costs, Machine, Simulated};
use crate::report::Report;
use crate::shape::Shape;
use crate::task::{MS, SECOND, Task, US};

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub shape: Shape,
    pub tasks: Vec<Task>,
    /// CPUs go offline and online.
    pub hotplug: bool,
    /// Simulated time, in nanoseconds.
    pub end: u64,
    pub seed: u64,
    /// End of the recorded trace, in nanoseconds.
    pub record_until: u64,
}

/// Delays as of an IPI and a world switch.
pub const COSTS: Costs = Costs { kick_ns: US, switch_ns: 2 * US };

/// Simulates a scenario and returns its report.
#[must_use]
pub fn play<P: Simulated>(scenario: &Scenario, options: &P::Options) -> Report {
    let start = Instant::now();
    let tasks = scenario.tasks.clone();
    let mut machine = Machine::<P>::new(scenario.shape.topology(), options, tasks, COSTS, scenario.seed);
    machine.measures.record_until = scenario.record_until;
    if scenario.hotplug {
        plug(&mut machine, scenario);
    }
    machine.run_until(scenario.end, |_| {});
    machine.measures.close(scenario.end);
    Report::of(P::NAME, machine, scenario.shape.cpus, start.elapsed().as_secs_f64())
}

/// Schedules each CPU but the first to go offline and online from time to time.
fn plug<P: Simulated>(machine: &mut Machine<P>, scenario: &Scenario) {
    let mut rng = Rng::with_seed(scenario.seed);
    for cpu in (1..scenario.shape.cpus).map(CpuId) {
        let mut now = 0;
        while now < scenario.end {
            let gone = now + rng.u64(50 * MS..SECOND);
            now = gone + rng.u64(MS..200 * MS);
            machine.plug_at(gone, cpu, false);
            machine.plug_at(now, cpu, true);
        }
    }
}
