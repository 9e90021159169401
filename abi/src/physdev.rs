//! Physical devices and interrupts, as the domain that drives them sees them.
//!
//! Hypercall [`PHYSDEV_OP`](crate::hypercall::PHYSDEV_OP): `(operation, pointer to arguments)`.
//! **Source:** `physdev.h`.

use crate::describe::{constants, flags, wire};
use crate::{DomId, Gfn, GuestHandle};

constants! {
    table CONSTANTS;
    /// Asks about an interrupt; [`PhysdevIrqStatusQuery`].
    pub const PHYSDEVOP_IRQ_STATUS_QUERY: u32 = 5;
    /// Sets the I/O privilege level of a PV vCPU; [`PhysdevSetIopl`].
    pub const PHYSDEVOP_SET_IOPL: u32 = 6;
    /// Sets the I/O bitmap of a PV vCPU; [`PhysdevSetIobitmap`].
    pub const PHYSDEVOP_SET_IOBITMAP: u32 = 7;
    /// Reads a register of an I/O APIC, for PV; [`PhysdevApic`].
    pub const PHYSDEVOP_APIC_READ: u32 = 8;
    /// Writes a register of an I/O APIC, for PV; [`PhysdevApic`].
    pub const PHYSDEVOP_APIC_WRITE: u32 = 9;
    /// Gets a vector for an interrupt; [`PhysdevIrq`].
    pub const PHYSDEVOP_ALLOC_IRQ_VECTOR: u32 = 10;
    /// Frees an interrupt's vector; [`PhysdevIrq`].
    pub const PHYSDEVOP_FREE_IRQ_VECTOR: u32 = 11;
    /// Ends an interrupt (EOI); [`PhysdevEoi`].
    pub const PHYSDEVOP_EOI: u32 = 12;
    /// Maps a machine interrupt to a number of the domain's (PIRQ); [`PhysdevMapPirq`].
    pub const PHYSDEVOP_MAP_PIRQ: u32 = 13;
    /// Unmaps a PIRQ; [`PhysdevUnmapPirq`].
    pub const PHYSDEVOP_UNMAP_PIRQ: u32 = 14;
    /// Adds a PCI device, in the oldest form; [`PhysdevManagePci`].
    pub const PHYSDEVOP_MANAGE_PCI_ADD: u32 = 15;
    /// Removes a PCI device, in the old form; [`PhysdevManagePci`].
    pub const PHYSDEVOP_MANAGE_PCI_REMOVE: u32 = 16;
    /// Shares a page of bits that tell which interrupts need an end; [`PhysdevPirqEoiGmfn`].
    pub const PHYSDEVOP_PIRQ_EOI_GMFN_V1: u32 = 17;
    /// Writes a device's message interrupts again, in the old form; [`PhysdevManagePci`].
    pub const PHYSDEVOP_RESTORE_MSI: u32 = 19;
    /// Adds a PCI device, in the old form; [`PhysdevManagePciExt`].
    pub const PHYSDEVOP_MANAGE_PCI_ADD_EXT: u32 = 20;
    /// Sets trigger mode and polarity of a GSI (line of an I/O APIC); [`PhysdevSetupGsi`].
    pub const PHYSDEVOP_SETUP_GSI: u32 = 21;
    /// Allocates a free PIRQ; [`PhysdevGetFreePirq`].
    pub const PHYSDEVOP_GET_FREE_PIRQ: u32 = 23;
    /// Says where PCI configuration space is mapped (MMCONFIG, ECAM); [`PhysdevPciMmcfgReserved`].
    pub const PHYSDEVOP_PCI_MMCFG_RESERVED: u32 = 24;
    /// Adds a PCI device; [`PhysdevPciDeviceAdd`].
    pub const PHYSDEVOP_PCI_DEVICE_ADD: u32 = 25;
    /// Removes a PCI device; [`PhysdevPciDevice`].
    pub const PHYSDEVOP_PCI_DEVICE_REMOVE: u32 = 26;
    /// Writes a device's message interrupts again; [`PhysdevPciDevice`].
    pub const PHYSDEVOP_RESTORE_MSI_EXT: u32 = 27;
    /// [`PHYSDEVOP_PIRQ_EOI_GMFN_V1`], without unmasking at the end; [`PhysdevPirqEoiGmfn`].
    pub const PHYSDEVOP_PIRQ_EOI_GMFN_V2: u32 = 28;
    /// Tells of the reset of a debug port; [`PhysdevDbgpOp`].
    pub const PHYSDEVOP_DBGP_OP: u32 = 29;
    /// Prepares a device's MSI-X: its memory does not move from now on; [`PhysdevPciDevice`].
    pub const PHYSDEVOP_PREPARE_MSIX: u32 = 30;
    /// Releases a device's MSI-X: its memory may move again; [`PhysdevPciDevice`].
    pub const PHYSDEVOP_RELEASE_MSIX: u32 = 31;

    /// [`PhysdevMapPirq::kind`]: a message interrupt, in the old form.
    pub const MAP_PIRQ_TYPE_MSI: i32 = 0;
    /// [`PhysdevMapPirq::kind`]: a line of an I/O APIC.
    pub const MAP_PIRQ_TYPE_GSI: i32 = 1;
    /// [`PhysdevMapPirq::kind`]: not known.
    pub const MAP_PIRQ_TYPE_UNKNOWN: i32 = 2;
    /// [`PhysdevMapPirq::kind`]: a message interrupt, with the PCI segment.
    pub const MAP_PIRQ_TYPE_MSI_SEG: i32 = 3;
    /// [`PhysdevMapPirq::kind`]: several message interrupts.
    pub const MAP_PIRQ_TYPE_MULTI_MSI: i32 = 4;

    /// [`PhysdevPciMmcfgReserved::flags`]: firmware says that the range is reserved.
    pub const XEN_PCI_MMCFG_RESERVED: u32 = 1;
    /// [`PhysdevDbgpOp::op`]: before the reset.
    pub const PHYSDEVOP_DBGP_RESET_PREPARE: u8 = 1;
    /// [`PhysdevDbgpOp::op`]: after the reset.
    pub const PHYSDEVOP_DBGP_RESET_DONE: u8 = 2;
    /// [`PhysdevDbgpOp::bus`]: not known.
    pub const PHYSDEVOP_DBGP_BUS_UNKNOWN: u8 = 0;
    /// [`PhysdevDbgpOp::bus`]: PCI.
    pub const PHYSDEVOP_DBGP_BUS_PCI: u8 = 1;
}

