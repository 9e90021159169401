//! Sending, unmasking, and what follows when a port becomes pending.

use super::domain::EventDomain;
use super::guest_words::test_and_set;
use super::poll;
use super::port_state::{Binding, Consumer, Kind, PortCell};
use super::{fifo, two_level};
use xen_abi::shared_info::{VCPU_INFO_PENDING_SEL, VCPU_INFO_UPCALL_PENDING};
use xen_abi::{Errno, Port, VcpuId};

/// `EVTCHNOP_send`: raises the event at the other end of a port.
///
/// Takes no lock of the domain's. Sending through a port that nobody is connected to is allowed and does nothing.
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

/// The hypervisor's own sending, through a port that it listens on. Nothing happens if nobody is connected.
pub fn send_from_hypervisor<D: EventDomain>(domain: &D, port: Port) {
    let Some(cell) = domain.events().ports().get(port) else { return };
    let held = cell.hold();
    let Binding { kind, consumer, .. } = held.binding();
    if let (Kind::Interdomain { remote, port }, Consumer::Hypervisor) = (kind, consumer) {
        raise_at_other_end(domain, remote, port);
    }
}

/// Only while this end is held: that keeps the other end as it is.
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

/// `EVTCHNOP_unmask`: clears a port's mask and tells its vCPU if it is pending. Nothing happens for a port that is
/// not bound.
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

/// Whether a port is pending, masked or not, for one of the domain's vCPUs that polls.
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

/// Sets the vCPU's upcall flag, and has it interrupted if it was not set before.
pub(super) fn mark_upcall<D: EventDomain>(domain: &D, vcpu: VcpuId) {
    let Some((page, offset)) = domain.vcpu_info(vcpu) else { return };
    let Some(flag) = offset.checked_add(VCPU_INFO_UPCALL_PENDING) else { return };
    if !test_and_set(page, flag, 0) {
        domain.upcall(vcpu);
    }
}

/// Marks everything of a vCPU as pending: for the moment when its `vcpu_info` has moved to another place, so that
/// nothing raised at the old one is lost. The guest finds out for itself that there may be nothing.
pub fn mark_everything<D: EventDomain>(domain: &D, vcpu: VcpuId) {
    let Some((page, offset)) = domain.vcpu_info(vcpu) else { return };
    if let Some(selector) = offset.checked_add(VCPU_INFO_PENDING_SEL) {
        for bit in 0..u64::BITS {
            test_and_set(page, selector, bit);
        }
    }
    mark_upcall(domain, vcpu);
}

/// Wakes the vCPUs that poll for a port which has just become pending.
pub(super) fn wake_pollers<D: EventDomain>(domain: &D, port: Port) {
    poll::event_came(domain, port);
}
