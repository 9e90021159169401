//! Control of a domain's vCPUs: registers, affinity, CPU policy, MSRs.
//!
//! **Source:** `domctl.h`.

use crate::cpu_policy::{CpuidLeaf, MsrEntry};
use crate::describe::{constants, flags, wire};
use crate::guest_context::VcpuGuestContext;
use crate::hvm_save::HvmVmceVcpu;
use crate::hypercall::CtlBitmap;
use crate::{GuestHandle, VcpuId};

constants! {
    table CONSTANTS;
    /// Subleaf of a CPUID leaf that has no subleaves, in the old format.
    pub const XEN_CPUID_INPUT_UNUSED: u32 = u32::MAX;
}

flags! {
    /// Flags of [`DomctlVcpuaffinity`].
    pub struct AffinityFlags("XEN_VCPUAFFINITY_"): u32 {
        /// Hard affinity: the CPUs on which the vCPU may run.
        const HARD = 1 << 0;
        /// Soft affinity: the CPUs on which the vCPU should run if one is idle.
        const SOFT = 1 << 1;
        /// A temporary pin ([`SCHEDOP_PIN_OVERRIDE`](crate::sched::SCHEDOP_PIN_OVERRIDE)) is undone first.
        const FORCE = 1 << 2;
    }
}

wire! {
    fixed;

    /// Arguments of [`XEN_DOMCTL_SETVCPUCONTEXT`](super::XEN_DOMCTL_SETVCPUCONTEXT) and its counterpart.
    pub struct DomctlVcpucontext: "struct xen_domctl_vcpucontext" {
        /// In: the vCPU.
        pub vcpu: VcpuId,
        /// Padding.
        pub pad: [u8; 4],
        /// In or out: its registers.
        pub ctxt: GuestHandle<VcpuGuestContext>,
    }

    /// Arguments of [`XEN_DOMCTL_GETVCPUINFO`](super::XEN_DOMCTL_GETVCPUINFO).
    pub struct DomctlGetvcpuinfo: "struct xen_domctl_getvcpuinfo" {
        /// In: the vCPU.
        pub vcpu: VcpuId,
        /// Out: 1 if it is up (online).
        pub online: u8,
        /// Out: 1 if it is blocked.
        pub blocked: u8,
        /// Out: 1 if it is running.
        pub running: u8,
        /// Padding.
        pub pad0: u8,
        /// Out: time that it has run, in nanoseconds.
        pub cpu_time: u64,
        /// Out: the physical CPU on which it runs or ran last.
        pub cpu: u32,
        /// Padding.
        pub pad1: [u8; 4],
    }

    /// Arguments of [`XEN_DOMCTL_SETNODEAFFINITY`](super::XEN_DOMCTL_SETNODEAFFINITY) and its counterpart.
    pub struct DomctlNodeaffinity: "struct xen_domctl_nodeaffinity" {
        /// In or out: the NUMA nodes.
        pub nodemap: CtlBitmap,
    }

    /// Arguments of [`XEN_DOMCTL_SETVCPUAFFINITY`](super::XEN_DOMCTL_SETVCPUAFFINITY) and its counterpart.
    pub struct DomctlVcpuaffinity: "struct xen_domctl_vcpuaffinity" {
        /// In: the vCPU.
        pub vcpu: VcpuId,
        /// In: see [`AffinityFlags`].
        pub flags: AffinityFlags,
        /// In or out: hard affinity. Set returns the CPUs that are used.
        pub cpumap_hard: CtlBitmap,
        /// In or out: soft affinity. Set returns the CPUs that are used.
        pub cpumap_soft: CtlBitmap,
    }

    /// Arguments of [`XEN_DOMCTL_SET_EXT_VCPUCONTEXT`](super::XEN_DOMCTL_SET_EXT_VCPUCONTEXT) and its counterpart.
    pub struct DomctlExtVcpucontext: "struct xen_domctl_ext_vcpucontext" {
        /// In: the vCPU.
        pub vcpu: VcpuId,
        /// In or out: size of this structure in bytes.
        pub size: u32,
        /// In or out: PV: entry point of SYSCALL from 32-bit code.
        pub syscall32_callback_eip: u64,
        /// In or out: PV: entry point of SYSENTER.
        pub sysenter_callback_eip: u64,
        /// In or out: PV: code segment of the SYSCALL entry point.
        pub syscall32_callback_cs: u16,
        /// In or out: PV: code segment of the SYSENTER entry point.
        pub sysenter_callback_cs: u16,
        /// In or out: PV: not 0 if SYSCALL masks upcalls.
        pub syscall32_disables_events: u8,
        /// In or out: PV: not 0 if SYSENTER masks upcalls.
        pub sysenter_disables_events: u8,
        /// Padding.
        pub pad: [u8; 2],
        /// In or out: virtual machine-check state.
        pub vmce: HvmVmceVcpu,
    }

    /// Arguments of [`XEN_DOMCTL_GET_CPU_POLICY`](super::XEN_DOMCTL_GET_CPU_POLICY) and its counterpart.
    pub struct DomctlCpuPolicy: "struct xen_domctl_cpu_policy" {
        /// In: length of `leaves`. Out: number of leaves that were written or are needed.
        pub nr_leaves: u32,
        /// In: length of `msrs`. Out: number of MSRs that were written or are needed.
        pub nr_msrs: u32,
        /// In or out: CPUID leaves.
        pub leaves: GuestHandle<CpuidLeaf>,
        /// In or out: MSRs.
        pub msrs: GuestHandle<MsrEntry>,
        /// Out, set only: the leaf that was refused, or all ones.
        pub err_leaf: u32,
        /// Out, set only: the subleaf that was refused, or all ones.
        pub err_subleaf: u32,
        /// Out, set only: the MSR that was refused, or all ones.
        pub err_msr: u32,
        /// Padding.
        pub pad: [u8; 4],
    }

    /// Arguments of [`XEN_DOMCTL_SETVCPUEXTSTATE`](super::XEN_DOMCTL_SETVCPUEXTSTATE) and its counterpart.
    pub struct DomctlVcpuextstate: "struct xen_domctl_vcpuextstate" {
        /// In: the vCPU.
        pub vcpu: VcpuId,
        /// Padding.
        pub pad: [u8; 4],
        /// Out: state components of the vCPU, as in XCR0.
        pub xfeature_mask: u64,
        /// In or out: size of the state in bytes.
        pub size: u64,
        /// In or out: the state, in the format of XSAVE.
        pub buffer: GuestHandle<u64>,
    }

    /// One MSR of a vCPU.
    pub struct DomctlVcpuMsr: "struct xen_domctl_vcpu_msr" {
        /// Number of the MSR.
        pub index: u32,
        /// Zero.
        pub reserved: u32,
        /// Value of the MSR.
        pub value: u64,
    }

    /// Arguments of [`XEN_DOMCTL_GET_VCPU_MSRS`](super::XEN_DOMCTL_GET_VCPU_MSRS) and its counterpart.
    pub struct DomctlVcpuMsrs: "struct xen_domctl_vcpu_msrs" {
        /// In: the vCPU.
        pub vcpu: VcpuId,
        /// In: length of `msrs`. Out: number of MSRs.
        pub msr_count: u32,
        /// In or out: the MSRs.
        pub msrs: GuestHandle<DomctlVcpuMsr>,
    }
}
