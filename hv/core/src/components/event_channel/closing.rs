//! Closing ports: one, all (`EVTCHNOP_reset`), or all for good when the domain ends.

use super::EventChannels;
use super::allocation::{Bindings, forget_queues, vacate};
use super::delivery::clear_pending;
use super::domain::EventDomain;
use super::port_state::{Binding, Consumer, Kind, PortCell};
use super::vcpu_state::ControlBlock;
use xen_abi::{DomId, Errno, Port};
use xenolith_sync::SpinLock;

/// How often to look up the other end again because it changed while both domains were being locked.
const PEER_TRIES: u32 = 8;
/// How many ports are closed between two checks for preemption.
const PORTS_PER_LOOK: u32 = 64;

/// Progress of a long operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    Done,
    /// Preempted: to be called again.
    Again,
}

/// Who closes a port.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closer {
    /// The domain, which cannot close the hypervisor's ports.
    Guest,
    Hypervisor,
}

/// Implements `EVTCHNOP_close`. The other end of an interdomain channel becomes unbound and waits for this domain to
/// connect again.
///
/// When it returns, nothing more happens at the port on account of its old binding.
///
/// **Errors:** `EINVAL` if there is no such port, it is not bound, or it is the hypervisor's; `EAGAIN` if the other end
/// kept changing.
pub fn close<D: EventDomain>(domain: &D, port: Port) -> Result<(), Errno> {
    close_by(domain, port, Closer::Guest)
}

/// Closes a port that the hypervisor listens on.
///
/// **Errors:** as [`close`].
pub fn close_for_hypervisor<D: EventDomain>(domain: &D, port: Port) -> Result<(), Errno> {
    close_by(domain, port, Closer::Hypervisor)
}

fn close_by<D: EventDomain>(domain: &D, port: Port, closer: Closer) -> Result<(), Errno> {
    for _ in 0..PEER_TRIES {
        let cell = domain.events().ports().get(port).ok_or(Errno::EINVAL)?;
        let (remote, peer) = match cell.peek().kind {
            Kind::Interdomain { remote, .. } if remote != domain.events().id() => (remote, domain.peer(remote)),
            _ => (domain.events().id(), None),
        };
        let end = FarEnd { remote, domain: peer.as_ref() };
        if let Some(result) = try_close(domain, port, cell, end, closer) {
            return result;
        }
    }
    Err(Errno::EAGAIN)
}

/// The domain at the other end of a port: perhaps this one, perhaps (though it should not be) gone.
#[derive(Clone, Copy)]
struct FarEnd<'a, D> {
    remote: DomId,
    domain: Option<&'a D>,
}

/// Closes the port. None if it is connected to another domain than `end` by now.
fn try_close<D: EventDomain>(
    domain: &D,
    port: Port,
    cell: &PortCell,
    end: FarEnd<'_, D>,
    closer: Closer,
) -> Option<Result<(), Errno>> {
    let other = end.domain.unwrap_or(domain);
    let mut pair = SpinLock::lock_pair(&domain.events().bindings, &other.events().bindings);
    let binding = cell.peek();
    if matches!(binding.kind, Kind::Free | Kind::Reserved)
        || (binding.consumer == Consumer::Hypervisor && closer == Closer::Guest)
    {
        return Some(Err(Errno::EINVAL));
    }
    if let Kind::Interdomain { remote, port: remote_port } = binding.kind {
        if remote != end.remote {
            return None;
        }
        // A domain that is gone took its end along.
        let remote_cell = other.events().ports().get(remote_port);
        if let Some(remote_cell) = remote_cell.filter(|_| remote == other.events().id()) {
            // Both ends are kept still together: an event on its way here through the other end arrives before the
            // port is free, or finds the other end unconnected.
            let mut remote_end = remote_cell.change();
            let unbound = Kind::Unbound { remote: domain.events().id() };
            remote_end.set(Binding { kind: unbound, ..remote_end.binding() });
            free(domain, pair.first(), port, cell);
            return Some(Ok(()));
        }
    }
    free(domain, pair.first(), port, cell);
    Some(Ok(()))
}

/// Frees a port that is bound.
fn free<D: EventDomain>(domain: &D, bindings: &mut Bindings, port: Port, cell: &PortCell) {
    let mut changing = cell.change();
    match changing.binding().kind {
        Kind::Virq(virq) => unbind_virq(domain.events(), virq, port),
        Kind::Pirq(pirq) => bindings.remove_pirq(pirq),
        _ => {}
    }
    clear_pending(domain, port, cell);
    if changing.binding().consumer == Consumer::Hypervisor {
        bindings.bound_by_hypervisor = bindings.bound_by_hypervisor.saturating_sub(1);
    }
    changing.set(Binding::FREE);
    vacate(domain, bindings, port);
}

