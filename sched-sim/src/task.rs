//! What a simulated vCPU does, and its scheduling parameters.

use std::rc::Rc;

use fastrand::Rng;
use xenolith_sched::policy::Affinity;

pub const US: u64 = 1_000;
pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1_000_000_000;

/// A time that may vary from one occasion to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spread {
    /// This time, in nanoseconds.
    Fixed(u64),
    /// Exponentially distributed, with this mean in nanoseconds.
    Exponential(u64),
}

impl Spread {
    /// Draws the time of one occasion in nanoseconds, at least 1.
    pub fn draw(self, rng: &mut Rng) -> u64 {
        match self {
            Self::Fixed(ns) => ns.max(1),
            Self::Exponential(mean) => ((-(1.0 - rng.f64()).ln() * mean as f64) as u64).max(1),
        }
    }

    /// Returns the mean in nanoseconds.
    #[must_use]
    pub const fn mean(self) -> u64 {
        match self {
            Self::Fixed(ns) | Self::Exponential(ns) => ns,
        }
    }
}

/// The behaviour of a vCPU. Times are in nanoseconds.
#[derive(Clone, Debug)]
pub enum Habit {
    /// Computes for ever.
    Busy,
    /// Works, then sleeps, and again.
    Sleeper { work: Spread, think: Spread },
    /// Works, sends a request to another vCPU, waits for the response, thinks, and again.
    Client { work: Spread, think: Spread, to: usize },
    /// Works for each request, then passes it on to `next` or responds to its client.
    Server { work: Spread, next: Option<usize> },
    /// Works at the start of each period; the end of the period is its deadline.
    Periodic { period: u64, work: u64, offset: u64 },
    /// Works and sleeps for these times in turn, starting at `start`; then from the beginning if `again`.
    Recorded { start: u64, steps: Rc<[(u64, u64)]>, again: bool },
}

/// Scheduling parameters of a vCPU, for any policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Spec {
    pub affinity: Affinity,
    /// Number of its domain. vCPUs of one domain share a cap.
    pub domain: u32,
    pub weight: u16,
    /// Cap of the domain in percent of one CPU; 0 for no cap.
    pub cap_percent: u32,
    /// RTDS: period in microseconds.
    pub period_us: u64,
    /// RTDS: budget in microseconds.
    pub budget_us: u64,
    /// RTDS: extra time, whether it may run on without budget.
    pub extratime: bool,
}

impl Spec {
    /// Returns the default parameters, for a vCPU of this domain.
    #[must_use]
    pub fn of_domain(domain: u32) -> Self {
        Self {
            affinity: Affinity::default(),
            domain,
            weight: 256,
            cap_percent: 0,
            period_us: 10_000,
            budget_us: 4_000,
            extratime: true,
        }
    }
}

/// A vCPU to simulate.
#[derive(Clone, Debug)]
pub struct Task {
    pub habit: Habit,
    pub spec: Spec,
}

/// What a vCPU does after it has done its work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum After {
    /// Works on for this time, in nanoseconds, without a pause.
    Work(u64),
    /// Sleeps until this time, in nanoseconds.
    Sleep(u64),
    /// Waits for a message.
    Wait,
}

impl Task {
    /// Returns the share of a CPU that it can use; None if that depends on other vCPUs.
    #[must_use]
    pub fn demand(&self) -> Option<f64> {
        let part = |work: u64, rest: u64| work as f64 / (work + rest).max(1) as f64;
        Some(match &self.habit {
            Habit::Busy => 1.0,
            Habit::Sleeper { work, think } => part(work.mean(), think.mean()),
            Habit::Client { .. } | Habit::Server { .. } => return None,
            Habit::Periodic { period, work, .. } => *work as f64 / (*period).max(1) as f64,
            Habit::Recorded { steps, .. } => {
                let (work, rest) = steps.iter().fold((0, 0), |(work, rest), step| (work + step.0, rest + step.1));
                part(work, rest)
            }
        })
    }
}
