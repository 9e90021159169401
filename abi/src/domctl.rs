//! Control of domains, for the toolstack.
//!
//! Hypercall [`DOMCTL`](crate::hypercall::DOMCTL): `(pointer to a [`Domctl`])`. A wrong interface version is
//! `EACCES`, before all else. **Source:** `domctl.h`.

pub mod cpu;
pub mod device;
pub mod domain;
pub mod memory;
pub mod scheduler;
pub mod state;

pub use cpu::*;
pub use device::*;
pub use domain::*;
pub use memory::*;
pub use scheduler::*;
pub use state::*;

use crate::describe::{constants, union_members, wire};
use crate::{DomId, Union};

constants! {
    table CONSTANTS;
    /// [`Domctl::interface_version`].
    pub const XEN_DOMCTL_INTERFACE_VERSION: u32 = 0x15;
    /// Makes a domain; [`DomctlCreatedomain`].
    pub const XEN_DOMCTL_CREATEDOMAIN: u32 = 1;
    /// Ends a domain; preempted again and again until its memory is free.
    pub const XEN_DOMCTL_DESTROYDOMAIN: u32 = 2;
    /// Pauses a domain.
    pub const XEN_DOMCTL_PAUSEDOMAIN: u32 = 3;
    /// Unpauses a domain.
    pub const XEN_DOMCTL_UNPAUSEDOMAIN: u32 = 4;
    /// Asks about the first domain with this number or a higher one; [`DomctlGetdomaininfo`].
    pub const XEN_DOMCTL_GETDOMAININFO: u32 = 5;
    /// Sets a vCPU's hard and soft affinity; [`DomctlVcpuaffinity`].
    pub const XEN_DOMCTL_SETVCPUAFFINITY: u32 = 9;
    /// Controls dirty logging (log-dirty mode) for migration; [`DomctlShadowOp`].
    pub const XEN_DOMCTL_SHADOW_OP: u32 = 10;
    /// Sets how much memory a domain may have; [`DomctlMaxMem`].
    pub const XEN_DOMCTL_MAX_MEM: u32 = 11;
    /// Sets a vCPU's registers; [`DomctlVcpucontext`].
    pub const XEN_DOMCTL_SETVCPUCONTEXT: u32 = 12;
    /// Asks for a vCPU's registers; [`DomctlVcpucontext`].
    pub const XEN_DOMCTL_GETVCPUCONTEXT: u32 = 13;
    /// Asks about a vCPU; [`DomctlGetvcpuinfo`].
    pub const XEN_DOMCTL_GETVCPUINFO: u32 = 14;
    /// Makes the vCPUs; [`DomctlMaxVcpus`].
    pub const XEN_DOMCTL_MAX_VCPUS: u32 = 15;
    /// Gets or sets scheduling parameters (weight, cap); [`DomctlSchedulerOp`].
    pub const XEN_DOMCTL_SCHEDULER_OP: u32 = 16;
    /// Sets a domain's UUID; [`DomctlSetdomainhandle`].
    pub const XEN_DOMCTL_SETDOMAINHANDLE: u32 = 17;
    /// Sets whether a domain stops for a debugger; [`DomctlSetdebugging`].
    pub const XEN_DOMCTL_SETDEBUGGING: u32 = 18;
    /// Permits or denies a domain access to an interrupt; [`DomctlIrqPermission`].
    pub const XEN_DOMCTL_IRQ_PERMISSION: u32 = 19;
    /// Permits or denies a domain access to device memory (MMIO); [`DomctlIomemPermission`].
    pub const XEN_DOMCTL_IOMEM_PERMISSION: u32 = 20;
    /// Permits or denies a domain access to I/O ports; [`DomctlIoportPermission`].
    pub const XEN_DOMCTL_IOPORT_PERMISSION: u32 = 21;
    /// Writes a hypercall page; [`DomctlHypercallInit`].
    pub const XEN_DOMCTL_HYPERCALL_INIT: u32 = 22;
    /// Shifts a domain's wallclock; [`DomctlSettimeoffset`].
    pub const XEN_DOMCTL_SETTIMEOFFSET: u32 = 24;
    /// Asks for a vCPU's hard and soft affinity; [`DomctlVcpuaffinity`].
    pub const XEN_DOMCTL_GETVCPUAFFINITY: u32 = 25;
    /// Obsolete.
    pub const XEN_DOMCTL_REAL_MODE_AREA: u32 = 26;
    /// Resumes a domain that suspended.
    pub const XEN_DOMCTL_RESUMEDOMAIN: u32 = 27;
    /// Presses a button of a domain; [`DomctlSendtrigger`].
    pub const XEN_DOMCTL_SENDTRIGGER: u32 = 28;
    /// Sets the port that is notified of a domain's debug events; [`DomctlSubscribe`].
    pub const XEN_DOMCTL_SUBSCRIBE: u32 = 29;
    /// Asks for the saved state; [`DomctlHvmcontext`].
    pub const XEN_DOMCTL_GETHVMCONTEXT: u32 = 33;
    /// Loads a saved state; [`DomctlHvmcontext`].
    pub const XEN_DOMCTL_SETHVMCONTEXT: u32 = 34;
    /// Sets a PV domain's word size; [`DomctlAddressSize`].
    pub const XEN_DOMCTL_SET_ADDRESS_SIZE: u32 = 35;
    /// Asks for a PV domain's word size; [`DomctlAddressSize`].
    pub const XEN_DOMCTL_GET_ADDRESS_SIZE: u32 = 36;
    /// Assigns a device to a domain (passthrough); [`DomctlAssignDevice`].
    pub const XEN_DOMCTL_ASSIGN_DEVICE: u32 = 37;
    /// Binds a device's interrupt to a domain; [`DomctlBindPtIrq`].
    pub const XEN_DOMCTL_BIND_PT_IRQ: u32 = 38;
    /// Maps a device's memory into a domain; [`DomctlMemoryMapping`].
    pub const XEN_DOMCTL_MEMORY_MAPPING: u32 = 39;
    /// Maps a device's ports into a domain; [`DomctlIoportMapping`].
    pub const XEN_DOMCTL_IOPORT_MAPPING: u32 = 40;
    /// Sets more of a vCPU's registers; [`DomctlExtVcpucontext`].
    pub const XEN_DOMCTL_SET_EXT_VCPUCONTEXT: u32 = 42;
    /// Asks for more of a vCPU's registers; [`DomctlExtVcpucontext`].
    pub const XEN_DOMCTL_GET_EXT_VCPUCONTEXT: u32 = 43;
    /// Obsolete.
    pub const XEN_DOMCTL_SET_OPT_FEATURE: u32 = 44;
    /// Asks whether a device could be assigned; [`DomctlAssignDevice`].
    pub const XEN_DOMCTL_TEST_ASSIGN_DEVICE: u32 = 45;
    /// Lets a domain act for another; [`DomctlSetTarget`].
    pub const XEN_DOMCTL_SET_TARGET: u32 = 46;
    /// Deassigns a device; [`DomctlAssignDevice`].
    pub const XEN_DOMCTL_DEASSIGN_DEVICE: u32 = 47;
    /// Unbinds a device's interrupt; [`DomctlBindPtIrq`].
    pub const XEN_DOMCTL_UNBIND_PT_IRQ: u32 = 48;
    /// Asks which devices go together; [`DomctlGetDeviceGroup`].
    pub const XEN_DOMCTL_GET_DEVICE_GROUP: u32 = 50;
    /// Single steps; [`DomctlDebugOp`].
    pub const XEN_DOMCTL_DEBUG_OP: u32 = 54;
    /// Asks for one record of the state; [`DomctlHvmcontextPartial`].
    pub const XEN_DOMCTL_GETHVMCONTEXT_PARTIAL: u32 = 55;
    /// Rings of vm_event (paging, monitor, sharing); [`DomctlVmEventOp`].
    pub const XEN_DOMCTL_VM_EVENT_OP: u32 = 56;
    /// Sharing of pages.
    pub const XEN_DOMCTL_MEM_SHARING_OP: u32 = 57;
    /// Asks how a domain's time stamp counter works; [`DomctlTscInfo`].
    pub const XEN_DOMCTL_GETTSCINFO: u32 = 59;
    /// Sets how a domain's time stamp counter works; [`DomctlTscInfo`].
    pub const XEN_DOMCTL_SETTSCINFO: u32 = 60;
    /// Asks for the types of pages; [`DomctlGetpageframeinfo3`].
    pub const XEN_DOMCTL_GETPAGEFRAMEINFO3: u32 = 61;
    /// Sets a vCPU's extended registers, for PV; [`DomctlVcpuextstate`].
    pub const XEN_DOMCTL_SETVCPUEXTSTATE: u32 = 62;
    /// Asks for a vCPU's extended registers; [`DomctlVcpuextstate`].
    pub const XEN_DOMCTL_GETVCPUEXTSTATE: u32 = 63;
    /// Sets whether a vm_event listener is required; [`DomctlSetAccessRequired`].
    pub const XEN_DOMCTL_SET_ACCESS_REQUIRED: u32 = 64;
    /// Audits the p2m (debugging).
    pub const XEN_DOMCTL_AUDIT_P2M: u32 = 65;
    /// Gives a global VIRQ (virtual interrupt) to a domain; [`DomctlSetVirqHandler`].
    pub const XEN_DOMCTL_SET_VIRQ_HANDLER: u32 = 66;
    /// Marks a page as broken; [`DomctlSetBrokenPageP2m`].
    pub const XEN_DOMCTL_SET_BROKEN_PAGE_P2M: u32 = 67;
    /// Sets a domain's NUMA nodes; [`DomctlNodeaffinity`].
    pub const XEN_DOMCTL_SETNODEAFFINITY: u32 = 68;
    /// Asks for a domain's NUMA nodes; [`DomctlNodeaffinity`].
    pub const XEN_DOMCTL_GETNODEAFFINITY: u32 = 69;
    /// Flushes pages from the caches; [`DomctlCacheflush`].
    pub const XEN_DOMCTL_CACHEFLUSH: u32 = 71;
    /// Asks for a vCPU's MSRs, for PV; [`DomctlVcpuMsrs`].
    pub const XEN_DOMCTL_GET_VCPU_MSRS: u32 = 72;
    /// Sets a vCPU's MSRs, for PV; [`DomctlVcpuMsrs`].
    pub const XEN_DOMCTL_SET_VCPU_MSRS: u32 = 73;
    /// Sets a domain's virtual NUMA nodes; [`DomctlVnuma`].
    pub const XEN_DOMCTL_SETVNUMAINFO: u32 = 74;
    /// Cache monitoring.
    pub const XEN_DOMCTL_PSR_CMT_OP: u32 = 75;
    /// Selects the monitored events (monitor vm_event).
    pub const XEN_DOMCTL_MONITOR_OP: u32 = 77;
    /// Cache allocation.
    pub const XEN_DOMCTL_PSR_ALLOC: u32 = 78;
    /// Resets a domain without freeing its memory (soft reset).
    pub const XEN_DOMCTL_SOFT_RESET: u32 = 79;
    /// A virtual UART, on Arm.
    pub const XEN_DOMCTL_VUART_OP: u32 = 81;
    /// Asks for a domain's CPU policy (CPUID and MSRs); [`DomctlCpuPolicy`].
    pub const XEN_DOMCTL_GET_CPU_POLICY: u32 = 82;
    /// Sets a domain's CPU policy (CPUID and MSRs); [`DomctlCpuPolicy`].
    pub const XEN_DOMCTL_SET_CPU_POLICY: u32 = 83;
    /// Processor traces.
    pub const XEN_DOMCTL_VMTRACE_OP: u32 = 84;
    /// Asks for the size of the paging pool (page tables and other bookkeeping); [`DomctlPagingMempool`].
    pub const XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE: u32 = 85;
    /// Sets the size of the paging pool (page tables and other bookkeeping); [`DomctlPagingMempool`].
    pub const XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE: u32 = 86;
    /// Reads and writes memory, for a debugger.
    pub const XEN_DOMCTL_GDBSX_GUESTMEMIO: u32 = 1000;
    /// Pauses a vCPU, for a debugger.
    pub const XEN_DOMCTL_GDBSX_PAUSEVCPU: u32 = 1001;
    /// Unpauses a vCPU, for a debugger.
    pub const XEN_DOMCTL_GDBSX_UNPAUSEVCPU: u32 = 1002;
    /// Asks what happened, for a debugger.
    pub const XEN_DOMCTL_GDBSX_DOMSTATUS: u32 = 1003;
}

