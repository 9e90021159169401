//! Settings of the machine that sysctl changes.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// The default ratelimit: how long a vCPU is not preempted, in microseconds.
const DEFAULT_RATELIMIT_US: u32 = 1000;

/// Settings that the toolstack changes.
#[derive(Debug)]
pub struct SysctlState {
    /// Where the hypervisor's log begins after it was cleared, in bytes since boot.
    pub(crate) log_start: AtomicU64,
    /// The ratelimit: how long a vCPU is not preempted, in microseconds.
    pub(crate) ratelimit_us: AtomicU32,
}

impl Default for SysctlState {
    fn default() -> Self {
        Self { log_start: AtomicU64::new(0), ratelimit_us: AtomicU32::new(DEFAULT_RATELIMIT_US) }
    }
}
