//! The SVM state of each physical CPU.

use super::asid::Asids;
use super::exit_counts::ExitCounts;
use core::sync::atomic::{AtomicU64, Ordering};
use xenolith_hal::{CpuId, Mfn, Mpa};
use xenolith_sync::{MAX_CPUS, Once};

/// No vCPU has this number.
const NOBODY: u64 = 0;
const NOT_STARTED: u64 = u64::MAX;

/// One CPU's share; touched by that CPU alone, but for `CpuData::forget`.
#[repr(align(64))]
pub struct CpuData {
    host: AtomicU64,
    /// The vCPU whose FPU and debug registers lie in this CPU.
    loaded: AtomicU64,
    pub(super) asids: Asids,
    counts: Once<ExitCounts>,
    /// The frame of the control block of that vCPU; 0 for none.
    block: AtomicU64,
}

static CPUS: [CpuData; MAX_CPUS] = [const { CpuData::new() }; MAX_CPUS];

impl CpuData {
    const fn new() -> Self {
        Self {
            host: AtomicU64::new(NOT_STARTED),
            loaded: AtomicU64::new(NOBODY),
            asids: Asids::new(),
            counts: Once::new(),
            block: AtomicU64::new(0),
        }
    }

    pub fn of(cpu: CpuId) -> Option<&'static Self> {
        CPUS.get(cpu.index())
    }

    /// Returns where the host's state of this CPU is saved while a guest runs; None before SVM was enabled here.
    pub(super) fn host(&self) -> Option<Mpa> {
        match self.host.load(Ordering::Relaxed) {
            NOT_STARTED => None,
            address => Some(Mpa(address)),
        }
    }

    /// Returns true once SVM was enabled here.
    pub fn has_started(&self) -> bool {
        self.host().is_some()
    }

    pub fn start(&self, host: Mpa, asids: u32) {
        self.asids.start(asids);
        self.host.store(host.0, Ordering::Release);
    }

    /// Returns the exit counters; None before [`CpuData::count_in`].
    pub(super) fn counts(&self) -> Option<ExitCounts> {
        self.counts.get().copied()
    }

    /// Sets the exit counters.
    pub fn count_in(&self, counts: ExitCounts) {
        let _ = self.counts.set(counts);
    }

    /// Returns true if this vCPU's registers are loaded here.
    pub(super) fn holds(&self, vcpu: u64) -> bool {
        self.loaded.load(Ordering::Relaxed) == vcpu
    }

    /// Claims this CPU for a vCPU, whose VMCB is in this frame; returns false while another vCPU's registers are loaded
    /// here.
    pub(super) fn claim(&self, vcpu: u64, block: Mfn) -> bool {
        let claimed = self.loaded.compare_exchange(NOBODY, vcpu, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if claimed {
            self.block.store(block.0, Ordering::Relaxed);
        }
        claimed
    }

    /// Returns the VMCB of the vCPU whose registers are loaded on this CPU. To be called on this CPU, which may
    /// otherwise release it.
    pub fn block(&self) -> Option<Mfn> {
        let claimed = self.loaded.load(Ordering::Relaxed) != NOBODY;
        Some(Mfn(self.block.load(Ordering::Relaxed))).filter(|block| claimed && block.0 != 0)
    }

    /// Releases this CPU: the vCPU's registers are saved, or do not matter any more.
    pub(super) fn forget(&self, vcpu: u64) {
        let _ = self.loaded.compare_exchange(vcpu, NOBODY, Ordering::Release, Ordering::Relaxed);
    }
}
