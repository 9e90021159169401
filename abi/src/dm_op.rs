//! Requests of a device model: hypercall [`DM_OP`](crate::hypercall::DM_OP), `(domain, number of buffers, buffers)`.
//!
//! Buffer 0 holds a [`DmOp`], buffer 1 what some operations need besides. The requests of guests that a device model
//! answers are in [`crate::ioreq`]. **Source:** `hvm/dm_op.h`.

use crate::describe::{constants, union_members, wire};
use crate::{Gfn, Port, Union};

constants! {
    table CONSTANTS;
    /// Creates an I/O request server; [`DmOpCreateIoreqServer`].
    pub const XEN_DMOP_CREATE_IOREQ_SERVER: u32 = 1;
    /// Asks for the pages and the port of a server; [`DmOpGetIoreqServerInfo`].
    pub const XEN_DMOP_GET_IOREQ_SERVER_INFO: u32 = 2;
    /// Directs accesses to a server; [`DmOpIoreqServerRange`].
    pub const XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER: u32 = 3;
    /// Ends that; [`DmOpIoreqServerRange`].
    pub const XEN_DMOP_UNMAP_IO_RANGE_FROM_IOREQ_SERVER: u32 = 4;
    /// Enables or disables a server; [`DmOpSetIoreqServerState`].
    pub const XEN_DMOP_SET_IOREQ_SERVER_STATE: u32 = 5;
    /// Destroys a server; [`DmOpDestroyIoreqServer`].
    pub const XEN_DMOP_DESTROY_IOREQ_SERVER: u32 = 6;
    /// Asks which pages of a frame buffer were written; [`DmOpTrackDirtyVram`], buffer 1 is the bitmap.
    pub const XEN_DMOP_TRACK_DIRTY_VRAM: u32 = 7;
    /// Sets the level of a PCI interrupt pin; [`DmOpSetPciIntxLevel`].
    pub const XEN_DMOP_SET_PCI_INTX_LEVEL: u32 = 8;
    /// Sets the level of an ISA interrupt line; [`DmOpSetIsaIrqLevel`].
    pub const XEN_DMOP_SET_ISA_IRQ_LEVEL: u32 = 9;
    /// Routes a PCI link to an ISA interrupt line; [`DmOpSetPciLinkRoute`].
    pub const XEN_DMOP_SET_PCI_LINK_ROUTE: u32 = 10;
    /// Tells which pages the device model wrote; [`DmOpModifiedMemory`], buffer 1 holds
    /// [`DmOpModifiedMemoryExtent`]s.
    pub const XEN_DMOP_MODIFIED_MEMORY: u32 = 11;
    /// Sets the type of pages; [`DmOpSetMemType`].
    pub const XEN_DMOP_SET_MEM_TYPE: u32 = 12;
    /// Injects an event into a vCPU; [`DmOpInjectEvent`].
    pub const XEN_DMOP_INJECT_EVENT: u32 = 13;
    /// Sends a message-signalled interrupt; [`DmOpInjectMsi`].
    pub const XEN_DMOP_INJECT_MSI: u32 = 14;
    /// Directs accesses to pages of a type to a server; [`DmOpMapMemTypeToIoreqServer`].
    pub const XEN_DMOP_MAP_MEM_TYPE_TO_IOREQ_SERVER: u32 = 15;
    /// Shuts the domain down; [`DmOpRemoteShutdown`].
    pub const XEN_DMOP_REMOTE_SHUTDOWN: u32 = 16;
    /// Moves pages to other frames; [`DmOpRelocateMemory`].
    pub const XEN_DMOP_RELOCATE_MEMORY: u32 = 17;
    /// Sets the memory type that caches use for pages; [`DmOpPinMemoryCacheattr`].
    pub const XEN_DMOP_PIN_MEMORY_CACHEATTR: u32 = 18;
    /// Sets the level of an interrupt line, Arm only; [`DmOpSetIrqLevel`].
    pub const XEN_DMOP_SET_IRQ_LEVEL: u32 = 19;
    /// Asks for the number of vCPUs; [`DmOpNrVcpus`].
    pub const XEN_DMOP_NR_VCPUS: u32 = 20;

    /// [`DmOpGetIoreqServerInfo::flags`]: only the port is wanted; the pages are mapped as resources.
    pub const XEN_DMOP_NO_GFNS: u16 = 1;

    /// [`DmOpIoreqServerRange::kind`]: ports.
    pub const XEN_DMOP_IO_RANGE_PORT: u32 = 0;
    /// [`DmOpIoreqServerRange::kind`]: guest physical addresses.
    pub const XEN_DMOP_IO_RANGE_MEMORY: u32 = 1;
    /// [`DmOpIoreqServerRange::kind`]: PCI functions, as segment, bus, device and function.
    pub const XEN_DMOP_IO_RANGE_PCI: u32 = 2;

    /// [`DmOpInjectEvent::kind`]: an external interrupt.
    pub const XEN_DMOP_EVENT_EXT_INT: u8 = 0;
    /// [`DmOpInjectEvent::kind`]: a non-maskable interrupt.
    pub const XEN_DMOP_EVENT_NMI: u8 = 2;
    /// [`DmOpInjectEvent::kind`]: an exception.
    pub const XEN_DMOP_EVENT_HW_EXC: u8 = 3;
    /// [`DmOpInjectEvent::kind`]: an interrupt by an instruction.
    pub const XEN_DMOP_EVENT_SW_INT: u8 = 4;
    /// [`DmOpInjectEvent::kind`]: a debug exception by ICEBP.
    pub const XEN_DMOP_EVENT_PRI_SW_EXC: u8 = 5;
    /// [`DmOpInjectEvent::kind`]: an exception by INT3 or INTO.
    pub const XEN_DMOP_EVENT_SW_EXC: u8 = 6;

    /// [`DmOpMapMemTypeToIoreqServer::flags`]: reads.
    pub const XEN_DMOP_IOREQ_MEM_ACCESS_READ: u32 = 1;
    /// [`DmOpMapMemTypeToIoreqServer::flags`]: writes.
    pub const XEN_DMOP_IOREQ_MEM_ACCESS_WRITE: u32 = 2;

    /// [`DmOpPinMemoryCacheattr::kind`]: uncacheable.
    pub const XEN_DMOP_MEM_CACHEATTR_UC: u32 = 0;
    /// [`DmOpPinMemoryCacheattr::kind`]: write-combining.
    pub const XEN_DMOP_MEM_CACHEATTR_WC: u32 = 1;
    /// [`DmOpPinMemoryCacheattr::kind`]: write-through.
    pub const XEN_DMOP_MEM_CACHEATTR_WT: u32 = 4;
    /// [`DmOpPinMemoryCacheattr::kind`]: write-protected.
    pub const XEN_DMOP_MEM_CACHEATTR_WP: u32 = 5;
    /// [`DmOpPinMemoryCacheattr::kind`]: write-back.
    pub const XEN_DMOP_MEM_CACHEATTR_WB: u32 = 6;
    /// [`DmOpPinMemoryCacheattr::kind`]: uncacheable, unless the MTRRs say write-combining.
    pub const XEN_DMOP_MEM_CACHEATTR_UCM: u32 = 7;
    /// [`DmOpPinMemoryCacheattr::kind`]: no longer set.
    pub const XEN_DMOP_DELETE_MEM_CACHEATTR: u32 = u32::MAX;
}

