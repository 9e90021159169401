//! The numbered parameters of a domain (`HVM_PARAM_*`).

use core::sync::atomic::{AtomicU64, Ordering};
use xen_abi::Errno;

/// How many there are. **Source:** `hvm/params.h`, `HVM_NR_PARAMS`.
pub const COUNT: usize = 39;

/// Plain storage; the rules of who may read or write which are the operation's.
pub struct HvmParams([AtomicU64; COUNT]);

impl Default for HvmParams {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; COUNT])
    }
}

impl HvmParams {
    /// The value of a parameter.
    ///
    /// **Errors:** `EINVAL` for a number that does not exist.
    pub fn get(&self, index: u32) -> Result<u64, Errno> {
        self.0.get(index as usize).map(|value| value.load(Ordering::SeqCst)).ok_or(Errno::EINVAL)
    }

    /// Sets a parameter.
    ///
    /// **Errors:** `EINVAL` for a number that does not exist.
    pub fn set(&self, index: u32, value: u64) -> Result<(), Errno> {
        self.0.get(index as usize).map(|slot| slot.store(value, Ordering::SeqCst)).ok_or(Errno::EINVAL)
    }
}
