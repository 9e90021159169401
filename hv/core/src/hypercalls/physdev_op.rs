//! `physdev_op`: physical devices, for the control domain. **Source:** `physdev.h`.
//!
//! A translated domain gets its interrupts through its virtual controllers, so every operation on a PIRQ is refused.

use crate::components::access::{Action, Object};
use crate::hypercalls::{Call, Handler, Operation, permitted, refused};
use crate::outcome::{Answer, Outcome};
use xen_abi::Errno;
use xen_abi::physdev::{
    PHYSDEVOP_DBGP_OP, PHYSDEVOP_EOI, PHYSDEVOP_GET_FREE_PIRQ, PHYSDEVOP_IRQ_STATUS_QUERY, PHYSDEVOP_MAP_PIRQ,
    PHYSDEVOP_PCI_DEVICE_ADD, PHYSDEVOP_PCI_DEVICE_REMOVE, PHYSDEVOP_PCI_MMCFG_RESERVED, PHYSDEVOP_UNMAP_PIRQ,
    PciDeviceFlags, PhysdevDbgpOp, PhysdevPciDevice, PhysdevPciDeviceAdd, PhysdevPciMmcfgReserved,
    XEN_PCI_MMCFG_RESERVED,
};
use xenolith_hal::{IoSize, Machine, PciFunction};

/// The vendor that reads where no device responds.
const NOBODY: u16 = 0xffff;

/// Returns the table of operations.
pub const fn operations<M: Machine>() -> &'static [Operation<Handler<M>>] {
    const {
        &[
            refused(PHYSDEVOP_IRQ_STATUS_QUERY, "PHYSDEVOP_irq_status_query", Errno::ENOSYS),
            refused(PHYSDEVOP_EOI, "PHYSDEVOP_eoi", Errno::ENOSYS),
            refused(PHYSDEVOP_MAP_PIRQ, "PHYSDEVOP_map_pirq", Errno::ENOSYS),
            refused(PHYSDEVOP_UNMAP_PIRQ, "PHYSDEVOP_unmap_pirq", Errno::ENOSYS),
            refused(PHYSDEVOP_GET_FREE_PIRQ, "PHYSDEVOP_get_free_pirq", Errno::ENOSYS),
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

/// Checks that the caller is the control domain: for others there is no operation at all.
///
/// **Errors:** `ENOSYS`.
pub fn has_devices<M: Machine>(call: &Call<'_, M>) -> Result<(), Errno> {
    call.may(Action::ManageDevices, Object::Machine).map_err(|_| Errno::ENOSYS)
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
