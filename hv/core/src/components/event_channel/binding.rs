//! Binding ports.

use super::allocation::{find_free, occupy};
use super::delivery::set_pending;
use super::domain::EventDomain;
use super::port_state::{Binding, Consumer, Kind, VALUE_LIMIT};
use super::virq::{bound_port, is_global};
use xen_abi::virq::NR_VIRQS;
use xen_abi::{DomId, Errno, Port, VcpuId};
use xenolith_sync::SpinLock;

/// Implements `EVTCHNOP_alloc_unbound`: allocates a port of `domain` to which `remote` (never [`DomId::SELF`]) may
/// connect. `permitted` says whether the caller may do that to `domain`.
///
/// **Errors:** `EINVAL` if the domain is dying; `ENOSPC`, `ENOMEM`; `EPERM`.
pub fn alloc_unbound<D: EventDomain>(domain: &D, remote: DomId, permitted: bool) -> Result<Port, Errno> {
    let mut bindings = domain.events().bindings.lock();
    let (port, cell) = find_free(domain, &mut bindings)?;
    if !permitted {
        return Err(Errno::EPERM);
    }
    occupy(&mut bindings, port, cell, Binding::guest(Kind::Unbound { remote }, VcpuId(0)));
    Ok(port)
}

/// Allocates a port of `domain` on which the hypervisor listens and to which `remote` may connect: its events go to
/// [`EventDomain::hypervisor_event`] with `vcpu`.
///
/// **Errors:** as [`alloc_unbound`]; `ENOENT` if there is no such vCPU.
pub fn alloc_unbound_for_hypervisor<D: EventDomain>(domain: &D, vcpu: VcpuId, remote: DomId) -> Result<Port, Errno> {
    domain.events().vcpu(vcpu).ok_or(Errno::ENOENT)?;
    let mut bindings = domain.events().bindings.lock();
    let (port, cell) = find_free(domain, &mut bindings)?;
    let binding = Binding { kind: Kind::Unbound { remote }, consumer: Consumer::Hypervisor, vcpu };
    occupy(&mut bindings, port, cell, binding);
    bindings.bound_by_hypervisor = bindings.bound_by_hypervisor.saturating_add(1);
    Ok(port)
}

/// Implements `EVTCHNOP_bind_interdomain`: connects a new port of the domain to `remote_port` of `remote`, which must
/// be unbound and waiting for it. The new port is pending at once, since the other end may have sent before it was
/// connected.
///
/// **Errors:** `ESRCH` if there is no such domain; then `EINVAL` if this one is dying, `ENOSPC`, `ENOMEM`; then
/// `EINVAL` if the other port does not exist or does not wait for this domain.
pub fn bind_interdomain<D: EventDomain>(domain: &D, remote: DomId, remote_port: Port) -> Result<Port, Errno> {
    let remote = if remote == DomId::SELF { domain.events().id() } else { remote };
    let other;
    let peer = if remote == domain.events().id() {
        domain
    } else {
        other = domain.peer(remote).ok_or(Errno::ESRCH)?;
        &other
    };
    let mut pair = SpinLock::lock_pair(&domain.events().bindings, &peer.events().bindings);
    let bindings = pair.first();
    let (port, cell) = find_free(domain, bindings)?;
    let peer_cell = peer.events().ports().get(remote_port).ok_or(Errno::EINVAL)?;
    let peer_binding = peer_cell.peek();
    if peer_binding.kind != (Kind::Unbound { remote: domain.events().id() }) {
        return Err(Errno::EINVAL);
    }
    let local = Binding::guest(Kind::Interdomain { remote, port: remote_port }, VcpuId(0));
    occupy(bindings, port, cell, local);
    peer_cell.change().set(Binding { kind: Kind::Interdomain { remote: domain.events().id(), port }, ..peer_binding });
    set_pending(domain, port, cell, local);
    Ok(port)
}

