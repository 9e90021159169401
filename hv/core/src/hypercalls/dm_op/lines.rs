//! Interrupts that a device model raises, and the guest's end.

use super::{Done, Request};
use crate::lifecycle::power::domain_shutdown;
use crate::lifecycle::waking::notify;
use crate::x86::chipset;
use crate::x86::interrupts::send_message;
use xen_abi::dm_op::XEN_DMOP_EVENT_NMI;
use xen_abi::{Errno, VcpuId};
use xenolith_devices::interrupt::Message;
use xenolith_devices::platform::{IntxPin, Platform};
use xenolith_hal::Machine;

const LINKS: u8 = 4;
const ISA_LINES: u8 = 16;

/// Where interrupt messages are written, and the part of an address that says where among them. **Source:** AMD manual volume 2,
/// 16.11.1.
const MESSAGES: u64 = 0xfee0_0000;
const AMONG_MESSAGES: u64 = 0xf_ffff;

/// Works with the guest's interrupt controllers.
///
/// **Errors:** `EOPNOTSUPP` for a guest that has none, `EINVAL` if `work` returns false: what it names does not exist.
fn change<M: Machine>(request: &Request<'_, '_, M>, work: impl FnOnce(&mut Platform) -> bool) -> Result<Done, Errno> {
    match chipset::with(request.call.hv, &request.domain, |platform, _| work(platform)) {
        None => Err(Errno::EOPNOTSUPP),
        Some(false) => Err(Errno::EINVAL),
        Some(true) => Ok(Done::Quietly),
    }
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
    let pin = IntxPin::new(wanted.device, wanted.intx).filter(|_| wanted.domain == 0 && wanted.bus == 0);
    let (pin, active) = (pin.ok_or(Errno::EINVAL)?, level(wanted.level)?);
    change(request, |platform| {
        platform.set_intx(pin, active);
        true
    })
}

/// Implements `XEN_DMOP_set_isa_irq_level`.
///
/// **Errors:** `EINVAL` for a line or level that does not exist.
pub(super) fn set_isa_irq_level<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let wanted = request.op.isa_irq_level();
    if wanted.isa_irq >= ISA_LINES {
        return Err(Errno::EINVAL);
    }
    let active = level(wanted.level)?;
    change(request, |platform| platform.set_isa_line(wanted.isa_irq, active))
}

/// Implements `XEN_DMOP_set_pci_link_route`.
///
/// **Errors:** `EINVAL` for a link or line that does not exist.
pub(super) fn set_pci_link_route<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let wanted = request.op.pci_link_route();
    if wanted.link >= LINKS || wanted.isa_irq >= ISA_LINES {
        return Err(Errno::EINVAL);
    }
    change(request, |platform| platform.set_link_route(wanted.link, wanted.isa_irq))
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

/// Implements `XEN_DMOP_inject_msi`: sends an interrupt message as a device would write it. Debian's QEMU gives the place among
/// messages alone, as Xen looks at no more of the address. A message with vector 0 names an interrupt that comes as an event,
/// by the destination and the upper half of the address.
///
/// **Errors:** `EINVAL` for padding, and for data that is no message; see [`Platform::send_pirq`].
pub(super) fn inject_msi<M: Machine>(request: &mut Request<'_, '_, M>) -> Result<Done, Errno> {
    let wanted = request.op.inject_msi();
    if wanted.pad != 0 {
        return Err(Errno::EINVAL);
    }
    if wanted.data as u8 == 0 {
        let pirq = (wanted.addr >> 32) as u32 & !0xff | u32::from((wanted.addr >> 12) as u8);
        let sent = chipset::with(request.call.hv, &request.domain, |platform, _| platform.send_pirq(pirq));
        return sent.unwrap_or(Err(Errno::EINVAL)).map(|()| Done::Quietly);
    }
    let message = Message::from_msi(MESSAGES | wanted.addr & AMONG_MESSAGES, wanted.data).ok_or(Errno::EINVAL)?;
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