fn unbind_virq(events: &EventChannels, virq: u32, port: Port) {
    for (_, vcpu) in events.vcpus() {
        if vcpu.virq_port(virq) == Some(port) {
            vcpu.set_virq_port(virq, Port(0));
        }
    }
}

/// How a reset is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetStart {
    /// `EVTCHNOP_reset`.
    Fresh,
    /// `EVTCHNOP_reset_cont`: continues after [`Progress::Again`].
    Continued,
}

/// Checks whether `caller` may reset the ports of `target` now. `permitted` says whether it has that right over the
/// target at all, `paused` whether a control domain has paused the target.
///
/// **Errors:** `EPERM`; `EINVAL` if the target is another domain and runs.
pub fn may_reset(caller: DomId, target: DomId, permitted: bool, paused: bool) -> Result<(), Errno> {
    if !permitted {
        return Err(Errno::EPERM);
    }
    if caller != target && !paused { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Implements `EVTCHNOP_reset`: closes every port of the domain except the hypervisor's, and returns to the 2-level
/// ABI. `give_way` is polled for whether to stop (preemption).
///
/// **Errors:** `EBUSY` if another reset is under way, or there is none to continue; `EAGAIN` if ports were bound
/// meanwhile: the ABI then stays as it is.
pub fn reset<D: EventDomain>(
    domain: &D,
    start: ResetStart,
    mut give_way: impl FnMut() -> bool,
) -> Result<Progress, Errno> {
    let events = domain.events();
    let mut port = {
        let mut bindings = events.bindings.lock();
        let port = match (start, bindings.next_reset) {
            (ResetStart::Fresh, 0) => 1,
            (ResetStart::Fresh, _) | (ResetStart::Continued, 0) => return Err(Errno::EBUSY),
            (ResetStart::Continued, next) => next,
        };
        bindings.next_reset = port;
        port
    };
    while events.ports().get(Port(port)).is_some() {
        // What cannot be closed (free, or the hypervisor's) is passed over.
        let _ = close(domain, Port(port));
        port = port.saturating_add(1);
        if port.is_multiple_of(PORTS_PER_LOOK) && give_way() {
            events.bindings.lock().next_reset = port;
            return Ok(Progress::Again);
        }
    }
    let mut bindings = events.bindings.lock();
    bindings.next_reset = 0;
    if bindings.bound > bindings.bound_by_hypervisor {
        return Err(Errno::EAGAIN);
    }
    leave_fifo(domain, &mut bindings);
    Ok(Progress::Done)
}

/// Releases every page of the FIFO ABI. Only with the domain's lock and with no port of the domain's own bound: then
/// nothing else accesses these pages.
fn leave_fifo<D: EventDomain>(domain: &D, bindings: &mut Bindings) {
    let events = domain.events();
    events.array().release(|frame| domain.unpin_event_page(frame));
    for (_, vcpu) in events.vcpus() {
        vcpu.empty_queues();
        if let Some(ControlBlock { frame, .. }) = vcpu.control_block() {
            vcpu.set_control_block(None);
            domain.unpin_event_page(frame);
        }
    }
    forget_queues(bindings);
}

/// Tears down the event channels of a domain: no port is allocated from now on, every port is closed, the hypervisor's
/// too, and every page is released. To be called until it is done; after that [`EventDomain::peer`] need not find the
/// domain any more. `give_way` is polled for whether to stop (preemption).
pub fn teardown<D: EventDomain>(domain: &D, mut give_way: impl FnMut() -> bool) -> Progress {
    let events = domain.events();
    let mut port = {
        let mut bindings = events.bindings.lock();
        bindings.dying = true;
        bindings.next_teardown
    };
    while let Some(cell) = events.ports().get(Port(port)) {
        // What is free stays so from now on.
        let is_bound = !matches!(cell.peek().kind, Kind::Free | Kind::Reserved);
        if is_bound && close_for_hypervisor(domain, Port(port)) == Err(Errno::EAGAIN) {
            events.bindings.lock().next_teardown = port;
            return Progress::Again;
        }
        port = port.saturating_add(1);
        if port.is_multiple_of(PORTS_PER_LOOK) && give_way() {
            events.bindings.lock().next_teardown = port;
            return Progress::Again;
        }
    }
    let mut bindings = events.bindings.lock();
    bindings.next_teardown = port;
    leave_fifo(domain, &mut bindings);
    for (vcpu, _) in events.vcpus() {
        super::poll::end(domain, vcpu);
    }
    drop(bindings);
    Progress::Done
}