/// Implements `EVTCHNOP_bind_virq`: binds a new port to a VIRQ of a vCPU.
///
/// **Errors:** `EINVAL` for a number that is no VIRQ, or a global one on another vCPU than 0; `ENOENT` if there is no
/// such vCPU; `EEXIST` if it is bound there already; `EINVAL` if the domain is dying; `ENOSPC`, `ENOMEM`.
pub fn bind_virq<D: EventDomain>(domain: &D, virq: u32, vcpu: VcpuId) -> Result<Port, Errno> {
    if virq >= NR_VIRQS || (is_global(virq) && vcpu != VcpuId(0)) {
        return Err(Errno::EINVAL);
    }
    let state = domain.events().vcpu(vcpu).ok_or(Errno::ENOENT)?;
    let mut bindings = domain.events().bindings.lock();
    if bound_port(domain, vcpu, virq).is_some() {
        return Err(Errno::EEXIST);
    }
    let (port, cell) = find_free(domain, &mut bindings)?;
    occupy(&mut bindings, port, cell, Binding::guest(Kind::Virq(virq), vcpu));
    state.set_virq_port(virq, port);
    Ok(port)
}

/// Implements `EVTCHNOP_bind_ipi`: binds a new port by which the domain's vCPUs interrupt `vcpu`.
///
/// **Errors:** `ENOENT` if there is no such vCPU; `EINVAL` if the domain is dying; `ENOSPC`, `ENOMEM`.
pub fn bind_ipi<D: EventDomain>(domain: &D, vcpu: VcpuId) -> Result<Port, Errno> {
    domain.events().vcpu(vcpu).ok_or(Errno::ENOENT)?;
    let mut bindings = domain.events().bindings.lock();
    let (port, cell) = find_free(domain, &mut bindings)?;
    occupy(&mut bindings, port, cell, Binding::guest(Kind::Ipi, vcpu));
    Ok(port)
}

/// Implements `EVTCHNOP_bind_pirq`: binds a new port to a PIRQ, on vCPU 0. Only the binding is kept here; the router of
/// the interrupt looks the port up by `pirq_port`.
///
/// **Errors:** `EINVAL` for a number past [`EventDomain::pirq_limit`]; `EEXIST` if it is bound; `EINVAL` if the domain
/// is dying; `ENOSPC`, `ENOMEM`.
pub fn bind_pirq<D: EventDomain>(domain: &D, pirq: u32) -> Result<Port, Errno> {
    if pirq >= domain.pirq_limit().min(VALUE_LIMIT) {
        return Err(Errno::EINVAL);
    }
    let mut bindings = domain.events().bindings.lock();
    if bindings.pirq_port(pirq).is_some() {
        return Err(Errno::EEXIST);
    }
    let (port, cell) = find_free(domain, &mut bindings)?;
    bindings.add_pirq(pirq, port)?;
    occupy(&mut bindings, port, cell, Binding::guest(Kind::Pirq(pirq), VcpuId(0)));
    Ok(port)
}

/// Returns whether a port is bound to a PIRQ.
pub fn is_pirq_bound<D: EventDomain>(domain: &D, pirq: u32) -> bool {
    domain.events().bindings.lock().pirq_port(pirq).is_some()
}

/// Raises the event of a PIRQ; returns false if no port is bound to it.
pub fn raise_pirq<D: EventDomain>(domain: &D, pirq: u32) -> bool {
    let port = domain.events().bindings.lock().pirq_port(pirq);
    let Some((port, cell)) = port.and_then(|port| Some((port, domain.events().ports().get(port)?))) else {
        return false;
    };
    let held = cell.hold();
    // The port may have been closed, and bound to something else, since it was read.
    let bound = held.binding().kind == Kind::Pirq(pirq);
    if bound {
        set_pending(domain, port, cell, held.binding());
    }
    bound
}

/// Implements `EVTCHNOP_bind_vcpu`: makes a port notify another vCPU from now on. A pending event stays where it is.
///
/// **Errors:** `ENOENT` if there is no such vCPU; `EINVAL` if there is no such port, it is the hypervisor's, or it
/// cannot move (an IPI, a per-vCPU VIRQ, or not bound).
pub fn bind_vcpu<D: EventDomain>(domain: &D, port: Port, vcpu: VcpuId) -> Result<(), Errno> {
    let events = domain.events();
    events.vcpu(vcpu).ok_or(Errno::ENOENT)?;
    let _bindings = events.bindings.lock();
    let cell = events.ports().get(port).ok_or(Errno::EINVAL)?;
    let binding = cell.peek();
    if binding.consumer == Consumer::Hypervisor || !binding.is_movable() {
        return Err(Errno::EINVAL);
    }
    cell.change().set(Binding { vcpu, ..binding });
    Ok(())
}
