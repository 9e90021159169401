//! The calls into the policy, each a function that is never inlined: so their instructions can be counted.

use xenolith_hal::{CpuId, Time};
use xenolith_sched::policy::{Decision, Policy, QueueId, UnitId, drive};

use crate::floor::Floor;

/// The pattern by which callgrind knows these functions.
pub const PATTERN: &str = "sched_sim::decision::*";

/// A CPU asks what to do.
#[inline(never)]
pub fn choose<P: Policy>(floor: &Floor<P>, cpu: CpuId, now: Time, can_run: bool) -> Decision {
    drive::choose(floor, cpu, now, can_run)
}

/// The vCPU that left a CPU is in memory.
#[inline(never)]
pub fn saved<P: Policy>(floor: &Floor<P>, cpu: CpuId, now: Time) {
    drive::saved(floor, cpu, now);
}

/// A vCPU wants a CPU.
#[inline(never)]
pub fn wake<P: Policy>(floor: &Floor<P>, id: UnitId, now: Time) {
    drive::wake(floor, id, now);
}

/// A queue's timer goes off.
#[inline(never)]
pub fn tick<P: Policy>(floor: &Floor<P>, queue: QueueId, now: Time) -> Time {
    drive::tick(floor, queue, now)
}
