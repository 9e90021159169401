//! Credit2: proportional share by weight, for general use. Stands for Xen's credit2.
//!
//! A unit's credit is its virtual time: it advances while the unit runs, slower for a greater weight, and the unit with
//! the least virtual time runs next. So there is no credit reset over all units, and a decision costs O(log n) in the
//! units that wait. A unit that wakes up starts a little behind units that ran all the time. It preempts the running
//! unit that is furthest ahead of it, once that has run for the rate limit. While no unit waits, no time slice ends and
//! no timer is set.
//!
//! The CPUs of a socket share a run queue, so a CPU that becomes free finds most of its work in its own queue. A unit
//! migrates to another queue in three cases: a CPU is idle (work stealing), the unit wakes up and only another queue
//! has an idle CPU, or the virtual time of its queue lags behind that of another one (load balancing).

mod account;
mod balance;
mod choice;
mod options;
mod pot;
mod queue;
mod wake;

pub use account::Account;
pub use options::{CAP_PERIOD_DEFAULT_NS, Options, Parameters};
pub use pot::Pot;
pub use queue::Credit2;

/// CPU time by which a unit that wakes up may be behind units that ran all the time.
const WAKE_BONUS_NS: u64 = crate::SLICE_NS / 2;
/// Virtual time by which the running unit must be ahead of a waiting one to be preempted before its slice ends.
const MARGIN_NS: u64 = crate::RATELIMIT_NS;
/// CPU time by which a unit may be behind or ahead of its queue. Older differences are forgotten, so that a unit that
/// catches up does not keep a CPU for longer than this.
const MEMORY_NS: u64 = 5 * crate::SLICE_NS;
/// Interval of load balancing of a queue in which units wait.
const BALANCE_NS: u64 = 10_000_000;