wire! {
    fixed;

    /// An operation on a domain.
    pub struct Domctl: "struct xen_domctl" {
        /// In: an `XEN_DOMCTL_*`.
        pub cmd: u32,
        /// In: [`XEN_DOMCTL_INTERFACE_VERSION`].
        pub interface_version: u32,
        /// In: the domain. Out, for some: the domain that was found or made.
        pub domain: DomId,
        /// Padding.
        pub pad: [u16; 3],
        /// In and out: by operation.
        pub u: Union<128>,
    }
}

union_members! {
    Domctl, u:
    /// For [`XEN_DOMCTL_CREATEDOMAIN`].
    createdomain, set_createdomain: DomctlCreatedomain;
    /// For [`XEN_DOMCTL_GETDOMAININFO`].
    getdomaininfo, set_getdomaininfo: DomctlGetdomaininfo;
    /// For [`XEN_DOMCTL_GETPAGEFRAMEINFO3`].
    getpageframeinfo3, set_getpageframeinfo3: DomctlGetpageframeinfo3;
    /// For [`XEN_DOMCTL_SETNODEAFFINITY`] and its counterpart.
    nodeaffinity, set_nodeaffinity: DomctlNodeaffinity;
    /// For [`XEN_DOMCTL_SETVCPUAFFINITY`] and its counterpart.
    vcpuaffinity, set_vcpuaffinity: DomctlVcpuaffinity;
    /// For [`XEN_DOMCTL_SHADOW_OP`].
    shadow_op, set_shadow_op: DomctlShadowOp;
    /// For [`XEN_DOMCTL_MAX_MEM`].
    max_mem, set_max_mem: DomctlMaxMem;
    /// For [`XEN_DOMCTL_SETVCPUCONTEXT`] and its counterpart.
    vcpucontext, set_vcpucontext: DomctlVcpucontext;
    /// For [`XEN_DOMCTL_GETVCPUINFO`].
    getvcpuinfo, set_getvcpuinfo: DomctlGetvcpuinfo;
    /// For [`XEN_DOMCTL_MAX_VCPUS`].
    max_vcpus, set_max_vcpus: DomctlMaxVcpus;
    /// For [`XEN_DOMCTL_SCHEDULER_OP`].
    scheduler_op, set_scheduler_op: DomctlSchedulerOp;
    /// For [`XEN_DOMCTL_SETDOMAINHANDLE`].
    setdomainhandle, set_setdomainhandle: DomctlSetdomainhandle;
    /// For [`XEN_DOMCTL_SETDEBUGGING`].
    setdebugging, set_setdebugging: DomctlSetdebugging;
    /// For [`XEN_DOMCTL_IRQ_PERMISSION`].
    irq_permission, set_irq_permission: DomctlIrqPermission;
    /// For [`XEN_DOMCTL_IOMEM_PERMISSION`].
    iomem_permission, set_iomem_permission: DomctlIomemPermission;
    /// For [`XEN_DOMCTL_IOPORT_PERMISSION`].
    ioport_permission, set_ioport_permission: DomctlIoportPermission;
    /// For [`XEN_DOMCTL_HYPERCALL_INIT`].
    hypercall_init, set_hypercall_init: DomctlHypercallInit;
    /// For [`XEN_DOMCTL_SETTIMEOFFSET`].
    settimeoffset, set_settimeoffset: DomctlSettimeoffset;
    /// For [`XEN_DOMCTL_GETTSCINFO`] and its counterpart.
    tsc_info, set_tsc_info: DomctlTscInfo;
    /// For [`XEN_DOMCTL_GETHVMCONTEXT`] and its counterpart.
    hvmcontext, set_hvmcontext: DomctlHvmcontext;
    /// For [`XEN_DOMCTL_GETHVMCONTEXT_PARTIAL`].
    hvmcontext_partial, set_hvmcontext_partial: DomctlHvmcontextPartial;
    /// For [`XEN_DOMCTL_SET_ADDRESS_SIZE`] and its counterpart.
    address_size, set_address_size: DomctlAddressSize;
    /// For [`XEN_DOMCTL_SENDTRIGGER`].
    sendtrigger, set_sendtrigger: DomctlSendtrigger;
    /// For [`XEN_DOMCTL_GET_DEVICE_GROUP`].
    get_device_group, set_get_device_group: DomctlGetDeviceGroup;
    /// For [`XEN_DOMCTL_ASSIGN_DEVICE`], its counterpart and its test.
    assign_device, set_assign_device: DomctlAssignDevice;
    /// For [`XEN_DOMCTL_BIND_PT_IRQ`] and its counterpart.
    bind_pt_irq, set_bind_pt_irq: DomctlBindPtIrq;
    /// For [`XEN_DOMCTL_MEMORY_MAPPING`].
    memory_mapping, set_memory_mapping: DomctlMemoryMapping;
    /// For [`XEN_DOMCTL_IOPORT_MAPPING`].
    ioport_mapping, set_ioport_mapping: DomctlIoportMapping;
    /// For [`XEN_DOMCTL_SET_EXT_VCPUCONTEXT`] and its counterpart.
    ext_vcpucontext, set_ext_vcpucontext: DomctlExtVcpucontext;
    /// For [`XEN_DOMCTL_SET_TARGET`].
    set_target, set_set_target: DomctlSetTarget;
    /// For [`XEN_DOMCTL_SUBSCRIBE`].
    subscribe, set_subscribe: DomctlSubscribe;
    /// For [`XEN_DOMCTL_DEBUG_OP`].
    debug_op, set_debug_op: DomctlDebugOp;
    /// For [`XEN_DOMCTL_VM_EVENT_OP`].
    vm_event_op, set_vm_event_op: DomctlVmEventOp;
    /// For [`XEN_DOMCTL_GET_CPU_POLICY`] and its counterpart.
    cpu_policy, set_cpu_policy: DomctlCpuPolicy;
    /// For [`XEN_DOMCTL_SETVCPUEXTSTATE`] and its counterpart.
    vcpuextstate, set_vcpuextstate: DomctlVcpuextstate;
    /// For [`XEN_DOMCTL_GET_VCPU_MSRS`] and its counterpart.
    vcpu_msrs, set_vcpu_msrs: DomctlVcpuMsrs;
    /// For [`XEN_DOMCTL_SET_ACCESS_REQUIRED`].
    access_required, set_access_required: DomctlSetAccessRequired;
    /// For [`XEN_DOMCTL_SET_VIRQ_HANDLER`].
    set_virq_handler, set_set_virq_handler: DomctlSetVirqHandler;
    /// For [`XEN_DOMCTL_SET_BROKEN_PAGE_P2M`].
    set_broken_page_p2m, set_set_broken_page_p2m: DomctlSetBrokenPageP2m;
    /// For [`XEN_DOMCTL_CACHEFLUSH`].
    cacheflush, set_cacheflush: DomctlCacheflush;
    /// For [`XEN_DOMCTL_SETVNUMAINFO`].
    vnuma, set_vnuma: DomctlVnuma;
    /// For [`XEN_DOMCTL_GET_PAGING_MEMPOOL_SIZE`] and its counterpart.
    paging_mempool, set_paging_mempool: DomctlPagingMempool;
}
