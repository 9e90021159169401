//! The toolstack's settings of a domain.

use xen_abi::domctl::{ArchDomainconfig, CreateFlags, DomctlTscInfo, EmulationFlags, MiscFlags};
use xen_abi::hypercall::DomainHandle;
use xenolith_sched::WEIGHT_DEFAULT;
use xenolith_sync::{SpinLock, rank};

/// The options of `XEN_DOMCTL_createdomain`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CreateOptions {
    /// How many vCPUs it gets.
    pub max_vcpus: u32,
    pub flags: CreateFlags,
    pub arch: ArchDomainconfig,
    pub handle: DomainHandle,
}

impl CreateOptions {
    /// Returns the options of a PVH domain with this many vCPUs and a local APIC each.
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

/// A domain's scheduling parameters: its weight against others', and its cap in percent of one CPU, 0 for no limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share {
    pub weight: u16,
    pub cap: u16,
}

/// The settings that may change while the domain lives.
#[derive(Clone, Copy, Debug)]
pub struct ControlState {
    /// The UUID by which the toolstack knows it.
    pub handle: DomainHandle,
    pub share: Share,
    /// The mode of its time stamp counter as it was set; the counter is never emulated.
    pub tsc: DomctlTscInfo,
    /// A debugger is attached.
    pub debugged: bool,
    /// How many pauses by the toolstack are outstanding.
    pub pauses: u32,
    /// It was unpaused once, so its CPU policy can no longer change.
    pub started: bool,
    pub dirty_log: DirtyLog,
    pub vram: Vram,
}

/// The frame buffer of which a device model asks what was written: its frames, none of them while it asks of none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vram {
    pub first: u64,
    /// One past the last.
    pub end: u64,
    pub step: VramStep,
}

/// What the next call does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VramStep {
    /// Pages from this frame on do not follow the range yet.
    Follow { from: u64, until: u64 },
    /// It tells what was written, from this frame on.
    Answer { next: u64 },
    /// All was told; it waits until no CPU has an old translation.
    Flush,
}

impl Vram {
    /// No frame buffer.
    pub const NONE: Self = Self { first: 0, end: 0, step: VramStep::Answer { next: 0 } };

    /// Returns whether nothing is tracked.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.first >= self.end
    }
}

/// The state of dirty logging.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DirtyLog {
    Off,
    /// A call that turns it on or off is preempted: the pages from this frame on do not follow yet.
    Turning {
        on: bool,
        from: u64,
    },
    /// It is on. A query that is preempted goes on with the frame `next`, and has counted as many written ones.
    On {
        next: u64,
        counted: u32,
    },
}

/// The toolstack's settings of a domain, under its lock.
pub struct DomainControl {
    options: CreateOptions,
    state: SpinLock<ControlState, rank::DomainControl>,
}

impl DomainControl {
    /// Creates the settings. `pauses` is how often the domain must be unpaused before it runs.
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
            dirty_log: DirtyLog::Off,
            vram: Vram::NONE,
        };
        Self { options, state: SpinLock::new(state) }
    }

    /// Returns the options with which the domain was created.
    pub const fn options(&self) -> &CreateOptions {
        &self.options
    }

    /// Returns a copy of the settings that may change.
    pub fn state(&self) -> ControlState {
        *self.state.lock()
    }

    /// Changes the settings. `change` takes no lock that stands at or before `DomainControl`.
    pub fn change<T>(&self, change: impl FnOnce(&mut ControlState) -> T) -> T {
        change(&mut self.state.lock())
    }
}
