//! Options of a CPU pool, and scheduling parameters of a unit.

use alloc::sync::Arc;

use super::pot::Pot;
use crate::policy::Sharing;
use crate::{CAP_PERIOD_NS, RATELIMIT_NS, WEIGHT_DEFAULT};

/// Options of a CPU pool. The defaults are those of Xen 4.17, unless a field says otherwise.
///
/// **Source:** Xen's command-line manual.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// CPUs that share a run queue: `credit2_runqueue=`, default `socket`.
    pub sharing: Sharing,
    /// The most CPUs that share a run queue: `sched_credit2_max_cpus_runqueue=`, default 16.
    pub most_cpus: u32,
    /// Rate limit: the least time that a unit runs before it is preempted, in nanoseconds; 0 for no limit.
    /// `sched_ratelimit_us=`, default 1000 µs; a toolstack may set 0 or 100 to 500,000 µs
    /// (`XEN_SYSCTL_SCHED_RATELIMIT_MIN`, `_MAX` in `sysctl.h`).
    pub ratelimit_ns: u64,
    /// Window of the load average, as a power of two in nanoseconds: `credit2_load_window_shift=`, default 30, which is
    /// 1.07 s.
    pub load_window_shift: u32,
    /// Lag behind another queue that a queue with fewer units than CPUs tolerates before a unit migrates: 160 ms of CPU
    /// time times two to this power. `credit2_balance_under=`, default 0.
    ///
    /// **Source:** the default is what Xen 4.17 prints at boot (`underload_balance_tolerance`); the manual has the name
    /// only.
    pub balance_under: i32,
    /// Lag that a queue with at least as many units as CPUs tolerates: 160 ms of CPU time times two to this power.
    /// `credit2_balance_over=`, default -3.
    ///
    /// **Source:** the default is what Xen 4.17 prints at boot (`overload_balance_tolerance`); the manual has the name
    /// only.
    pub balance_over: i32,
    /// Migration resistance: virtual time by which a unit must be further behind to preempt on another CPU than its
    /// last one, in nanoseconds. `sched_credit2_migrate_resist=`, in µs.
    ///
    /// **Source:** the manual gives neither unit nor default; 500 µs is this policy's choice.
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

/// Scheduling parameters of a unit, set by the toolstack.
#[derive(Clone, Debug)]
pub struct Parameters {
    /// Share of the CPUs relative to other units; at least 1. Twice the weight is twice the time.
    pub weight: u16,
    /// Budget that the units of a capped domain share; None without a cap.
    pub pot: Option<Arc<Pot>>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self { weight: WEIGHT_DEFAULT, pot: None }
    }
}

impl Parameters {
    /// Makes the parameters of a unit of a domain without a cap; a weight of 0 counts as 1.
    #[must_use]
    pub fn of_weight(weight: u16) -> Self {
        Self { weight: weight.max(1), pot: None }
    }
}

/// Period over which a cap is enforced, in nanoseconds, unless the pool has another one.
///
/// **Source:** Xen's command-line manual, `credit2_cap_period_ms`: 10 ms.
pub const CAP_PERIOD_DEFAULT_NS: u64 = CAP_PERIOD_NS;
