//! VIRQs: which are global and which per vCPU, and raising them.

use super::delivery::set_pending;
use super::domain::EventDomain;
use super::port_state::Kind;
use xen_abi::virq::{NR_VIRQS, VIRQ_DEBUG, VIRQ_TIMER, VIRQ_XENOPROF, VIRQ_XENPMU};
use xen_abi::{Port, VcpuId};

/// Returns true for a global VIRQ, which a domain binds once, on vCPU 0; false for one that each vCPU binds for itself.
///
/// **Source:** `xen.h`, the list of `VIRQ_*`.
#[must_use]
pub const fn is_global(virq: u32) -> bool {
    !matches!(virq, VIRQ_TIMER | VIRQ_DEBUG | VIRQ_XENOPROF | VIRQ_XENPMU)
}

/// Raises a per-vCPU VIRQ. Does nothing if the guest did not bind it.
pub fn raise_vcpu<D: EventDomain>(domain: &D, vcpu: VcpuId, virq: u32) {
    raise(domain, vcpu, virq);
}

/// Raises a global VIRQ of the domain that handles it. Does nothing if the guest did not bind it.
pub fn raise_global<D: EventDomain>(domain: &D, virq: u32) {
    raise(domain, VcpuId(0), virq);
}

fn raise<D: EventDomain>(domain: &D, bound_on: VcpuId, virq: u32) {
    if virq >= NR_VIRQS {
        return;
    }
    let events = domain.events();
    let Some(port) = events.vcpu(bound_on).and_then(|vcpu| vcpu.virq_port(virq)) else { return };
    let Some(cell) = events.ports().get(port) else { return };
    let held = cell.hold();
    // The port may have been closed, and bound to something else, since it was read.
    if held.binding().kind == Kind::Virq(virq) {
        set_pending(domain, port, cell, held.binding());
    }
}

/// Returns the port that a vCPU's VIRQ is bound to.
pub(super) fn bound_port<D: EventDomain>(domain: &D, vcpu: VcpuId, virq: u32) -> Option<Port> {
    domain.events().vcpu(vcpu)?.virq_port(virq)
}
