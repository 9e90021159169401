//! What control operations on the machine leave behind.

use core::sync::atomic::{AtomicU32, AtomicU64};

/// How long a vCPU is not preempted unless somebody says otherwise, in microseconds.
const DEFAULT_RATELIMIT_US: u32 = 1000;

/// Settings that the toolstack changes.
#[derive(Debug)]
pub struct SysctlState {
    /// Where the hypervisor's log begins for who reads all of it, counted in bytes since boot.
    pub(crate) log_start: AtomicU64,
    /// How long a vCPU is not preempted, in microseconds.
    pub(crate) ratelimit_us: AtomicU32,
}

impl Default for SysctlState {
    fn default() -> Self {
        Self { log_start: AtomicU64::new(0), ratelimit_us: AtomicU32::new(DEFAULT_RATELIMIT_US) }
    }
}
