//! The calls into the policy, each in a function that is never inlined, so that callgrind can count its instructions.

use xenolith_hal::{CpuId, Time};
use xenolith_sched::policy::{Decision, Policy, QueueId, UnitId, drive};

use crate::pool::SimulatedPool;

/// The pattern by which callgrind selects these functions.
pub const PATTERN: &str = "sched_sim::decision::*";

/// Decides what a CPU does next; see [`drive::choose`].
#[inline(never)]
pub fn choose<P: Policy>(pool: &SimulatedPool<P>, cpu: CpuId, now: Time, can_run: bool) -> Decision {
    drive::choose(pool, cpu, now, can_run)
}

/// Reports that the registers of the vCPU that left a CPU are saved; see [`drive::saved`].
#[inline(never)]
pub fn saved<P: Policy>(pool: &SimulatedPool<P>, cpu: CpuId, now: Time) {
    drive::saved(pool, cpu, now);
}

/// Wakes a vCPU; see [`drive::wake`].
#[inline(never)]
pub fn wake<P: Policy>(pool: &SimulatedPool<P>, id: UnitId, now: Time) {
    drive::wake(pool, id, now);
}

/// Handles the timer of a queue; see [`drive::tick`].
#[inline(never)]
pub fn tick<P: Policy>(pool: &SimulatedPool<P>, queue: QueueId, now: Time) -> Time {
    drive::tick(pool, queue, now)
}