wire! {
    /// A buffer of a request.
    pub struct DmOpBuf: "struct xen_dm_op_buf" {
        /// In: where it is.
        pub address: crate::GuestHandle<u8> = "h",
        /// In: its size in bytes.
        pub size: u64 as long,
    }
}

wire! {
    fixed;
    /// Arguments of [`XEN_DMOP_CREATE_IOREQ_SERVER`].
    pub struct DmOpCreateIoreqServer: "struct xen_dm_op_create_ioreq_server" {
        /// In: an `HVM_IOREQSRV_BUFIOREQ_*`.
        pub handle_bufioreq: u8,
        /// Padding.
        pub pad: [u8; 3],
        /// Out: the server's number.
        pub id: u16,
    }

    /// Arguments of [`XEN_DMOP_GET_IOREQ_SERVER_INFO`].
    pub struct DmOpGetIoreqServerInfo: "struct xen_dm_op_get_ioreq_server_info" {
        /// In: the server.
        pub id: u16,
        /// In: [`XEN_DMOP_NO_GFNS`] or nothing.
        pub flags: u16,
        /// Out: the port of buffered requests.
        pub bufioreq_port: Port,
        /// Out: the frame of the synchronous page.
        pub ioreq_gfn: Gfn,
        /// Out: the frame of the buffered page.
        pub bufioreq_gfn: Gfn,
    }

    /// Arguments of [`XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER`] and [`XEN_DMOP_UNMAP_IO_RANGE_FROM_IOREQ_SERVER`].
    pub struct DmOpIoreqServerRange: "struct xen_dm_op_ioreq_server_range" {
        /// In: the server.
        pub id: u16,
        /// Padding.
        pub pad: u16,
        /// In: an `XEN_DMOP_IO_RANGE_*`.
        pub kind: u32 = "type",
        /// In: the first.
        pub start: u64,
        /// In: the last.
        pub end: u64,
    }

    /// Arguments of [`XEN_DMOP_SET_IOREQ_SERVER_STATE`].
    pub struct DmOpSetIoreqServerState: "struct xen_dm_op_set_ioreq_server_state" {
        /// In: the server.
        pub id: u16,
        /// In: whether it gets requests.
        pub enabled: u8,
        /// Padding.
        pub pad: u8,
    }

    /// Arguments of [`XEN_DMOP_DESTROY_IOREQ_SERVER`].
    pub struct DmOpDestroyIoreqServer: "struct xen_dm_op_destroy_ioreq_server" {
        /// In: the server.
        pub id: u16,
        /// Padding.
        pub pad: u16,
    }

    /// Arguments of [`XEN_DMOP_TRACK_DIRTY_VRAM`].
    pub struct DmOpTrackDirtyVram: "struct xen_dm_op_track_dirty_vram" {
        /// In: how many pages; 0 ends it.
        pub nr: u32,
        /// Padding.
        pub pad: u32,
        /// In: the first.
        pub first_pfn: Gfn,
    }

    /// Arguments of [`XEN_DMOP_SET_PCI_INTX_LEVEL`].
    pub struct DmOpSetPciIntxLevel: "struct xen_dm_op_set_pci_intx_level" {
        /// In: the segment: 0.
        pub domain: u16,
        /// In: the bus: 0.
        pub bus: u8,
        /// In: the device, 0 to 31.
        pub device: u8,
        /// In: the pin, 0 to 3.
        pub intx: u8,
        /// In: 0 or 1.
        pub level: u8,
    }

    /// Arguments of [`XEN_DMOP_SET_ISA_IRQ_LEVEL`].
    pub struct DmOpSetIsaIrqLevel: "struct xen_dm_op_set_isa_irq_level" {
        /// In: the line, 0 to 15.
        pub isa_irq: u8,
        /// In: 0 or 1.
        pub level: u8,
    }

    /// Arguments of [`XEN_DMOP_SET_PCI_LINK_ROUTE`].
    pub struct DmOpSetPciLinkRoute: "struct xen_dm_op_set_pci_link_route" {
        /// In: the link, 0 to 3.
        pub link: u8,
        /// In: the line, 1 to 15; 0 for none.
        pub isa_irq: u8,
    }

    /// Arguments of [`XEN_DMOP_MODIFIED_MEMORY`].
    pub struct DmOpModifiedMemory: "struct xen_dm_op_modified_memory" {
        /// In: how many extents. Out: on error, one past the extent at fault.
        pub nr_extents: u32,
        /// In: 0; on preemption, the pages done of the last extent.
        pub opaque: u32,
    }

    /// Pages that the device model wrote.
    pub struct DmOpModifiedMemoryExtent: "struct xen_dm_op_modified_memory_extent" {
        /// In: how many.
        pub nr: u32,
        /// Padding.
        pub pad: u32,
        /// In: the first.
        pub first_pfn: Gfn,
    }

    /// Arguments of [`XEN_DMOP_SET_MEM_TYPE`].
    pub struct DmOpSetMemType: "struct xen_dm_op_set_mem_type" {
        /// In: how many pages; on preemption, how many are left.
        pub nr: u32,
        /// In: an `HVMMEM_*`.
        pub mem_type: u16,
        /// Padding.
        pub pad: u16,
        /// In: the first.
        pub first_pfn: Gfn,
    }

    /// Arguments of [`XEN_DMOP_INJECT_EVENT`].
    pub struct DmOpInjectEvent: "struct xen_dm_op_inject_event" {
        /// In: the vCPU.
        pub vcpuid: u32,
        /// In: the vector.
        pub vector: u8,
        /// In: an `XEN_DMOP_EVENT_*`.
        pub kind: u8 = "type",
        /// In: the instruction's length.
        pub insn_len: u8,
        /// Padding.
        pub pad0: u8,
        /// In: the error code; all ones for none.
        pub error_code: u32,
        /// Padding.
        pub pad1: u32,
        /// In: for a page fault, the address.
        pub cr2: u64,
    }

    /// Arguments of [`XEN_DMOP_INJECT_MSI`].
    pub struct DmOpInjectMsi: "struct xen_dm_op_inject_msi" {
        /// In: what a device would write.
        pub data: u32,
        /// Padding.
        pub pad: u32,
        /// In: where it would write it.
        pub addr: u64,
    }

    /// Arguments of [`XEN_DMOP_MAP_MEM_TYPE_TO_IOREQ_SERVER`].
    pub struct DmOpMapMemTypeToIoreqServer: "struct xen_dm_op_map_mem_type_to_ioreq_server" {
        /// In: the server.
        pub id: u16,
        /// In: `HVMMEM_IOREQ_SERVER`.
        pub kind: u16 = "type",
        /// In: the accesses, `XEN_DMOP_IOREQ_MEM_ACCESS_*`; 0 ends it.
        pub flags: u32,
        /// In: 0; on preemption, the progress.
        pub opaque: u64,
    }

    /// Arguments of [`XEN_DMOP_REMOTE_SHUTDOWN`].
    pub struct DmOpRemoteShutdown: "struct xen_dm_op_remote_shutdown" {
        /// In: a `SHUTDOWN_*`.
        pub reason: u32,
    }

    /// Arguments of [`XEN_DMOP_RELOCATE_MEMORY`]; on preemption, what is left.
    pub struct DmOpRelocateMemory: "struct xen_dm_op_relocate_memory" {
        /// In: how many pages.
        pub size: u32,
        /// Padding.
        pub pad: u32,
        /// In: the frame of the first.
        pub src_gfn: Gfn,
        /// In: the frame that it gets.
        pub dst_gfn: Gfn,
    }

    /// Arguments of [`XEN_DMOP_PIN_MEMORY_CACHEATTR`].
    pub struct DmOpPinMemoryCacheattr: "struct xen_dm_op_pin_memory_cacheattr" {
        /// In: the first frame.
        pub start: Gfn,
        /// In: the last.
        pub end: Gfn,
        /// In: an `XEN_DMOP_MEM_CACHEATTR_*`.
        pub kind: u32 = "type",
        /// Padding.
        pub pad: u32,
    }

    /// Arguments of [`XEN_DMOP_SET_IRQ_LEVEL`].
    pub struct DmOpSetIrqLevel: "struct xen_dm_op_set_irq_level" {
        /// In: the line.
        pub irq: u32,
        /// In: 0 or 1.
        pub level: u8,
        /// Padding.
        pub pad: [u8; 3],
    }

    /// Arguments of [`XEN_DMOP_NR_VCPUS`].
    pub struct DmOpNrVcpus: "struct xen_dm_op_nr_vcpus" {
        /// Out: how many there are.
        pub vcpus: u32,
    }

    /// A request of a device model.
    pub struct DmOp: "struct xen_dm_op" {
        /// In: an `XEN_DMOP_*`.
        pub op: u32,
        /// Padding.
        pub pad: u32,
        /// In or out: by operation.
        pub u: Union<24>,
    }
}

