//! Credit2: CPUs by weight, for general use.
//!
//! A unit's credit is its virtual time: it advances while the unit runs, the slower the greater its weight, and the one
//! that is furthest behind runs next. So credits are never handed out to all units at once, and every decision costs
//! O(log n) in the units that wait. A unit that wakes up comes a little before units that ran all the time. It preempts
//! the running unit that is furthest ahead, but not before that had its CPU for the rate limit. While no unit waits, no
//! slice ends and no timer is set.
//!
//! The CPUs of a socket share a run queue, so most placing is done by the CPU that becomes free. Between queues work moves
//! when a CPU has none, when a unit wakes up and another queue has a free CPU, and when the units of one queue have had
//! less for their weights than those of another.

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

/// How much time on a CPU a unit that wakes up may be behind units that ran all the time.
const WAKE_BONUS_NS: u64 = crate::SLICE_NS / 2;
/// How far, in virtual time, a running one must be ahead of one that waits to lose the CPU to it before its slice ends.
const MARGIN_NS: u64 = crate::RATELIMIT_NS;
/// How much time on a CPU a unit may be behind or ahead of its queue: what happened longer ago is forgotten, so that
/// nobody catches up at a stretch.
const MEMORY_NS: u64 = 5 * crate::SLICE_NS;
/// How often a queue in which units wait looks whether another one has less to do.
const BALANCE_NS: u64 = 10_000_000;
