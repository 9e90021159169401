//! How a vCPU's time was spent.

use xen_abi::vcpu::{RUNSTATE_OFFLINE, VcpuRunstateInfo};
use xenolith_hal::Time;

/// What a vCPU is doing, since when, and for how long it did what before.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Runstate {
    state: i32,
    since: Time,
    /// Nanoseconds by state.
    spent: [u64; 4],
}

impl Runstate {
    /// Creates a vCPU that is made now, and down.
    #[must_use]
    pub const fn new(now: Time) -> Self {
        Self { state: RUNSTATE_OFFLINE, since: now, spent: [0; 4] }
    }

    /// Changes the state.
    pub fn change(&mut self, state: i32, now: Time) {
        if let Some(spent) = usize::try_from(self.state).ok().and_then(|index| self.spent.get_mut(index)) {
            *spent = spent.saturating_add(now.since_ns(self.since));
        }
        (self.state, self.since) = (state, now);
    }

    /// Returns it as a guest reads it, up to now.
    #[must_use]
    pub fn info(&self, now: Time) -> VcpuRunstateInfo {
        let mut up_to_now = *self;
        up_to_now.change(self.state, now);
        VcpuRunstateInfo { state: self.state, pad: [0; 4], state_entry_time: self.since.0, time: up_to_now.spent }
    }

    /// Returns it as it is stored in a guest's memory, where the time in the current state is not counted yet.
    pub(crate) const fn as_stored(&self) -> VcpuRunstateInfo {
        VcpuRunstateInfo { state: self.state, pad: [0; 4], state_entry_time: self.since.0, time: self.spent }
    }

    /// Returns nanoseconds for which it ran.
    #[must_use]
    pub fn ran_ns(&self, now: Time) -> u64 {
        let [ran, ..] = self.info(now).time;
        ran
    }
}
