//! Interrupts that a device model raises, and the guest's end.
//!
//! The levels of lines belong to the guest's interrupt controllers. [`set_line`] and [`set_link_route`] are the one place
//! where they meet: until an HVM guest has such controllers, they refuse.

use super::{Done, Request};
use crate::domains::domain::Domain;
use crate::domains::hypervisor::Hypervisor;
use crate::lifecycle::power::domain_shutdown;
use crate::lifecycle::waking::notify;
use crate::x86::interrupts::send_message;
use xen_abi::dm_op::XEN_DMOP_EVENT_NMI;
use xen_abi::{Errno, VcpuId};
use xenolith_devices::interrupt::Message;
use xenolith_hal::Machine;

const DEVICES: u8 = 32;
const PINS: u8 = 4;
const LINKS: u8 = 4;
const ISA_LINES: u8 = 16;

/// A line of a device to the guest's interrupt controllers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Line {
    /// Pin 0 to 3 of PCI device 0 to 31 on bus 0.
    Pci { device: u8, pin: u8 },
    /// 0 to 15.
    Isa(u8),
}

/// Sets the level of a line.
///
/// **Errors:** `EOPNOTSUPP`: no guest has the controllers yet.
fn set_line<M: Machine>(_: &Hypervisor<M>, _: &Domain<M>, _: Line, _asserted: bool) -> Result<(), Errno> {
    Err(Errno::EOPNOTSUPP)
}

/// Routes PCI link 0 to 3 to ISA line 1 to 15, or to none for 0.
///
/// **Errors:** `EOPNOTSUPP`: no guest has the controllers yet.
fn set_link_route<M: Machine>(_: &Hypervisor<M>, _: &Domain<M>, _link: u8, _line: u8) -> Result<(), Errno> {
    Err(Errno::EOPNOTSUPP)
}

/// Returns the level that a number means.
///
/// **Errors:** `EINVAL` unless it is 0 or 1.
const fn level(number: u8) -> Result<bool, Errno> {
    match number {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Errno::EINVAL),
    }
}

/// Implements `XEN_DMOP_set_pci_intx_level`.
///
/// **Errors:** `EINVAL` for a segment or bus other than 0, a device, pin or level that does not exist.
pub(super) fn set_pci_intx_level<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let wanted = request.op.pci_intx_level();
    if wanted.domain != 0 || wanted.bus != 0 || wanted.device >= DEVICES || wanted.intx >= PINS {
        return Err(Errno::EINVAL);
    }
    let line = Line::Pci { device: wanted.device, pin: wanted.intx };
    set_line(request.call.hv, &request.domain, line, level(wanted.level)?)?;
    Ok(Done::Quietly)
}

/// Implements `XEN_DMOP_set_isa_irq_level`.
///
/// **Errors:** `EINVAL` for a line or level that does not exist.
pub(super) fn set_isa_irq_level<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let wanted = request.op.isa_irq_level();
    if wanted.isa_irq >= ISA_LINES {
        return Err(Errno::EINVAL);
    }
    set_line(request.call.hv, &request.domain, Line::Isa(wanted.isa_irq), level(wanted.level)?)?;
    Ok(Done::Quietly)
}

/// Implements `XEN_DMOP_set_pci_link_route`.
///
/// **Errors:** `EINVAL` for a link or line that does not exist.
pub(super) fn set_pci_link_route<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let wanted = request.op.pci_link_route();
    if wanted.link >= LINKS || wanted.isa_irq >= ISA_LINES {
        return Err(Errno::EINVAL);
    }
    set_link_route(request.call.hv, &request.domain, wanted.link, wanted.isa_irq)?;
    Ok(Done::Quietly)
}

/// Implements `XEN_DMOP_inject_event` for non-maskable interrupts.
///
/// **Errors:** `EINVAL` for padding and a vCPU that does not exist; `EOPNOTSUPP` for other events.
pub(super) fn inject_event<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let wanted = request.op.inject_event();
    if wanted.pad0 != 0 || wanted.pad1 != 0 {
        return Err(Errno::EINVAL);
    }
    let vcpu = request.domain.vcpu(VcpuId(wanted.vcpuid)).ok_or(Errno::EINVAL)?;
    if wanted.kind != XEN_DMOP_EVENT_NMI {
        return Err(Errno::EOPNOTSUPP);
    }
    vcpu.requests.post_nmi();
    notify(request.call.hv, &request.domain, vcpu);
    Ok(Done::Quietly)
}

/// Implements `XEN_DMOP_inject_msi`: sends an interrupt message as a device would write it.
///
/// **Errors:** `EINVAL` for padding, and for an address or data that is no message.
pub(super) fn inject_msi<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let wanted = request.op.inject_msi();
    if wanted.pad != 0 {
        return Err(Errno::EINVAL);
    }
    let message = Message::from_msi(wanted.addr, wanted.data).ok_or(Errno::EINVAL)?;
    send_message(request.call.hv, &request.domain, None, message);
    Ok(Done::Quietly)
}

/// Implements `XEN_DMOP_remote_shutdown`.
///
/// **Errors:** none.
pub(super) fn remote_shutdown<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    domain_shutdown(request.call.hv, &request.domain, request.op.remote_shutdown().reason);
    Ok(Done::Quietly)
}
