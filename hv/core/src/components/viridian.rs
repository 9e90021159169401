//! Microsoft's hypervisor interface of a domain, as its vCPUs share it.

use core::sync::atomic::{AtomicU64, Ordering};
use xenolith_devices::viridian::{NoMemory, Viridian};
use xenolith_hal::Time;
use xenolith_sync::{SpinLock, rank};

/// The interface of one domain. No page of the guest's is held: each use looks its frame up.
pub struct SharedViridian {
    state: SpinLock<Viridian, rank::Device>,
    /// When the chipset's timers are due, and when vCPU 0's own: the two share a timer.
    chipset_due: AtomicU64,
    first_due: AtomicU64,
}

impl SharedViridian {
    /// Creates it, as [`Viridian::new`].
    ///
    /// **Errors:** [`NoMemory`].
    pub fn new(features: u64, vcpus: u32, khz: u32, tsc: u64, chipset_due: Time) -> Result<Self, NoMemory> {
        Ok(Self {
            state: SpinLock::new(Viridian::new(features, vcpus, khz, tsc)?),
            chipset_due: AtomicU64::new(chipset_due.0),
            first_due: AtomicU64::new(Time::NEVER.0),
        })
    }

    /// Calls `work` with the state.
    pub fn with<R>(&self, work: impl FnOnce(&mut Viridian) -> R) -> R {
        work(&mut self.state.lock())
    }

    /// Notes when the chipset is due, and returns when vCPU 0 must look at either.
    pub fn note_chipset(&self, due: Time) -> Time {
        self.chipset_due.store(due.0, Ordering::SeqCst);
        due.min(Time(self.first_due.load(Ordering::SeqCst)))
    }

    /// Notes when vCPU 0 is due, and returns when it must look at either.
    pub fn note_first(&self, due: Time) -> Time {
        self.first_due.store(due.0, Ordering::SeqCst);
        due.min(Time(self.chipset_due.load(Ordering::SeqCst)))
    }
}