flags! {
    /// Answer of [`PHYSDEVOP_IRQ_STATUS_QUERY`].
    pub struct IrqStatus("XENIRQSTAT_"): u32 {
        /// The domain must say when it has handled the interrupt.
        const NEEDS_EOI = 1 << 0;
        /// Several domains get it.
        const SHARED = 1 << 1;
    }

    /// Flags of [`PhysdevPciDeviceAdd`].
    pub struct PciDeviceFlags("XEN_PCI_DEV_"): u32 {
        /// A function beyond the eighth.
        const EXTFN = 1 << 0;
        /// A virtual function; `physfn` is its device.
        const VIRTFN = 1 << 1;
        /// A word with the proximity domain follows.
        const PXM = 1 << 2;
    }
}

wire! {
    /// Arguments of [`PHYSDEVOP_IRQ_STATUS_QUERY`].
    pub struct PhysdevIrqStatusQuery: "struct physdev_irq_status_query" {
        /// In: the interrupt.
        pub irq: u32,
        /// Out: flags.
        pub flags: IrqStatus,
    }

    /// Arguments of [`PHYSDEVOP_SET_IOPL`].
    pub struct PhysdevSetIopl: "struct physdev_set_iopl" {
        /// In: 0 to 3.
        pub iopl: u32,
    }

    /// Arguments of [`PHYSDEVOP_SET_IOBITMAP`].
    pub struct PhysdevSetIobitmap: "struct physdev_set_iobitmap" {
        /// In: a bit for each port, set if it is forbidden.
        pub bitmap: GuestHandle,
        /// In: length of the bitmap in bits.
        pub nr_ports: u32,
        /// Padding.
        pub pad: [u8; 4],
    }

    /// Arguments of [`PHYSDEVOP_APIC_READ`] and [`PHYSDEVOP_APIC_WRITE`].
    pub struct PhysdevApic: "struct physdev_apic" {
        /// In: machine address of the I/O APIC.
        pub apic_physbase: u64 as long,
        /// In: the register.
        pub reg: u32,
        /// In or out: its value.
        pub value: u32,
    }

    /// Arguments of [`PHYSDEVOP_ALLOC_IRQ_VECTOR`].
    pub struct PhysdevIrq: "struct physdev_irq" {
        /// In: the interrupt.
        pub irq: u32,
        /// In or out: the vector.
        pub vector: u32,
    }

    /// Arguments of [`PHYSDEVOP_EOI`].
    pub struct PhysdevEoi: "struct physdev_eoi" {
        /// In: the domain's number of it.
        pub irq: u32,
    }

    /// Arguments of [`PHYSDEVOP_MAP_PIRQ`].
    pub struct PhysdevMapPirq: "struct physdev_map_pirq" {
        /// In: for whom.
        pub domid: DomId,
        /// Padding.
        pub pad0: [u8; 2],
        /// In: a `MAP_PIRQ_TYPE_*`.
        pub kind: i32 = "type",
        /// In: the line, or negative.
        pub index: i32,
        /// In: the wanted number, or negative for any. Out: the number.
        pub pirq: i32,
        /// In: the bus; the segment in the high half.
        pub bus: i32,
        /// In: device and function.
        pub devfn: i32,
        /// In: which entry of the MSI-X table, or how many message interrupts.
        pub entry_nr: i32,
        /// Padding.
        pub pad1: [u8; 4],
        /// In: machine address of the MSI-X table, or 0.
        pub table_base: u64,
    }

    /// Arguments of [`PHYSDEVOP_UNMAP_PIRQ`].
    pub struct PhysdevUnmapPirq: "struct physdev_unmap_pirq" {
        /// In: whose.
        pub domid: DomId,
        /// Padding.
        pub pad: [u8; 2],
        /// In: the number.
        pub pirq: i32,
    }

    /// Arguments of the operations on devices in the oldest form.
    pub struct PhysdevManagePci: "struct physdev_manage_pci" {
        /// In: the bus.
        pub bus: u8,
        /// In: device (bits 3 to 7) and function (0 to 2).
        pub devfn: u8,
    }

    /// Arguments of [`PHYSDEVOP_MANAGE_PCI_ADD_EXT`].
    pub struct PhysdevManagePciExt: "struct physdev_manage_pci_ext" {
        /// In: the bus.
        pub bus: u8,
        /// In: device (bits 3 to 7) and function (0 to 2).
        pub devfn: u8,
        /// Padding.
        pub pad0: [u8; 2],
        /// In: not 0: a function beyond the eighth.
        pub is_extfn: u32,
        /// In: not 0: a virtual function.
        pub is_virtfn: u32,
        /// In: the bus of a virtual function's device.
        pub physfn_bus: u8 = "physfn.bus",
        /// In: device and function of a virtual function's device.
        pub physfn_devfn: u8 = "physfn.devfn",
        /// Padding.
        pub pad1: [u8; 2],
    }

    /// Arguments of [`PHYSDEVOP_PIRQ_EOI_GMFN_V1`] and its second form.
    pub struct PhysdevPirqEoiGmfn: "struct physdev_pirq_eoi_gmfn" {
        /// In: the page.
        pub gmfn: Gfn,
    }

    /// Arguments of [`PHYSDEVOP_SETUP_GSI`].
    pub struct PhysdevSetupGsi: "struct physdev_setup_gsi" {
        /// In: the line.
        pub gsi: i32,
        /// In: 0 for edge, 1 for level.
        pub triggering: u8,
        /// In: 0 for high, 1 for low.
        pub polarity: u8,
        /// Padding.
        pub pad: [u8; 2],
    }

    /// Arguments of [`PHYSDEVOP_GET_FREE_PIRQ`].
    pub struct PhysdevGetFreePirq: "struct physdev_get_free_pirq" {
        /// In: a `MAP_PIRQ_TYPE_*`.
        pub kind: i32 = "type",
        /// Out: the number.
        pub pirq: u32,
    }

    /// Arguments of [`PHYSDEVOP_PCI_MMCFG_RESERVED`].
    pub struct PhysdevPciMmcfgReserved: "struct physdev_pci_mmcfg_reserved" {
        /// In: machine address where bus 0 of the segment would be.
        pub address: u64,
        /// In: the PCI segment.
        pub segment: u16,
        /// In: the first bus.
        pub start_bus: u8,
        /// In: the last bus.
        pub end_bus: u8,
        /// In: 0 or [`XEN_PCI_MMCFG_RESERVED`].
        pub flags: u32,
    }

    /// Arguments of [`PHYSDEVOP_PCI_DEVICE_ADD`]; with [`PciDeviceFlags::PXM`] a `u32` follows.
    pub struct PhysdevPciDeviceAdd: "struct physdev_pci_device_add" {
        /// In: the PCI segment.
        pub seg: u16,
        /// In: the bus.
        pub bus: u8,
        /// In: device (bits 3 to 7) and function (0 to 2).
        pub devfn: u8,
        /// In: flags.
        pub flags: PciDeviceFlags,
        /// In: the bus of a virtual function's device.
        pub physfn_bus: u8 = "physfn.bus",
        /// In: device and function of a virtual function's device.
        pub physfn_devfn: u8 = "physfn.devfn",
        /// Padding.
        pub pad: [u8; 2],
    }

    /// A PCI device of the machine.
    pub struct PhysdevPciDevice: "struct physdev_pci_device" {
        /// The PCI segment.
        pub seg: u16,
        /// The bus.
        pub bus: u8,
        /// In: device (bits 3 to 7) and function (0 to 2).
        pub devfn: u8,
    }

    /// Arguments of [`PHYSDEVOP_DBGP_OP`].
    pub struct PhysdevDbgpOp: "struct physdev_dbgp_op" {
        /// In: a `PHYSDEVOP_DBGP_RESET_*`.
        pub op: u8,
        /// In: a `PHYSDEVOP_DBGP_BUS_*`.
        pub bus: u8,
        /// In: the device.
        pub pci: PhysdevPciDevice = "u.pci",
    }
}
