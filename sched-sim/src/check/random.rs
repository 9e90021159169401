//! Random machines and workloads.

use fastrand::Rng;
use xenolith_hal::CpuId;
use xenolith_sched::Cpus;
use xenolith_sched::policy::Affinity;

use crate::shape::Shape;
use crate::task::{Habit, MS, Spec, Spread, Task, US};

/// Returns a machine of up to `most` CPUs.
pub fn shape(rng: &mut Rng, most: u32) -> Shape {
    Shape {
        cpus: rng.u32(1..=most),
        threads_per_core: rng.u32(1..=2),
        cores_per_socket: rng.u32(1..=4),
        sockets_per_node: rng.u32(1..=2),
    }
}

/// Returns a set of at least one of the first `of` CPUs.
pub fn cpus(rng: &mut Rng, of: u32) -> Cpus {
    let mut set = Cpus::only(CpuId(rng.u32(0..of)));
    let part = rng.f64();
    (0..of).filter(|_| rng.f64() < part).for_each(|cpu| set.insert(CpuId(cpu)));
    set
}

/// Returns an affinity; in half of all cases one that allows all CPUs.
pub fn affinity(rng: &mut Rng, of: u32) -> Affinity {
    let hard = if rng.bool() { Cpus::ALL } else { cpus(rng, of) };
    let soft = if rng.bool() { Cpus::ALL } else { cpus(rng, of) };
    Affinity { hard, soft }
}

/// Returns the behaviour of a vCPU that works for itself alone.
pub fn habit(rng: &mut Rng) -> Habit {
    let time = |rng: &mut Rng| {
        let mean = rng.u64(20 * US..30 * MS);
        if rng.bool() { Spread::Fixed(mean) } else { Spread::Exponential(mean) }
    };
    match rng.u8(0..4) {
        0 => Habit::Busy,
        1 => Habit::Sleeper { work: Spread::Exponential(rng.u64(20 * US..500 * US)), think: time(rng) },
        2 => Habit::Sleeper { work: time(rng), think: time(rng) },
        _ => {
            let period = rng.u64(MS..50 * MS);
            Habit::Periodic { period, work: rng.u64(10 * US..period), offset: rng.u64(0..period) }
        }
    }
}

/// Returns CPU-bound vCPUs with these weights, each in a domain of its own.
pub fn busy(weights: &[u16]) -> Vec<Task> {
    let of = |(weight, domain): (&u16, u32)| Task {
        habit: Habit::Busy,
        spec: Spec { weight: *weight, ..Spec::of_domain(domain) },
    };
    weights.iter().zip(0..).map(of).collect()
}
