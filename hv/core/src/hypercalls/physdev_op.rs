//! `physdev_op`: physical devices, for the control domain, and interrupts that come as events, for HVM guests.
//! **Source:** `physdev.h`.
//!
//! Other domains get their interrupts through their virtual controllers alone.

use crate::components::access::{Action, Object};
use crate::components::event_channel::is_pirq_bound;
use crate::hypercalls::{Call, Handler, Operation, operation, permitted};
use crate::lifecycle::event_domain::HostedDomain;
use crate::outcome::{Answer, Outcome};
use crate::x86::chipset;
use core::sync::atomic::Ordering;
use xen_abi::physdev::*;
use xen_abi::{DomId, Errno, VcpuId};
use xenolith_devices::platform::Platform;
use xenolith_hal::{IoSize, Machine, PciFunction};

/// The vendor that reads where no device responds.
const NOBODY: u16 = 0xffff;

/// Returns the table of operations.
pub const fn operations<M: Machine>() -> &'static [Operation<Handler<M>>] {
    const {
        &[
            operation(PHYSDEVOP_IRQ_STATUS_QUERY, "PHYSDEVOP_irq_status_query", irq_status_query),
            operation(PHYSDEVOP_EOI, "PHYSDEVOP_eoi", eoi),
            operation(PHYSDEVOP_MAP_PIRQ, "PHYSDEVOP_map_pirq", map_pirq),
            operation(PHYSDEVOP_UNMAP_PIRQ, "PHYSDEVOP_unmap_pirq", unmap_pirq),
            operation(PHYSDEVOP_GET_FREE_PIRQ, "PHYSDEVOP_get_free_pirq", get_free_pirq),
            permitted(
                Action::ManageDevices,
                PHYSDEVOP_PCI_MMCFG_RESERVED,
                "PHYSDEVOP_pci_mmcfg_reserved",
                mmcfg_reserved,
            ),
            permitted(Action::ManageDevices, PHYSDEVOP_PCI_DEVICE_ADD, "PHYSDEVOP_pci_device_add", device_add),
            permitted(Action::ManageDevices, PHYSDEVOP_PCI_DEVICE_REMOVE, "PHYSDEVOP_pci_device_remove", device_remove),
            permitted(Action::ManageDevices, PHYSDEVOP_DBGP_OP, "PHYSDEVOP_dbgp_op", debug_port),
        ]
    }
}

/// Checks that the caller is the control domain, or an HVM guest that asks about its own interrupts: for others there is no
/// operation at all.
///
/// **Errors:** `ENOSYS`.
pub fn has_devices<M: Machine>(call: &Call<'_, M>) -> Result<(), Errno> {
    let of_guests =
        [PHYSDEVOP_IRQ_STATUS_QUERY, PHYSDEVOP_EOI, PHYSDEVOP_MAP_PIRQ, PHYSDEVOP_UNMAP_PIRQ, PHYSDEVOP_GET_FREE_PIRQ];
    if of_guests.contains(&call.arg_u32(0)) {
        return call.domain.chipset.get().map(drop).ok_or(Errno::ENOSYS);
    }
    call.may(Action::ManageDevices, Object::Machine).map_err(|_| Errno::ENOSYS)
}

/// Works with the interrupts of the caller.
///
/// **Errors:** `ENOSYS` for a domain that has none of that kind.
fn with_pirqs<M: Machine, R>(call: &Call<'_, M>, work: impl FnOnce(&mut Platform) -> R) -> Result<R, Errno> {
    chipset::with(call.hv, call.domain, |platform, _| work(platform)).ok_or(Errno::ENOSYS)
}

/// Checks that a domain that is named is the caller.
///
/// **Errors:** `EPERM`, `ESRCH`.
fn is_of_caller<M: Machine>(call: &Call<'_, M>, domid: DomId) -> Result<(), Errno> {
    if domid == DomId::SELF { Ok(()) } else { call.hv.domain(domid).and(Err(Errno::EPERM)) }
}

/// Implements `PHYSDEVOP_irq_status_query`: each such interrupt needs [`eoi`].
///
/// **Errors:** `EINVAL` for a number that stands for no pin, `EFAULT`.
fn irq_status_query<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut asked: PhysdevIrqStatusQuery = call.read_arg(1)?;
    if !with_pirqs(call, |platform| platform.is_pirq_of_pin(asked.irq))? {
        return Err(Errno::EINVAL);
    }
    asked.flags = IrqStatus::NEEDS_EOI;
    call.write_arg(1, &asked)?;
    Ok(Outcome::OK)
}

