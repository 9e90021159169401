//! Control of the devices that a domain has.
//!
//! A device is named by one word: segment in bits 31 to 16, bus in 15 to 8, device and function in 7 to 0.
//! **Source:** `domctl.h`.

use crate::describe::{constants, union_members, wire};
use crate::{Gfn, GuestHandle, Mfn, Union};

constants! {
    table CONSTANTS;
    /// [`DomctlAssignDevice::dev`]: a PCI device.
    pub const XEN_DOMCTL_DEV_PCI: u32 = 0;
    /// [`DomctlAssignDevice::dev`]: a device of the device tree.
    pub const XEN_DOMCTL_DEV_DT: u32 = 1;
    /// [`DomctlAssignDevice::flags`]: memory that the device needs may be missing.
    pub const XEN_DOMCTL_DEV_RDM_RELAXED: u32 = 1;
    /// [`DomctlBindPtIrq::irq_type`]: a line of a PCI device.
    pub const PT_IRQ_TYPE_PCI: u32 = 0;
    /// [`DomctlBindPtIrq::irq_type`]: a line of the ISA bus.
    pub const PT_IRQ_TYPE_ISA: u32 = 1;
    /// [`DomctlBindPtIrq::irq_type`]: a message.
    pub const PT_IRQ_TYPE_MSI: u32 = 2;
    /// [`DomctlBindPtIrq::irq_type`]: a message that the guest sees as a line.
    pub const PT_IRQ_TYPE_MSI_TRANSLATE: u32 = 3;
    /// [`DomctlBindPtIrq::irq_type`]: a line of Arm's.
    pub const PT_IRQ_TYPE_SPI: u32 = 4;
    /// [`DomctlMemoryMapping::add_mapping`]: maps.
    pub const DPCI_ADD_MAPPING: u32 = 1;
    /// [`DomctlMemoryMapping::add_mapping`]: unmaps.
    pub const DPCI_REMOVE_MAPPING: u32 = 0;
}

