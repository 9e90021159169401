//! Sending and unmasking events, and delivery when a port becomes pending.

use super::domain::EventDomain;
use super::guest_words::test_and_set;
use super::poll;
use super::port_state::{Binding, Consumer, Kind, PortCell};
use super::{fifo, two_level};
use xen_abi::shared_info::VCPU_INFO_UPCALL_PENDING;
use xen_abi::{Errno, Port, VcpuId};

/// Implements `EVTCHNOP_send`: raises the event at the other end of a port.
///
/// Takes no lock of the domain. Sending through an unbound port is allowed and does nothing.
///
/// **Errors:** `EINVAL` if there is no such port, or nothing can be sent through it, or it is the hypervisor's.
pub fn send<D: EventDomain>(domain: &D, port: Port) -> Result<(), Errno> {
    let cell = domain.events().ports().get(port).ok_or(Errno::EINVAL)?;
    let held = cell.hold();
    if held.binding().consumer == Consumer::Hypervisor {
        return Err(Errno::EINVAL);
    }
    match held.binding().kind {
        Kind::Interdomain { remote, port } => raise_at_other_end(domain, remote, port),
        Kind::Ipi => set_pending(domain, port, cell, held.binding()),
        Kind::Unbound { .. } => {}
        Kind::Free | Kind::Reserved | Kind::Pirq(_) | Kind::Virq(_) => return Err(Errno::EINVAL),
    }
    Ok(())
}

/// Sends through a port that the hypervisor listens on. Does nothing if no domain is connected.
#[inline]
pub fn send_from_hypervisor<D: EventDomain>(domain: &D, port: Port) {
    let Some(cell) = domain.events().ports().get(port) else { return };
    let held = cell.hold();
    let Binding { kind, consumer, .. } = held.binding();
    if let (Kind::Interdomain { remote, port }, Consumer::Hypervisor) = (kind, consumer) {
        raise_at_other_end(domain, remote, port);
    }
}

/// Raises the event at the other end. Only while this end is held, which keeps the other end as it is.
fn raise_at_other_end<D: EventDomain>(domain: &D, remote: xen_abi::DomId, port: Port) {
    if remote == domain.events().id() {
        raise_here(domain, port);
    } else if let Some(peer) = domain.peer(remote) {
        raise_here(&peer, port);
    }
}

fn raise_here<D: EventDomain>(domain: &D, port: Port) {
    let Some(cell) = domain.events().ports().get(port) else { return };
    let binding = cell.peek();
    match binding.consumer {
        Consumer::Hypervisor => domain.hypervisor_event(binding.vcpu, port),
        Consumer::Guest => set_pending(domain, port, cell, binding),
    }
}

/// Makes a port pending. Only while the port is held, or the port at its other end, or with the domain's lock.
pub(super) fn set_pending<D: EventDomain>(domain: &D, port: Port, cell: &PortCell, binding: Binding) {
    if !binding.is_usable() {
        return;
    }
    if domain.events().array().is_active() {
        fifo::set_pending(domain, port, cell, binding.vcpu);
    } else {
        two_level::set_pending(domain, port, binding.vcpu);
    }
}

/// Clears what a port that is being closed leaves behind. Only with the domain's lock.
pub(super) fn clear_pending<D: EventDomain>(domain: &D, port: Port, cell: &PortCell) {
    if domain.events().array().is_active() {
        fifo::clear_pending(domain, port, cell);
    } else {
        two_level::clear_pending(domain, port);
    }
}

/// Implements `EVTCHNOP_unmask`: clears a port's mask and notifies its vCPU if it is pending. Does nothing for a port
/// that is not bound.
///
/// **Errors:** `EINVAL` if there is no such port.
pub fn unmask<D: EventDomain>(domain: &D, port: Port) -> Result<(), Errno> {
    let cell = domain.events().ports().get(port).ok_or(Errno::EINVAL)?;
    let held = cell.hold();
    let binding = held.binding();
    if !binding.is_usable() {
        return Ok(());
    }
    if domain.events().array().is_active() {
        fifo::unmask(domain, port, cell, binding.vcpu);
    } else {
        two_level::unmask(domain, port, binding.vcpu);
    }
    Ok(())
}

/// Returns whether a port is pending, masked or not, for a vCPU of the domain that polls.
///
/// **Errors:** `EINVAL` if there is no such port, or it is not bound, or it is the hypervisor's.
pub fn is_pending<D: EventDomain>(domain: &D, port: Port) -> Result<bool, Errno> {
    let cell = domain.events().ports().get(port).ok_or(Errno::EINVAL)?;
    let held = cell.hold();
    if !held.binding().is_usable() {
        return Err(Errno::EINVAL);
    }
    Ok(if domain.events().array().is_active() {
        fifo::is_pending(domain, port)
    } else {
        two_level::is_pending(domain, port)
    })
}

/// Sets the vCPU's upcall flag, and interrupts the vCPU if it was not set before.
pub(super) fn mark_upcall<D: EventDomain>(domain: &D, vcpu: VcpuId) {
    let Some((page, offset)) = domain.vcpu_info(vcpu) else { return };
    let Some(flag) = offset.checked_add(VCPU_INFO_UPCALL_PENDING) else { return };
    if !test_and_set(page, flag, 0) {
        domain.upcall(vcpu);
    }
}

/// Marks all ports of a vCPU as pending when its `vcpu_info` has moved, so that no event raised at the old place is
/// lost. The guest finds out for itself that there may be none.
pub fn mark_everything<D: EventDomain>(domain: &D, vcpu: VcpuId) {
    let Some((page, offset)) = domain.vcpu_info(vcpu) else { return };
    let places = domain.events().form().places();
    if let Some(selector) = offset.checked_add(places.pending_sel) {
        for bit in 0..1 << places.word_shift {
            test_and_set(page, selector, bit);
        }
    }
    mark_upcall(domain, vcpu);
}

/// Wakes the vCPUs that poll for a port that has just become pending.
pub(super) fn wake_pollers<D: EventDomain>(domain: &D, port: Port) {
    poll::event_came(domain, port);
}
