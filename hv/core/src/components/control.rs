//! What the toolstack said about a domain, and may ask for again.

use xen_abi::domctl::{ArchDomainconfig, CreateFlags, DomctlTscInfo, EmulationFlags, MiscFlags};
use xen_abi::hypercall::DomainHandle;
use xenolith_sched::WEIGHT_DEFAULT;
use xenolith_sync::{SpinLock, rank};

/// What was decided when the domain was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CreateOptions {
    /// How many vCPUs it gets.
    pub max_vcpus: u32,
    pub flags: CreateFlags,
    pub arch: ArchDomainconfig,
    pub handle: DomainHandle,
}

impl CreateOptions {
    /// For a PVH domain with this many vCPUs and a local APIC each.
    #[must_use]
    pub const fn pvh(max_vcpus: u32) -> Self {
        Self {
            max_vcpus,
            flags: CreateFlags(CreateFlags::HVM.0 | CreateFlags::HAP.0),
            arch: ArchDomainconfig { emulation_flags: EmulationFlags::LAPIC, misc_flags: MiscFlags(0) },
            handle: [0; 16],
        }
    }
}

/// How much of the CPUs a domain gets: its weight against others', and at most how many percent of one CPU, 0 for no
/// limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    pub weight: u16,
    pub cap: u16,
}

/// What may be changed while the domain lives.
#[derive(Clone, Copy, Debug)]
pub struct ControlState {
    /// The number by which the toolstack knows it.
    pub handle: DomainHandle,
    pub share: Share,
    /// How its time stamp counter is to work, as it was set; the counter is never emulated.
    pub tsc: DomctlTscInfo,
    /// A debugger is attached.
    pub debugged: bool,
    /// How often the toolstack paused it and did not let it go.
    pub pauses: u32,
    /// It was let go once, so what it was told about its CPU holds.
    pub started: bool,
    /// It may be asked which pages were written, and was told of so many by a call that is to be made again.
    pub written_told: Option<u64>,
}

/// What the toolstack said about a domain.
pub struct DomainControl {
    options: CreateOptions,
    state: SpinLock<ControlState, rank::DomainControl>,
}

impl DomainControl {
    /// `pauses` is how often the domain must be let go before it runs.
    #[must_use]
    pub fn new(options: CreateOptions, pauses: u32) -> Self {
        let share = Share { weight: WEIGHT_DEFAULT, cap: 0 };
        let tsc = DomctlTscInfo { incarnation: 1, ..DomctlTscInfo::default() };
        let state = ControlState {
            handle: options.handle,
            share,
            tsc,
            debugged: false,
            pauses,
            started: pauses == 0,
            written_told: None,
        };
        Self { options, state: SpinLock::new(state) }
    }

    /// What was decided when the domain was made.
    pub const fn options(&self) -> &CreateOptions {
        &self.options
    }

    /// A copy of what may change.
    pub fn state(&self) -> ControlState {
        *self.state.lock()
    }

    /// Changes it. What runs in `change` takes no lock that stands at or before `DomainControl`.
    pub fn change<T>(&self, change: impl FnOnce(&mut ControlState) -> T) -> T {
        change(&mut self.state.lock())
    }
}