union_members! {
    DmOp, u:
    /// Arguments of [`XEN_DMOP_CREATE_IOREQ_SERVER`].
    create_ioreq_server, set_create_ioreq_server: DmOpCreateIoreqServer;
    /// Arguments of [`XEN_DMOP_GET_IOREQ_SERVER_INFO`].
    get_ioreq_server_info, set_get_ioreq_server_info: DmOpGetIoreqServerInfo;
    /// Arguments of [`XEN_DMOP_MAP_IO_RANGE_TO_IOREQ_SERVER`] and [`XEN_DMOP_UNMAP_IO_RANGE_FROM_IOREQ_SERVER`].
    ioreq_server_range, set_ioreq_server_range: DmOpIoreqServerRange;
    /// Arguments of [`XEN_DMOP_SET_IOREQ_SERVER_STATE`].
    ioreq_server_state, set_ioreq_server_state: DmOpSetIoreqServerState;
    /// Arguments of [`XEN_DMOP_DESTROY_IOREQ_SERVER`].
    destroy_ioreq_server, set_destroy_ioreq_server: DmOpDestroyIoreqServer;
    /// Arguments of [`XEN_DMOP_TRACK_DIRTY_VRAM`].
    track_dirty_vram, set_track_dirty_vram: DmOpTrackDirtyVram;
    /// Arguments of [`XEN_DMOP_SET_PCI_INTX_LEVEL`].
    pci_intx_level, set_pci_intx_level: DmOpSetPciIntxLevel;
    /// Arguments of [`XEN_DMOP_SET_ISA_IRQ_LEVEL`].
    isa_irq_level, set_isa_irq_level: DmOpSetIsaIrqLevel;
    /// Arguments of [`XEN_DMOP_SET_PCI_LINK_ROUTE`].
    pci_link_route, set_pci_link_route: DmOpSetPciLinkRoute;
    /// Arguments of [`XEN_DMOP_MODIFIED_MEMORY`].
    modified_memory, set_modified_memory: DmOpModifiedMemory;
    /// Arguments of [`XEN_DMOP_SET_MEM_TYPE`].
    mem_type, set_mem_type: DmOpSetMemType;
    /// Arguments of [`XEN_DMOP_INJECT_EVENT`].
    inject_event, set_inject_event: DmOpInjectEvent;
    /// Arguments of [`XEN_DMOP_INJECT_MSI`].
    inject_msi, set_inject_msi: DmOpInjectMsi;
    /// Arguments of [`XEN_DMOP_MAP_MEM_TYPE_TO_IOREQ_SERVER`].
    map_mem_type, set_map_mem_type: DmOpMapMemTypeToIoreqServer;
    /// Arguments of [`XEN_DMOP_REMOTE_SHUTDOWN`].
    remote_shutdown, set_remote_shutdown: DmOpRemoteShutdown;
    /// Arguments of [`XEN_DMOP_RELOCATE_MEMORY`].
    relocate_memory, set_relocate_memory: DmOpRelocateMemory;
    /// Arguments of [`XEN_DMOP_PIN_MEMORY_CACHEATTR`].
    pin_memory_cacheattr, set_pin_memory_cacheattr: DmOpPinMemoryCacheattr;
    /// Arguments of [`XEN_DMOP_NR_VCPUS`].
    nr_vcpus, set_nr_vcpus: DmOpNrVcpus;
}
