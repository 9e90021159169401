//! The scheduler's state in each vCPU.

use core::sync::atomic::Ordering;
use xenolith_hal::{CpuId, Time};
use xenolith_sched::{CpuSet, Entity, Settings};
use xenolith_sync::atomic::AtomicU64;
use xenolith_sync::{SpinLock, rank};

/// The scheduler's state of a vCPU.
pub struct Slot {
    /// The policy's value while the vCPU is in no queue and on no CPU.
    entity: SpinLock<Option<Entity<()>>, rank::VcpuState>,
    /// The toolstack's settings.
    settings: SpinLock<Wanted, rank::VcpuState>,
    /// The deadline by which a CPU wakes it; the largest number if none does.
    sleeps_until: AtomicU64,
}

/// The toolstack's settings, and the vCPU's own pin.
#[derive(Clone, Copy)]
struct Wanted {
    settings: Settings,
    pinned: Option<CpuId>,
}

impl Default for Slot {
    fn default() -> Self {
        let settings = Settings::default();
        Self {
            entity: SpinLock::new(Some(Entity::new((), settings))),
            settings: SpinLock::new(Wanted { settings, pinned: None }),
            sleeps_until: AtomicU64::new(u64::MAX),
        }
    }
}

impl Slot {
    /// Returns the toolstack's settings.
    pub fn settings(&self) -> Settings {
        self.settings.lock().settings
    }

    /// Returns the settings in force: the toolstack's, restricted to one CPU while the vCPU has pinned itself.
    #[inline]
    pub fn effective(&self) -> Settings {
        let wanted = *self.settings.lock();
        wanted.pinned.map_or(wanted.settings, |cpu| wanted.settings.only_on(CpuSet::only(cpu)))
    }

    /// Returns the CPU to which the vCPU has pinned itself.
    pub fn pinned(&self) -> Option<CpuId> {
        self.settings.lock().pinned
    }

    pub(crate) fn set(&self, settings: Settings) {
        self.settings.lock().settings = settings;
    }

    pub(crate) fn pin(&self, cpu: Option<CpuId>) -> Option<CpuId> {
        core::mem::replace(&mut self.settings.lock().pinned, cpu)
    }

    /// Takes the policy's value, to put it into a queue; None if it is in one or on a CPU.
    pub(crate) fn take(&self) -> Option<Entity<()>> {
        self.entity.lock().take()
    }

    /// Puts the policy's value back.
    pub(crate) fn put(&self, entity: Entity<()>) {
        *self.entity.lock() = Some(entity);
    }

    /// Notes that it sleeps until `until`; returns false if a CPU wakes it by then anyway.
    pub(crate) fn begin_sleep(&self, until: Time) -> bool {
        self.sleeps_until.fetch_min(until.0, Ordering::SeqCst) > until.0
    }

    /// Ends the sleep of an entry; returns false if another entry counts.
    pub(crate) fn end_sleep(&self, until: Time) -> bool {
        self.sleeps_until.compare_exchange(until.0, u64::MAX, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Returns the deadline by which a CPU wakes it; [`Time::NEVER`] if none does.
    pub fn sleeps_until(&self) -> Time {
        Time(self.sleeps_until.load(Ordering::SeqCst))
    }

    /// Returns true if it is in no queue and on no CPU; None while another CPU holds the lock.
    pub fn is_aside(&self) -> Option<bool> {
        self.entity.try_lock().map(|entity| entity.is_some())
    }

    /// Returns true if an entry with this deadline is the one that counts.
    pub(crate) fn sleeps_by(&self, until: Time) -> bool {
        self.sleeps_until.load(Ordering::SeqCst) == until.0
    }
}
