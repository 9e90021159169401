//! Waiting for one of several ports (`SCHEDOP_poll`).
//!
//! A vCPU that polls announces it, checks whether a port is pending, and blocks if none is. A CPU that makes a port
//! pending does so first and then checks for the announcement. So one of the two sees the other. A wake-up that comes
//! before the vCPU is marked as blocked finds nothing to wake: so the CPU that blocks a vCPU checks [`was_woken`]
//! afterwards.

use super::domain::EventDomain;
use super::guest_words::look_after_change;
use core::fmt;
use xen_abi::{Port, VcpuId};
use xenolith_sync::atomic::Ordering;

/// The vCPU does not poll.
const NOTHING: u32 = 0;
/// The vCPU polls for several ports: every event wakes it, and it checks for itself.
const ANYTHING: u32 = u32::MAX;
/// An event came for a vCPU that polls.
const WOKEN: u32 = u32::MAX - 1;

/// What a vCPU polls for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    Nothing,
    /// One port alone.
    One(Port),
    /// Any of several ports.
    Any,
    /// It polled, and an event came.
    Woken,
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("no poll"),
            Self::One(port) => write!(f, "polls port {port}"),
            Self::Any => f.write_str("polls"),
            Self::Woken => f.write_str("woken from a poll"),
        }
    }
}

/// Returns what a vCPU polls for at this moment.
pub fn wish<D: EventDomain>(domain: &D, vcpu: VcpuId) -> Wish {
    match domain.events().vcpu(vcpu).map_or(NOTHING, |state| state.poll.load(Ordering::SeqCst)) {
        NOTHING => Wish::Nothing,
        ANYTHING => Wish::Any,
        WOKEN => Wish::Woken,
        port => Wish::One(Port(port)),
    }
}

const fn is_announced(state: u32) -> bool {
    !matches!(state, NOTHING | WOKEN)
}

/// Announces that a vCPU is about to check ports and to block. From now on until [`end`], each event may wake it.
pub fn begin<D: EventDomain>(domain: &D, vcpu: VcpuId) {
    let events = domain.events();
    let Some(state) = events.vcpu(vcpu) else { return };
    if !is_announced(state.poll.swap(ANYTHING, Ordering::SeqCst)) {
        events.pollers().fetch_add(1, Ordering::SeqCst);
    }
    look_after_change();
}

/// Narrows the announcement to one port, so that other events leave the vCPU asleep.
pub fn narrow<D: EventDomain>(domain: &D, vcpu: VcpuId, port: Port) {
    if port.0 == NOTHING {
        return;
    }
    if let Some(state) = domain.events().vcpu(vcpu) {
        // If it fails, an event woke the vCPU already.
        let _ = state.poll.compare_exchange(ANYTHING, port.0, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// Ends the announcement, in any case before the guest runs on. Returns true if no event had done so yet: then the vCPU
/// was woken by something else, such as its timer.
pub fn end<D: EventDomain>(domain: &D, vcpu: VcpuId) -> bool {
    let events = domain.events();
    let Some(state) = events.vcpu(vcpu) else { return false };
    // Only the vCPU's own CPU announces, so what reads as nothing stays nothing.
    if state.poll.load(Ordering::SeqCst) == NOTHING {
        return false;
    }
    let polled = is_announced(state.poll.swap(NOTHING, Ordering::SeqCst));
    if polled {
        events.pollers().fetch_sub(1, Ordering::SeqCst);
    }
    polled
}

/// Returns true while the vCPU polls and no event has come for it.
pub fn is_polling<D: EventDomain>(domain: &D, vcpu: VcpuId) -> bool {
    domain.events().vcpu(vcpu).is_some_and(|state| is_announced(state.poll.load(Ordering::SeqCst)))
}

/// Returns true if an event came for the vCPU since it announced that it polls: then it must not stay blocked. To be
/// checked after it was marked as blocked.
pub fn was_woken<D: EventDomain>(domain: &D, vcpu: VcpuId) -> bool {
    domain.events().vcpu(vcpu).is_some_and(|state| state.poll.load(Ordering::SeqCst) == WOKEN)
}

/// Wakes every vCPU that polls for a port that was made pending.
pub(super) fn event_came<D: EventDomain>(domain: &D, port: Port) {
    let events = domain.events();
    look_after_change();
    if events.pollers().load(Ordering::SeqCst) == 0 {
        return;
    }
    for (vcpu, state) in events.vcpus() {
        let mut polled = state.poll.load(Ordering::SeqCst);
        while polled == ANYTHING || (polled == port.0 && is_announced(polled)) {
            match state.poll.compare_exchange(polled, WOKEN, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => {
                    events.pollers().fetch_sub(1, Ordering::SeqCst);
                    domain.wake(vcpu);
                    break;
                }
                Err(now) => polled = now,
            }
        }
    }
}
