//! What belongs to fully virtualised domains, PVH ones among them.
//!
//! Hypercall [`HVM_OP`](crate::hypercall::HVM_OP): `(operation, pointer to arguments)`. The parameters are in
//! [`crate::hvm_param`]. **Source:** `hvm/hvm_op.h`.

use crate::describe::{constants, union_members, wire};
use crate::{DomId, Gfn, Union, VcpuId};

constants! {
    table CONSTANTS;
    /// Sets a parameter; [`HvmParam`].
    pub const HVMOP_SET_PARAM: u32 = 0;
    /// Asks for a parameter; [`HvmParam`].
    pub const HVMOP_GET_PARAM: u32 = 1;
    /// Flushes the translations of every vCPU.
    pub const HVMOP_FLUSH_TLBS: u32 = 5;
    /// Tells that a page table is about to go, which matters to shadow paging only; [`HvmPagetableDying`].
    pub const HVMOP_PAGETABLE_DYING: u32 = 9;
    /// Asks for the system time; [`HvmGetTime`].
    pub const HVMOP_GET_TIME: u32 = 10;
    /// Writes a record to the trace; [`HvmXentrace`].
    pub const HVMOP_XENTRACE: u32 = 11;
    /// Replaced by [`XENMEM_ACCESS_OP`](crate::memory::XENMEM_ACCESS_OP).
    pub const HVMOP_SET_MEM_ACCESS: u32 = 12;
    /// Replaced by [`XENMEM_ACCESS_OP`](crate::memory::XENMEM_ACCESS_OP).
    pub const HVMOP_GET_MEM_ACCESS: u32 = 13;
    /// Asks what kind of memory a frame has; [`HvmGetMemType`].
    pub const HVMOP_GET_MEM_TYPE: u32 = 15;
    /// Sets the vector of a vCPU's events; [`HvmEvtchnUpcallVector`].
    pub const HVMOP_SET_EVTCHN_UPCALL_VECTOR: u32 = 23;
    /// Sends a guest request event to the monitor of the domain.
    pub const HVMOP_GUEST_REQUEST_VM_EVENT: u32 = 24;
    /// Several views of a domain's memory; [`HvmAltp2mOp`].
    pub const HVMOP_ALTP2M: u32 = 25;

    /// [`HvmGetMemType::mem_type`]: ordinary memory.
    pub const HVMMEM_RAM_RW: u16 = 0;
    /// [`HvmGetMemType::mem_type`]: read-only; writes are dropped.
    pub const HVMMEM_RAM_RO: u16 = 1;
    /// [`HvmGetMemType::mem_type`]: a device's, seen to by the device model.
    pub const HVMMEM_MMIO_DM: u16 = 2;
    /// [`HvmGetMemType::mem_type`]: writes are seen to by an I/O request server.
    pub const HVMMEM_IOREQ_SERVER: u16 = 4;

    /// How a device model's server takes requests that nobody waits for: not at all.
    pub const HVM_IOREQSRV_BUFIOREQ_OFF: u8 = 0;
    /// By a ring whose pointers grow for ever.
    pub const HVM_IOREQSRV_BUFIOREQ_LEGACY: u8 = 1;
    /// By a ring whose pointers the hypervisor folds back, both at once.
    pub const HVM_IOREQSRV_BUFIOREQ_ATOMIC: u8 = 2;

    /// [`HvmAltp2mOp::version`].
    pub const HVMOP_ALTP2M_INTERFACE_VERSION: u32 = 1;
    /// [`HvmAltp2mOp::cmd`]: asks whether the domain has views; [`HvmAltp2mOp::state`].
    pub const HVMOP_ALTP2M_GET_DOMAIN_STATE: u32 = 1;
    /// [`HvmAltp2mOp::cmd`]: turns the views on or off; [`HvmAltp2mOp::state`].
    pub const HVMOP_ALTP2M_SET_DOMAIN_STATE: u32 = 2;
}

wire! {
    /// Arguments of [`HVMOP_SET_PARAM`] and [`HVMOP_GET_PARAM`].
    pub struct HvmParam: "struct xen_hvm_param" {
        /// In: whose.
        pub domid: DomId,
        /// Padding.
        pub pad: u16,
        /// In: an `HVM_PARAM_*`.
        pub index: u32,
        /// In or out: the value.
        pub value: u64,
    }

    /// Arguments of [`HVMOP_PAGETABLE_DYING`].
    pub struct HvmPagetableDying: "struct xen_hvm_pagetable_dying" {
        /// In: whose.
        pub domid: DomId,
        /// Padding.
        pub pad: [u16; 3],
        /// In: guest physical address of the top-level page table.
        pub gpa: u64,
    }

    /// Arguments of [`HVMOP_GET_TIME`].
    pub struct HvmGetTime: "struct xen_hvm_get_time" {
        /// Out: nanoseconds since the hypervisor booted.
        pub now: u64,
    }

    /// Arguments of [`HVMOP_XENTRACE`].
    pub struct HvmXentrace: "struct xen_hvm_xentrace" {
        /// In: the event's number.
        pub event: u16,
        /// In: how many of `extra` count.
        pub extra_bytes: u16,
        /// In: what the record holds.
        pub extra: [u8; 28],
    }

    /// Arguments of [`HVMOP_GET_MEM_TYPE`].
    pub struct HvmGetMemType: "struct xen_hvm_get_mem_type" {
        /// In: whose.
        pub domid: DomId,
        /// Out: an `HVMMEM_*`.
        pub mem_type: u16,
        /// Padding.
        pub pad: [u16; 2],
        /// In: the frame.
        pub pfn: Gfn as wide,
    }

    /// Arguments of [`HVMOP_SET_EVTCHN_UPCALL_VECTOR`].
    pub struct HvmEvtchnUpcallVector: "struct xen_hvm_evtchn_upcall_vector" {
        /// In: the vCPU.
        pub vcpu: VcpuId,
        /// In: the vector in its local APIC, at least 16.
        pub vector: u8,
        /// Padding.
        pub pad: [u8; 3],
    }

    /// Arguments of [`HVMOP_ALTP2M`].
    pub struct HvmAltp2mOp: "struct xen_hvm_altp2m_op" {
        /// In: [`HVMOP_ALTP2M_INTERFACE_VERSION`].
        pub version: u32,
        /// In: an `HVMOP_ALTP2M_*`.
        pub cmd: u32,
        /// In: whose memory.
        pub domain: DomId,
        /// Padding.
        pub pad1: u16,
        /// Padding.
        pub pad2: u32,
        /// In or out: by operation.
        pub u: Union<64>,
    }
}

union_members! {
    HvmAltp2mOp, u:
    /// Whether the domain has views: 0 or 1.
    state, set_state: u8;
}
