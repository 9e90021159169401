//! Scheduling policies: from what is runnable, the time and an event, which vCPU a CPU runs next and until when.
//!
//! No policy reads a clock or takes a lock: the caller passes the time in and keeps each run queue behind a lock of its
//! own. So every schedule can be replayed in a test.
//!
//! | here | what it is |
//! |---|---|
//! | [`RunQueue`], [`Entity`], [`Settings`] | the scheduler that the core drives: a run queue for each CPU |
//! | [`place`], [`busiest`], [`underloaded`] | its load balancing between CPUs |
//! | [`CpuSet`], [`Cpus`] | CPU masks |
//! | [`Policy`], [`policy`] | the interface of policies whose run queues are shared by CPUs, and what they are made of |
//! | [`Credit2`], [`Null`], [`Rtds`] | those policies; only the simulator drives them yet |
//!
//! **The scheduler of the core.** Each entity (a vCPU) has a virtual time, which advances while it runs, slower for a
//! greater weight. The entity with the least virtual time runs next, for a time slice of 10 ms. An entity that wakes up
//! starts a little behind entities that ran all the time, and preempts one that is ahead of it once that has run for the
//! rate limit of 1 ms. A capped entity that has used up its budget is throttled until the next period. While nothing
//! waits, no time slice ends and no timer is set.
//!
//! An [`Entity`] cannot be copied: it is in one run queue, or with the core while the vCPU sleeps. So no two CPUs can be
//! given one vCPU; the core checks that too, since only one CPU can take a vCPU's state.
//!
//! ```
//! use xenolith_hal::{CpuId, Time};
//! use xenolith_sched::{CpuSet, Entity, Next, RunQueue, SLICE_NS, Settings};
//!
//! let weight = |weight| Settings::new(weight, 0, CpuSet::ALL, CpuSet::ALL).unwrap();
//! let mut queue = RunQueue::new(CpuId(0));
//! queue.insert(Entity::new("database", weight(512)), Time(0)).unwrap();
//! queue.insert(Entity::new("batch", weight(256)), Time(0)).unwrap();
//!
//! // Both compute for three seconds: the CPU reschedules at each deadline.
//! let (mut now, mut database_ns) = (Time(0), 0);
//! while now < Time(3_000_000_000) {
//!     let decision = queue.choose(now, true);
//!     assert!(decision.next != Next::Idle && decision.deadline <= now.after_ns(SLICE_NS));
//!     let ran = decision.deadline.since_ns(now);
//!     if queue.current().map(Entity::key) == Some(&"database") {
//!         database_ns += ran;
//!     }
//!     now = decision.deadline;
//! }
//! // Twice the weight is twice the time.
//! assert!((1_980_000_000..=2_020_000_000).contains(&database_ns), "{database_ns}");
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::disallowed_macros,
        clippy::disallowed_methods,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

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
#[doc(inline)]
pub use credit2::Credit2;
pub use entity::{Entity, Settings, SettingsError, WEIGHT_DEFAULT};
#[doc(inline)]
pub use null::Null;
#[doc(inline)]
pub use policy::Policy;
#[doc(inline)]
pub use rtds::Rtds;
pub use run_queue::{Decision, Next, RunQueue, Wake};

/// Time slice of an entity of default weight or more, while others wait.
pub const SLICE_NS: u64 = 10_000_000;
/// Rate limit: the least time that an entity runs before it is preempted.
///
/// **Source:** Xen's command-line manual, `sched_ratelimit_us`: 1000 µs.
pub const RATELIMIT_NS: u64 = 1_000_000;
/// Period over which a cap is enforced.
///
/// **Source:** Xen's command-line manual, `credit2_cap_period_ms`: 10 ms.
pub const CAP_PERIOD_NS: u64 = 10_000_000;
/// Virtual time by which an entity that wakes up may be behind entities that ran all the time.
const WAKE_BONUS_NS: u64 = SLICE_NS / 2;
/// Virtual time by which the current entity must be ahead of one that wakes up to be preempted.
const WAKE_MARGIN_NS: u64 = RATELIMIT_NS;
