//! The status of a port (`EVTCHNOP_status`).

use super::domain::EventDomain;
use super::port_state::{Consumer, Kind};
use xen_abi::{DomId, Errno, Port, VcpuId};

/// What a port is bound to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortStatus {
    Closed,
    Unbound { remote: DomId },
    Interdomain { remote: DomId, port: Port },
    Pirq(u32),
    Virq(u32),
    Ipi,
}

/// Implements `EVTCHNOP_status`: returns what a port is bound to, and which vCPU it notifies. `permitted` says whether
/// the caller may ask that of `domain`.
///
/// **Errors:** `EINVAL` if there is no such port; `EACCES` if it is the hypervisor's; `EPERM`.
pub fn status<D: EventDomain>(domain: &D, port: Port, permitted: bool) -> Result<(PortStatus, VcpuId), Errno> {
    let binding = domain.events().ports().get(port).ok_or(Errno::EINVAL)?.peek();
    if binding.consumer == Consumer::Hypervisor {
        return Err(Errno::EACCES);
    }
    if !permitted {
        return Err(Errno::EPERM);
    }
    Ok((status_of(binding.kind), binding.vcpu))
}

/// Returns the status of a port with this kind of binding.
pub(super) const fn status_of(kind: Kind) -> PortStatus {
    match kind {
        Kind::Free | Kind::Reserved => PortStatus::Closed,
        Kind::Unbound { remote } => PortStatus::Unbound { remote },
        Kind::Interdomain { remote, port } => PortStatus::Interdomain { remote, port },
        Kind::Pirq(pirq) => PortStatus::Pirq(pirq),
        Kind::Virq(virq) => PortStatus::Virq(virq),
        Kind::Ipi => PortStatus::Ipi,
    }
}
