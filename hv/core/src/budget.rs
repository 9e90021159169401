//! How long a call may work before its guest gets its interrupts.

use xenolith_hal::{Machine, Time};

/// A call works this long, in nanoseconds, then it is made again by the guest.
const BUDGET_NS: u64 = 1_000_000;
/// Steps between two looks at the clock.
const STEPS_A_LOOK: u32 = 16;

/// The time that one call has. Reading the clock costs as much as a small step, so it is read once in 16 steps.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    started: Time,
    steps: u32,
}

impl Budget {
    /// Starts the budget of a call that begins now.
    pub fn start<M: Machine>(machine: &M) -> Self {
        Self { started: machine.now(), steps: 0 }
    }

    /// Counts a step, and returns whether the call must end before it. Never before the first steps, so each call makes
    /// progress.
    pub fn is_spent<M: Machine>(&mut self, machine: &M) -> bool {
        self.is_spent_by(machine, 1)
    }

    /// Returns the same as [`Budget::is_spent`], before a step that takes as long as `worth` ordinary ones.
    pub fn is_spent_by<M: Machine>(&mut self, machine: &M, worth: u32) -> bool {
        self.steps = self.steps.saturating_add(worth);
        if self.steps < STEPS_A_LOOK {
            return false;
        }
        self.steps = 0;
        self.is_over(machine)
    }

    /// Reads the clock: true when the time is up. For steps that are long.
    pub fn is_over<M: Machine>(&self, machine: &M) -> bool {
        machine.now().since_ns(self.started) >= BUDGET_NS
    }
}
