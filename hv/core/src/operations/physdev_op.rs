//! `physdev_op`: physical devices, for the control domain. **Source:** `physdev.h`.
//!
//! A translated domain has its interrupts by its virtual controllers, so everything that names a physical interrupt
//! is refused.

use crate::hypercall::{Call, Operation, control, refused};
use crate::outcome::{Answer, Outcome};
use xen_abi::Errno;
use xen_abi::physdev::{
    PHYSDEVOP_DBGP_OP, PHYSDEVOP_EOI, PHYSDEVOP_GET_FREE_PIRQ, PHYSDEVOP_IRQ_STATUS_QUERY, PHYSDEVOP_MAP_PIRQ,
    PHYSDEVOP_PCI_DEVICE_ADD, PHYSDEVOP_PCI_DEVICE_REMOVE, PHYSDEVOP_PCI_MMCFG_RESERVED, PHYSDEVOP_UNMAP_PIRQ,
    PhysdevPciDevice, PhysdevPciDeviceAdd, PhysdevPciMmcfgReserved,
};
use xenolith_hal::Machine;

/// Every operation.
pub const fn operations<M: Machine>() -> &'static [Operation<M>] {
    const {
        &[
            refused(PHYSDEVOP_IRQ_STATUS_QUERY, "PHYSDEVOP_irq_status_query", Errno::ENOSYS),
            refused(PHYSDEVOP_EOI, "PHYSDEVOP_eoi", Errno::ENOSYS),
            refused(PHYSDEVOP_MAP_PIRQ, "PHYSDEVOP_map_pirq", Errno::ENOSYS),
            refused(PHYSDEVOP_UNMAP_PIRQ, "PHYSDEVOP_unmap_pirq", Errno::ENOSYS),
            refused(PHYSDEVOP_GET_FREE_PIRQ, "PHYSDEVOP_get_free_pirq", Errno::ENOSYS),
            control(PHYSDEVOP_PCI_MMCFG_RESERVED, "PHYSDEVOP_pci_mmcfg_reserved", mmcfg_reserved),
            control(PHYSDEVOP_PCI_DEVICE_ADD, "PHYSDEVOP_pci_device_add", device_add),
            control(PHYSDEVOP_PCI_DEVICE_REMOVE, "PHYSDEVOP_pci_device_remove", device_remove),
            refused(PHYSDEVOP_DBGP_OP, "PHYSDEVOP_dbgp_op", Errno::ENOSYS),
        ]
    }
}

/// The control domain says that a window of PCI configuration space is marked as reserved, which this hypervisor
/// takes from the firmware's tables itself.
///
/// **Errors:** `EFAULT`, `EPERM`.
fn mmcfg_reserved<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let _: PhysdevPciMmcfgReserved = call.read_arg(1)?;
    Ok(Outcome::OK)
}

/// The control domain has found a device. Every device is its own until there is an IOMMU to give it to others.
///
/// **Errors:** `EFAULT`, `EPERM`.
fn device_add<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let _: PhysdevPciDeviceAdd = call.read_arg(1)?;
    Ok(Outcome::OK)
}

/// **Errors:** `EFAULT`, `EPERM`.
fn device_remove<M: Machine>(call: &mut Call<'_, M>) -> Answer {
    let _: PhysdevPciDevice = call.read_arg(1)?;
    Ok(Outcome::OK)
}
