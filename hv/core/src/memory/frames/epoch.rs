//! Grace periods, as in RCU: when no CPU can still use what was unmapped from a p2m.
//!
//! A page that is unmapped is noted under the next epoch. At its quiescent state, where it holds nothing that it looked
//! up in a p2m, a CPU announces which epoch it has seen; before it next enters a guest it flushes the translations that
//! are stale by then. When every CPU has seen an epoch or is idle, no CPU can reach what was noted under it. So
//! unmapping a page never waits for another CPU and never interrupts one.

use alloc::boxed::Box;
use alloc::collections::TryReserveError;
use alloc::vec::Vec;
use xenolith_hal::CpuId;
use xenolith_sync::Padded;
use xenolith_sync::atomic::{AtomicU64, Ordering, fence};

/// The value of an idle CPU (RCU's extended quiescent state): it uses no translation until it announces otherwise.
const OFFLINE: u64 = u64::MAX;

/// A moment that every CPU must have passed: the end of a grace period.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Epoch(u64);

impl Epoch {
    /// Returns it as a number; 0 is before every moment.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Returns the moment with this number.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

/// The epoch of the machine, and the last one that each CPU has seen.
#[derive(Debug)]
pub struct Epochs {
    now: AtomicU64,
    seen: Box<[Padded<AtomicU64>]>,
}

impl Epochs {
    /// Creates the epochs of this many CPUs, all of which are idle.
    ///
    /// **Errors:** no memory.
    #[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
    pub fn new(cpus: usize) -> Result<Self, TryReserveError> {
        let mut seen = Vec::new();
        seen.try_reserve_exact(cpus)?;
        seen.extend((0..cpus).map(|_| Padded(AtomicU64::new(OFFLINE))));
        Ok(Self { now: AtomicU64::new(0), seen: seen.into_boxed_slice() })
    }

    /// Announces a quiescent state: the CPU holds nothing that it looked up before, and will flush stale translations
    /// before it enters a guest. Also ends its idling.
    pub fn quiet(&self, cpu: CpuId) {
        let Some(seen) = self.seen.get(cpu.index()) else { return };
        let was = seen.0.load(Ordering::Relaxed);
        seen.0.store(self.now.load(Ordering::Acquire), Ordering::Release);
        if was == OFFLINE {
            // A CPU that looks for laggards now either finds this CPU, or took its pages out before this CPU looks
            // anything up.
            fence(Ordering::SeqCst);
        }
    }

    /// Announces that the CPU goes idle: it uses no translation before its next quiescent state.
    pub fn idle(&self, cpu: CpuId) {
        if let Some(seen) = self.seen.get(cpu.index()) {
            seen.0.store(OFFLINE, Ordering::Release);
        }
    }

    /// Starts an epoch and returns it: a moment after everything that this CPU did so far.
    pub fn next(&self) -> Epoch {
        Epoch(self.now.fetch_add(1, Ordering::AcqRel).wrapping_add(1))
    }

    /// Returns a moment after everything that this CPU did so far, which has not begun: it cannot pass before
    /// [`Epochs::begin`]. So noting it costs one load.
    pub fn coming(&self) -> Epoch {
        Epoch(self.now.load(Ordering::Acquire).wrapping_add(1))
    }

    /// Begins an epoch that [`Epochs::coming`] returned, if it has not begun.
    pub fn begin(&self, epoch: Epoch) {
        if self.now.load(Ordering::Acquire) < epoch.0 {
            self.now.fetch_max(epoch.0, Ordering::AcqRel);
        }
    }

    /// Returns the CPUs that have not passed the epoch.
    pub fn laggards(&self, epoch: Epoch) -> impl Iterator<Item = CpuId> + '_ {
        fence(Ordering::SeqCst);
        let lags = move |(cpu, seen): (usize, &Padded<AtomicU64>)| {
            (seen.0.load(Ordering::Acquire) < epoch.0).then_some(CpuId(cpu as u32))
        };
        self.seen.iter().enumerate().filter_map(lags)
    }

    /// Returns true if the CPU has passed the epoch or is idle.
    pub fn has_passed(&self, cpu: CpuId, epoch: Epoch) -> bool {
        fence(Ordering::SeqCst);
        self.seen.get(cpu.index()).is_none_or(|seen| seen.0.load(Ordering::Acquire) >= epoch.0)
    }

    /// Returns true if every CPU has passed the epoch or is idle: the grace period is over.
    pub fn passed(&self, epoch: Epoch) -> bool {
        self.laggards(epoch).next().is_none()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_is_passed_when_every_running_cpu_was_quiet_after_it() {
        let epochs = Epochs::new(3).unwrap();
        epochs.quiet(CpuId(0));
        epochs.quiet(CpuId(1));
        let epoch = epochs.next();
        assert_eq!(epochs.laggards(epoch).collect::<Vec<_>>(), [CpuId(0), CpuId(1)]);
        epochs.quiet(CpuId(0));
        assert!(!epochs.passed(epoch));
        epochs.idle(CpuId(1));
        assert!(epochs.passed(epoch));
    }

    #[test]
    fn a_moment_that_is_only_coming_is_not_passed_before_it_begins() {
        let epochs = Epochs::new(1).unwrap();
        epochs.quiet(CpuId(0));
        let coming = epochs.coming();
        epochs.quiet(CpuId(0));
        assert!(!epochs.passed(coming));
        epochs.begin(coming);
        assert!(!epochs.passed(coming));
        epochs.quiet(CpuId(0));
        assert!(epochs.passed(coming));
        epochs.begin(coming);
        assert_eq!(epochs.coming().to_bits(), coming.to_bits() + 1, "it began once");
    }

    #[test]
    fn a_cpu_that_wakes_has_seen_what_happened_while_it_slept() {
        let epochs = Epochs::new(1).unwrap();
        let epoch = epochs.next();
        epochs.quiet(CpuId(0));
        assert!(epochs.passed(epoch));
        assert!(!epochs.passed(epochs.next()));
    }
}