wire! {
    fixed;

    /// Arguments of [`XEN_DOMCTL_IRQ_PERMISSION`](super::XEN_DOMCTL_IRQ_PERMISSION).
    pub struct DomctlIrqPermission: "struct xen_domctl_irq_permission" {
        /// In: the caller's number of the interrupt.
        pub pirq: u32,
        /// In: 0 or not.
        pub allow_access: u8,
        /// Padding.
        pub pad: [u8; 3],
    }

    /// Arguments of [`XEN_DOMCTL_IOMEM_PERMISSION`](super::XEN_DOMCTL_IOMEM_PERMISSION).
    pub struct DomctlIomemPermission: "struct xen_domctl_iomem_permission" {
        /// In: the first frame.
        pub first_mfn: Mfn,
        /// In: the number of frames.
        pub nr_mfns: u64,
        /// In: 0 or not.
        pub allow_access: u8,
        /// Padding.
        pub pad: [u8; 7],
    }

    /// Arguments of [`XEN_DOMCTL_IOPORT_PERMISSION`](super::XEN_DOMCTL_IOPORT_PERMISSION).
    pub struct DomctlIoportPermission: "struct xen_domctl_ioport_permission" {
        /// In: the first port.
        pub first_port: u32,
        /// In: the number of ports.
        pub nr_ports: u32,
        /// In: 0 or not.
        pub allow_access: u8,
        /// Padding.
        pub pad: [u8; 3],
    }

    /// Arguments of [`XEN_DOMCTL_ASSIGN_DEVICE`](super::XEN_DOMCTL_ASSIGN_DEVICE), its counterpart and its test.
    pub struct DomctlAssignDevice: "struct xen_domctl_assign_device" {
        /// In: an `XEN_DOMCTL_DEV_*`.
        pub dev: u32,
        /// In: 0 or [`XEN_DOMCTL_DEV_RDM_RELAXED`].
        pub flags: u32,
        /// In: the device.
        pub u: Union<16>,
    }

    /// Arguments of [`XEN_DOMCTL_GET_DEVICE_GROUP`](super::XEN_DOMCTL_GET_DEVICE_GROUP).
    pub struct DomctlGetDeviceGroup: "struct xen_domctl_get_device_group" {
        /// In: the device: segment (bits 16 to 31), bus (8 to 15), device and function (0 to 7).
        pub machine_sbdf: u32,
        /// In: length of the list in devices.
        pub max_sdevs: u32,
        /// Out: how many there are.
        pub num_sdevs: u32,
        /// Padding.
        pub pad: [u8; 4],
        /// Out: the devices that go with it.
        pub sdev_array: GuestHandle<u32>,
    }

    /// A message interrupt of [`DomctlBindPtIrq`].
    pub struct DomctlBindPtIrqMsi: "__typeof__(((struct xen_domctl_bind_pt_irq *)0)->u.msi)" {
        /// In: the guest's vector.
        pub gvec: u8,
        /// Padding.
        pub pad: [u8; 3],
        /// In: destination and mode, as the guest wrote them.
        pub gflags: u32,
        /// In: guest physical address of the MSI-X table, or 0.
        pub gtable: u64,
    }

    /// A line of a PCI device of [`DomctlBindPtIrq`].
    pub struct DomctlBindPtIrqPci: "__typeof__(((struct xen_domctl_bind_pt_irq *)0)->u.pci)" {
        /// In: the guest's bus.
        pub bus: u8,
        /// In: the guest's device.
        pub device: u8,
        /// In: the line.
        pub intx: u8,
    }

    /// Arguments of [`XEN_DOMCTL_BIND_PT_IRQ`](super::XEN_DOMCTL_BIND_PT_IRQ) and its counterpart.
    pub struct DomctlBindPtIrq: "struct xen_domctl_bind_pt_irq" {
        /// In: the domain's number of the interrupt.
        pub machine_irq: u32,
        /// In: a `PT_IRQ_TYPE_*`.
        pub irq_type: u32,
        /// In: by type.
        pub u: Union<16>,
    }

    /// Arguments of [`XEN_DOMCTL_MEMORY_MAPPING`](super::XEN_DOMCTL_MEMORY_MAPPING).
    pub struct DomctlMemoryMapping: "struct xen_domctl_memory_mapping" {
        /// In: the domain's first frame.
        pub first_gfn: Gfn,
        /// In: the machine's first frame.
        pub first_mfn: Mfn,
        /// In: the number of frames.
        pub nr_mfns: u64,
        /// In: a `DPCI_*`.
        pub add_mapping: u32,
        /// Padding.
        pub padding: u32,
    }

    /// Arguments of [`XEN_DOMCTL_IOPORT_MAPPING`](super::XEN_DOMCTL_IOPORT_MAPPING).
    pub struct DomctlIoportMapping: "struct xen_domctl_ioport_mapping" {
        /// In: the domain's first port.
        pub first_gport: u32,
        /// In: the machine's first port.
        pub first_mport: u32,
        /// In: the number of ports.
        pub nr_ports: u32,
        /// In: a `DPCI_*`.
        pub add_mapping: u32,
    }
}

union_members! {
    DomctlAssignDevice, u:
    /// For [`XEN_DOMCTL_DEV_PCI`]: the device.
    machine_sbdf, set_machine_sbdf: u32;
}

union_members! {
    DomctlBindPtIrq, u:
    /// For [`PT_IRQ_TYPE_ISA`]: the line.
    isa_irq, set_isa_irq: u8;
    /// For [`PT_IRQ_TYPE_PCI`] and [`PT_IRQ_TYPE_MSI_TRANSLATE`].
    pci, set_pci: DomctlBindPtIrqPci;
    /// For [`PT_IRQ_TYPE_MSI`].
    msi, set_msi: DomctlBindPtIrqMsi;
}