/// Implements `PHYSDEVOP_eoi`.
///
/// **Errors:** `EINVAL` for a number that stands for nothing and has no port, `EFAULT`.
fn eoi<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let ended: PhysdevEoi = call.read_arg(1)?;
    let is_known = with_pirqs(call, |platform| platform.end_pirq(ended.irq))?;
    if is_known || is_pirq_bound(&HostedDomain::new(call.hv, call.domain), ended.irq) {
        Ok(Outcome::OK)
    } else {
        Err(Errno::EINVAL)
    }
}

/// Implements `PHYSDEVOP_map_pirq`: an interrupt of a device that is emulated comes as an event.
///
/// **Errors:** `EPERM` and `ESRCH` for another domain; `EINVAL` for anything but a pin that exists, for a number that does not, and unless
/// events come by a vector; `EFAULT`.
fn map_pirq<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut wanted: PhysdevMapPirq = call.read_arg(1)?;
    is_of_caller(call, wanted.domid)?;
    let first = call.domain.vcpu(VcpuId(0)).map_or(0, |vcpu| vcpu.upcall_vector.load(Ordering::SeqCst));
    // By a line, the event of an interrupt would be an interrupt.
    if (first == 0 && call.domain.callback_vector().is_none()) || wanted.kind != MAP_PIRQ_TYPE_GSI {
        return Err(Errno::EINVAL);
    }
    wanted.pirq = with_pirqs(call, |platform| platform.map_pirq(wanted.pirq, wanted.index))??;
    call.write_arg(1, &wanted)?;
    Ok(Outcome::OK)
}

/// Implements `PHYSDEVOP_unmap_pirq`.
///
/// **Errors:** `EPERM` and `ESRCH` for another domain, `EFAULT`.
fn unmap_pirq<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let wanted: PhysdevUnmapPirq = call.read_arg(1)?;
    is_of_caller(call, wanted.domid)?;
    with_pirqs(call, |platform| platform.unmap_pirq(wanted.pirq.cast_unsigned()))?;
    Ok(Outcome::OK)
}

/// Implements `PHYSDEVOP_get_free_pirq`.
///
/// **Errors:** `ENOSPC`, `EFAULT`.
fn get_free_pirq<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let mut wanted: PhysdevGetFreePirq = call.read_arg(1)?;
    wanted.pirq = with_pirqs(call, |platform| platform.give_pirq(wanted.kind))??;
    call.write_arg(1, &wanted)?;
    Ok(Outcome::OK)
}

/// Implements `PHYSDEVOP_pci_mmcfg_reserved`: the control domain says whether an ECAM window is marked as reserved. The
/// window is taken from the firmware's tables and shown to that domain either way.
///
/// **Errors:** `EINVAL` for unknown flags, `ENODEV` unless there is a window of just these buses, `EIO` if it lies
/// elsewhere, `EFAULT`.
fn mmcfg_reserved<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let named: PhysdevPciMmcfgReserved = call.read_arg(1)?;
    if named.flags & !XEN_PCI_MMCFG_RESERVED != 0 {
        return Err(Errno::EINVAL);
    }
    let buses = (named.segment, named.start_bus, named.end_bus);
    let place = call.domain.devices.get().and_then(|devices| devices.configuration_of(buses)).ok_or(Errno::ENODEV)?;
    if place.0 == named.address { Ok(Outcome::OK) } else { Err(Errno::EIO) }
}

/// Implements `PHYSDEVOP_pci_device_add`: the control domain has found a device. Every device is its own until there is
/// an IOMMU to give it to others.
///
/// **Errors:** `EOPNOTSUPP` for one that does not respond, `EFAULT`.
fn device_add<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let found: PhysdevPciDeviceAdd = call.read_arg(1)?;
    let function = PciFunction { segment: found.seg, bdf: u16::from(found.bus) << 8 | u16::from(found.devfn) };
    // A virtual function has no vendor of its own.
    let is_virtual = found.flags.contains(PciDeviceFlags::VIRTFN);
    if !is_virtual && call.hv.machine.pci_read(function, 0, IoSize::Word) == u32::from(NOBODY) {
        return Err(Errno::EOPNOTSUPP);
    }
    Ok(Outcome::OK)
}

/// Implements `PHYSDEVOP_dbgp_op`: the control domain resets a USB controller whose debug port the hypervisor may use,
/// which it never does.
///
/// **Errors:** `EFAULT`.
fn debug_port<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let _: PhysdevDbgpOp = call.read_arg(1)?;
    Ok(Outcome::OK)
}

/// Implements `PHYSDEVOP_pci_device_remove`.
///
/// **Errors:** `EFAULT`.
fn device_remove<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let _: PhysdevPciDevice = call.read_arg(1)?;
    Ok(Outcome::OK)
}
