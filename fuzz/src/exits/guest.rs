//! A guest: chooses its exits, and checks what became of the last one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use fastrand::Rng;
use xen_abi::{DomId, VcpuId};
use xenolith_fake::{FakeEntry, FakeGuest};
use xenolith_hal::{CpuState, Exit};

use super::choose::choose;
use super::expect::{check, ends, is_fatal};

/// vCPUs that have a place in [`Shared`]: two of each of two domains.
const VCPUS: usize = 4;
/// No domain.
const NONE: u32 = u32::MAX;

/// What all guests and the fuzzer know of each other.
#[derive(Clone, Debug, Default)]
pub struct Shared {
    /// Exits that guests may still make in this turn.
    pub budget: Arc<AtomicU32>,
    /// Exits that were made.
    pub exits: Arc<AtomicU64>,
    /// Counts the times that others made a vCPU's calls, with its registers.
    pub meddled: Arc<AtomicU32>,
    /// NMIs that were sent and are to be offered at the next entry, of each vCPU.
    nmis: Arc<[AtomicBool; VCPUS]>,
    /// One past the domain that made an exit which ends it.
    fatal: Arc<AtomicU32>,
}

impl Shared {
    fn nmi(&self, domain: DomId, vcpu: VcpuId) -> Option<&AtomicBool> {
        self.nmis.get(usize::from(domain.0) * 2 + vcpu.0 as usize)
    }

    /// Notes that a vCPU was sent an NMI.
    pub fn nmi_sent(&self, domain: DomId, vcpu: VcpuId) {
        if let Some(nmi) = self.nmi(domain, vcpu) {
            nmi.store(true, Ordering::Relaxed);
        }
    }

    /// Returns the domain that made an exit which ends it, since this was last asked.
    pub fn take_fatal(&self) -> Option<DomId> {
        let taken = self.fatal.swap(0, Ordering::Relaxed).wrapping_sub(1);
        (taken != NONE).then_some(DomId(taken as u16))
    }
}

/// One vCPU's guest.
#[derive(Debug)]
pub struct Player {
    domain: DomId,
    vcpu: VcpuId,
    /// It does nothing that ends it at once: with the control domain the machine ends.
    careful: bool,
    shared: Shared,
    dice: Rng,
    /// The exit that it made last, its state then, and the count of meddling.
    last: Option<(Exit, CpuState, u32)>,
}

impl Player {
    pub const fn new(domain: DomId, vcpu: VcpuId, careful: bool, shared: Shared, dice: Rng) -> Self {
        Self { domain, vcpu, careful, shared, dice, last: None }
    }
}

impl FakeGuest for Player {
    fn play(&mut self, entry: &FakeEntry, state: &mut CpuState) -> Exit {
        let last = self.last.map(|(exit, ..)| exit);
        let meddled = self.shared.meddled.load(Ordering::Relaxed);
        if let Some((exit, before, _)) = self.last.take().filter(|last| !entry.replaced && last.2 == meddled) {
            check(exit, &before, state, entry.injected);
        }
        if self.shared.nmi(self.domain, self.vcpu).is_some_and(|nmi| nmi.swap(false, Ordering::Relaxed)) {
            assert!(entry.control.nmi || entry.replaced, "an NMI was lost: {entry:?}");
        }
        assert!(entry.control.task_priority < 16, "{entry:?}");
        let left = self.shared.budget.load(Ordering::Relaxed);
        let exit = if left == 0 {
            // It waits for what comes, and if something waits already, a host interrupt ends the turn.
            let halts = !matches!(last, Some(Exit::Halt { .. }));
            if halts { Exit::Halt { interrupts_enabled: true } } else { Exit::Interrupted }
        } else {
            self.shared.budget.store(left - 1, Ordering::Relaxed);
            self.shared.exits.fetch_add(1, Ordering::Relaxed);
            let chosen = choose(&mut self.dice, state);
            if self.careful && ends(chosen, state) { Exit::CacheFlush } else { chosen }
        };
        if is_fatal(exit) {
            self.shared.fatal.store(u32::from(self.domain.0) + 1, Ordering::Relaxed);
        }
        self.last = Some((exit, *state, meddled));
        exit
    }
}
