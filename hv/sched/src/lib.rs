//! Scheduling policy: given what can run, the time and what happened, says who runs next and until when.
//!
//! Nothing here reads a clock or takes a lock. A [`RunQueue`] is the state of one CPU; the core keeps each behind its
//! own lock. What can run is an [`Entity`], a value that cannot be copied: it lies in one run queue, or with the core
//! while it sleeps. So the policy cannot name one entity for two CPUs; and the core still checks its answers, since a
//! vCPU's state can be taken by one CPU only.
//!
//! **The policy.** Each entity has a virtual time, which advances while it runs, the slower the greater its weight.
//! The one that is furthest behind runs next, for a slice of about 10 ms. One that wakes up comes a little before those
//! that ran all the time, and takes the CPU from one that is ahead of it, but not before that one had it for 1 ms. A
//! capped entity that has used up its share of a period stays aside until the next one. With nobody else waiting there
//! is no end to a slice, and no timer.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod balance;
mod cap;
mod cpu_set;
pub mod credit2;
mod entity;
pub mod null;
pub mod policy;
pub mod rtds;
mod run_queue;

pub use balance::{Load, busiest, place, underloaded};
pub use cpu_set::{CpuMask, CpuSet, Cpus};
pub use entity::{Entity, Settings, SettingsError, WEIGHT_DEFAULT};
pub use run_queue::{Decision, Next, RunQueue, Wake};

/// How long one entity of default weight or more runs while others wait.
pub const SLICE_NS: u64 = 10_000_000;
/// How long an entity runs at least before another one takes the CPU from it.
pub const RATELIMIT_NS: u64 = 1_000_000;
/// The period over which a cap is kept.
pub const CAP_PERIOD_NS: u64 = 10_000_000;
/// How far, in virtual time, one that wakes up may come before those that ran all the time.
const WAKE_BONUS_NS: u64 = SLICE_NS / 2;
/// How far, in virtual time, the running one must be ahead of one that wakes up to lose the CPU to it.
const WAKE_MARGIN_NS: u64 = RATELIMIT_NS;
