//! What the scheduler keeps in each vCPU.

use core::sync::atomic::Ordering;
use xenolith_hal::{CpuId, Time};
use xenolith_sched::{CpuSet, Entity, Settings};
use xenolith_sync::atomic::AtomicU64;
use xenolith_sync::{SpinLock, rank};

/// The vCPU's place with the scheduler.
pub struct Slot {
    /// The policy's value for as long as the vCPU is in no queue and has no CPU.
    entity: SpinLock<Option<Entity<()>>, rank::VcpuState>,
    /// What the toolstack wants.
    settings: SpinLock<Wanted, rank::VcpuState>,
    /// Until when some CPU lets it sleep; the largest number if none does.
    sleeps_until: AtomicU64,
}

/// What the toolstack wants, and what the vCPU asked for itself.
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
    /// What the toolstack wants.
    pub fn settings(&self) -> Settings {
        self.settings.lock().settings
    }

    /// What holds now: what the toolstack wants, but on one CPU alone while the vCPU has pinned itself.
    pub fn effective(&self) -> Settings {
        let wanted = *self.settings.lock();
        wanted.pinned.map_or(wanted.settings, |cpu| wanted.settings.only_on(CpuSet::only(cpu)))
    }

    /// The CPU to which the vCPU has pinned itself.
    pub fn pinned(&self) -> Option<CpuId> {
        self.settings.lock().pinned
    }

    pub(crate) fn set(&self, settings: Settings) {
        self.settings.lock().settings = settings;
    }

    pub(crate) fn pin(&self, cpu: Option<CpuId>) -> Option<CpuId> {
        core::mem::replace(&mut self.settings.lock().pinned, cpu)
    }

    /// Takes the policy's value, to put it into a queue; none if it stands in one or has a CPU.
    pub(crate) fn take(&self) -> Option<Entity<()>> {
        self.entity.lock().take()
    }

    /// Puts the policy's value back.
    pub(crate) fn put(&self, entity: Entity<()>) {
        *self.entity.lock() = Some(entity);
    }

    /// Notes that it sleeps until then; false if some CPU looks after it by then anyway.
    pub(crate) fn begin_sleep(&self, until: Time) -> bool {
        self.sleeps_until.fetch_min(until.0, Ordering::SeqCst) > until.0
    }

    /// The CPU that looked after it lets go of it; false if another entry counts.
    pub(crate) fn end_sleep(&self, until: Time) -> bool {
        self.sleeps_until.compare_exchange(until.0, u64::MAX, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Until when some CPU lets it sleep; [`Time::NEVER`] if none does.
    pub fn sleeps_until(&self) -> Time {
        Time(self.sleeps_until.load(Ordering::SeqCst))
    }

    /// True if it is in no queue and has no CPU; none while another CPU holds the lock.
    pub fn is_aside(&self) -> Option<bool> {
        self.entity.try_lock().map(|entity| entity.is_some())
    }

    /// True if an entry with this deadline is the one that counts.
    pub(crate) fn sleeps_by(&self, until: Time) -> bool {
        self.sleeps_until.load(Ordering::SeqCst) == until.0
    }
}
