//! MSRs and CPUID of a guest: random writes, and CPU policies as a toolstack makes them up.

mod cpuid;
mod msrs;

use fastrand::Rng;

/// Plays one input, and returns how many accesses there were.
pub fn run(dice: &mut Rng) -> u64 {
    cpuid::run(dice) + msrs::run(dice)
}
