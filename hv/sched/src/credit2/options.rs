//! What is set for a pool, and what is set of a unit.

use alloc::sync::Arc;

use super::pot::Pot;
use crate::policy::Sharing;
use crate::{CAP_PERIOD_NS, RATELIMIT_NS, WEIGHT_DEFAULT};

/// What is set for a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// Which CPUs share a run queue.
    ///
    /// **Source:** Xen's command line, `credit2_runqueue=`.
    pub sharing: Sharing,
    /// How many CPUs share one at most.
    ///
    /// **Source:** Xen's command line, `sched_credit2_max_cpus_runqueue=`.
    pub most_cpus: u32,
    /// How long a unit runs at least before another one takes its CPU, in nanoseconds; 0 for no limit.
    ///
    /// **Source:** Xen's command line, `sched_ratelimit_us=`.
    pub ratelimit_ns: u64,
    /// Over how long the load of a queue is averaged, as a power of two in nanoseconds.
    ///
    /// **Source:** Xen's command line, `credit2_load_window_shift=`.
    pub load_window_shift: u32,
    /// How far a queue that has fewer units than CPUs must be behind another one before a unit is moved there: 160 ms of
    /// service times two to this power.
    ///
    /// **Source:** Xen's command line, `credit2_balance_under=`.
    pub balance_under: i32,
    /// The same for a queue that has more.
    ///
    /// **Source:** Xen's command line, `credit2_balance_over=`.
    pub balance_over: i32,
    /// How much further behind a unit must be to be taken to another CPU than its last one, in virtual
    /// nanoseconds.
    ///
    /// **Source:** Xen's command line, `sched_credit2_migrate_resist=`.
    pub migrate_resist_ns: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sharing: Sharing::Socket,
            most_cpus: 16,
            ratelimit_ns: RATELIMIT_NS,
            load_window_shift: 30,
            balance_under: 0,
            balance_over: -3,
            migrate_resist_ns: 500_000,
        }
    }
}

/// What a toolstack sets of a unit.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Twice as much means twice the time; at least 1.
    pub weight: u16,
    /// What the domain's units may use together, if it has a cap.
    pub pot: Option<Arc<Pot>>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { weight: WEIGHT_DEFAULT, pot: None }
    }
}

impl Parameters {
    /// Of a unit of a domain without a cap.
    #[must_use]
    pub fn of_weight(weight: u16) -> Self {
        Self { weight: weight.max(1), pot: None }
    }
}

/// The period over which caps are kept, in nanoseconds, if nobody sets another one.
///
/// **Source:** Xen's command line, `credit2_cap_period_ms=`.
pub const CAP_PERIOD_DEFAULT_NS: u64 = CAP_PERIOD_NS;
