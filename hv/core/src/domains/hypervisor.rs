//! The hypervisor: the machine, its memory, its domains and its scheduler.

use crate::components::cpu_policy::SystemPolicies;
use crate::components::cpu_watchdog::CpuWatchdog;
use crate::components::devices::DeviceInterrupts;
use crate::components::event_channel::GlobalVirqs;
use crate::components::reference::Reference;
use crate::components::sysctl_state::SysctlState;
use crate::domains::domain::Domain;
use crate::domains::scheduler::Scheduler;
use crate::domains::table::DomainTable;
use crate::memory::frames::{ANYWHERE, Frames};
use crate::settings::Settings;
use xen_abi::{DomId, Errno};
use xenolith_devices::cpuid::CpuidTable;
use xenolith_devices::mmio_decode;
use xenolith_devices::pvclock::TscScale;
use xenolith_hal::{Machine, PageOrder, WallClock};
use xenolith_sync::{Arc, SpinLock, rank};

/// The most blocks of 2 MiB that the heap gets at once: enough to be low no longer.
const BLOCKS_AT_ONCE: usize = 2;

/// The one value that holds everything. The machine never calls into it; the image calls [`crate::run::run`] once on
/// each CPU, and everything happens there.
pub struct Hypervisor<M: Machine> {
    /// The machine.
    pub machine: M,
    /// The boot options and the build.
    pub settings: Settings,
    /// The machine's frames, and the ones that wait for a grace period.
    pub frames: Frames,
    /// The domains by number.
    pub domains: DomainTable<M>,
    /// The scheduler.
    pub scheduler: Scheduler<M>,
    /// The routing of the machine's device interrupts.
    pub device_interrupts: DeviceInterrupts,
    /// Returns date and time at system time 0.
    pub wall_clock: SpinLock<WallClock, rank::Timers>,
    /// How guests turn ticks into nanoseconds; computed once, since each vCPU is told whenever it gets a CPU.
    pub tsc_scale: TscScale,
    /// The host, maximum and default CPU policies.
    pub policies: SystemPolicies,
    /// The domains that handle the global VIRQs.
    pub global_virqs: GlobalVirqs,
    /// The settings of the machine that sysctl changes.
    pub sysctl: SysctlState,
    /// The watchdog over CPUs.
    pub watchdog: CpuWatchdog,
}

/// A domain, by a reference that keeps it alive.
pub type DomainRef<M> = Arc<Domain<M>>;

/// A domain that the caller keeps alive, or that this keeps alive.
pub type DomainHandle<'a, M> = Reference<'a, Domain<M>, DomainRef<M>>;

impl<M: Machine> Hypervisor<M> {
    /// Creates a hypervisor without domains. Tables that are needed later are allocated here, since an allocation that fails
    /// at boot ends no domain.
    pub fn new(machine: M, frames: Frames, settings: Settings) -> Self {
        let wall_clock = SpinLock::new(machine.wall_clock_at_boot());
        let tsc_scale = TscScale::from_khz(machine.time_base().tsc_khz);
        let scheduler = Scheduler::new(&machine);
        mmio_decode::prepare();
        let watchdog = CpuWatchdog::new(settings.watchdog_timeout_s, machine.cpu_count());
        let policies = SystemPolicies::new(&machine, settings.capabilities);
        Self {
            machine,
            settings,
            frames,
            domains: DomainTable::default(),
            scheduler,
            device_interrupts: DeviceInterrupts::default(),
            wall_clock,
            tsc_scale,
            policies,
            global_virqs: GlobalVirqs::default(),
            sysctl: SysctlState::default(),
            watchdog,
        }
    }

    /// Gives the heap more blocks if little of it is free. Called every so often, and before each domctl, where no lock
    /// is held.
    pub fn do_housekeeping(&self) {
        for _ in 0..BLOCKS_AT_ONCE {
            if !self.machine.heap_is_low() {
                return;
            }
            let Some(block) = self.frames.take_unscrubbed(&self.machine, PageOrder::SIZE_2M, ANYWHERE) else { return };
            self.machine.grow_heap(block.mfn(), block.order());
        }
    }

    /// Returns date and time at system time 0.
    pub fn wall_clock(&self) -> WallClock {
        *self.wall_clock.lock()
    }

    /// Sets date and time at system time 0; the caller updates the shared_info pages.
    pub fn set_wall_clock(&self, at_boot: WallClock) {
        *self.wall_clock.lock() = at_boot;
    }

    /// Returns the domain with this number.
    ///
    /// **Errors:** `ESRCH` if there is none.
    pub fn domain(&self, id: DomId) -> Result<DomainRef<M>, Errno> {
        self.domains.get(id).ok_or(Errno::ESRCH)
    }

    /// Returns the host CPU policy.
    pub fn host_policy(&self) -> &CpuidTable {
        self.policies.host()
    }

    /// Returns the maximum CPU policy of a domain.
    pub fn most_policy(&self) -> &CpuidTable {
        self.policies.most()
    }

    /// Returns the default CPU policy of a domain.
    pub fn default_policy(&self) -> &CpuidTable {
        self.policies.default_for_guest()
    }
}
