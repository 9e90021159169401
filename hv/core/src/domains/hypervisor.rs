//! The hypervisor as a whole.

use crate::components::cpu_policy::SystemPolicies;
use crate::components::devices::DeviceInterrupts;
use crate::components::event_channel::GlobalVirqs;
use crate::components::reference::Reference;
use crate::components::sysctl_state::SysctlState;
use crate::domains::domain::Domain;
use crate::domains::scheduler::Scheduler;
use crate::domains::table::DomainTable;
use crate::memory::frames::Frames;
use crate::settings::Settings;
use alloc::sync::Arc;
use xen_abi::{DomId, Errno};
use xenolith_devices::cpuid::CpuidTable;
use xenolith_hal::{Machine, WallClock};
use xenolith_sync::{Once, SpinLock, rank};

/// Everything there is, one of it. The machine calls nothing in here; the image calls [`crate::run::run`] once
/// on each CPU, and that is where everything happens.
pub struct Hypervisor<M: Machine> {
    /// What it runs on.
    pub machine: M,
    /// What the boot options and the build decided.
    pub settings: Settings,
    /// The machine's memory, and what waits to be free again.
    pub frames: Frames,
    /// Every domain by its number.
    pub domains: DomainTable<M>,
    /// Which vCPU runs where, and when.
    pub scheduler: Scheduler<M>,
    /// Whose the interrupts of the machine's devices are.
    pub device_interrupts: DeviceInterrupts,
    /// Date and time at system time 0.
    pub wall_clock: SpinLock<WallClock, rank::Timers>,
    /// What domains can be told about the CPU.
    pub policies: SystemPolicies,
    /// Who handles the machine's virtual interrupts.
    pub global_virqs: GlobalVirqs,
    /// What the toolstack set for the machine as a whole.
    pub sysctl: SysctlState,
    /// See [`Hypervisor::every_now_and_then`].
    upkeep: Once<fn()>,
}

/// A domain, shared by whoever works on it.
pub type DomainRef<M> = Arc<Domain<M>>;

/// A domain that the caller keeps alive, or that this keeps alive.
pub type DomainHandle<'a, M> = Reference<'a, Domain<M>, DomainRef<M>>;

impl<M: Machine> Hypervisor<M> {
    /// A hypervisor without domains.
    pub fn new(machine: M, frames: Frames, settings: Settings) -> Self {
        let wall_clock = SpinLock::new(machine.wall_clock_at_boot());
        let scheduler = Scheduler::new(&machine);
        Self {
            machine,
            settings,
            frames,
            domains: DomainTable::default(),
            scheduler,
            device_interrupts: DeviceInterrupts::default(),
            wall_clock,
            policies: SystemPolicies::default(),
            global_virqs: GlobalVirqs::default(),
            sysctl: SysctlState::default(),
            upkeep: Once::new(),
        }
    }

    /// Names what is to be done every now and then where no lock is held, and before the toolstack has anything made: it
    /// lets the heap grow. Once, before any guest runs.
    pub fn every_now_and_then(&self, work: fn()) {
        let _ = self.upkeep.set(work);
    }

    /// Does that.
    pub fn keep_up(&self) {
        if let Some(work) = self.upkeep.get() {
            work();
        }
    }

    /// Date and time at system time 0.
    pub fn wall_clock(&self) -> WallClock {
        *self.wall_clock.lock()
    }

    /// Sets the date for everybody; the shared pages are the caller's to update.
    pub fn set_wall_clock(&self, at_boot: WallClock) {
        *self.wall_clock.lock() = at_boot;
    }

    /// The domain with this number.
    ///
    /// **Errors:** `ESRCH` if there is none.
    pub fn domain(&self, id: DomId) -> Result<DomainRef<M>, Errno> {
        self.domains.get(id).ok_or(Errno::ESRCH)
    }

    /// What the machine's CPUs say of themselves.
    pub fn host_policy(&self) -> &CpuidTable {
        self.policies.host(&self.machine, self.settings.capabilities)
    }

    /// What CPUID can tell a domain at most.
    pub fn most_policy(&self) -> &CpuidTable {
        self.policies.most(&self.machine, self.settings.capabilities)
    }

    /// What CPUID tells a domain unless the toolstack says otherwise.
    pub fn default_policy(&self) -> &CpuidTable {
        self.policies.default_for_guest(&self.machine, self.settings.capabilities)
    }
}
