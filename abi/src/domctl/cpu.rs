//! Control of a domain's vCPUs: registers, where they may run, what CPUID tells them.
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
    /// A leaf of CPUID without subleaves, in the old form.
    pub const XEN_CPUID_INPUT_UNUSED: u32 = u32::MAX;
}

flags! {
    /// Flags of [`DomctlVcpuaffinity`].
    pub struct AffinityFlags("XEN_VCPUAFFINITY_"): u32 {
        /// Where it may run (hard affinity).
        const HARD = 1 << 0;
        /// Where it prefers to run (soft affinity).
        const SOFT = 1 << 1;
        /// A pin is undone first.
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
        /// Out: 1 if it is started.
        pub online: u8,
        /// Out: 1 if it waits for an event.
        pub blocked: u8,
        /// Out: 1 if it is running.
        pub running: u8,
        /// Padding.
        pub pad0: u8,
        /// Out: nanoseconds that it has run.
        pub cpu_time: u64,
        /// Out: the physical CPU that it is on, or was.
        pub cpu: u32,
        /// Padding.
        pub pad1: [u8; 4],
    }

    /// Arguments of [`XEN_DOMCTL_SETNODEAFFINITY`](super::XEN_DOMCTL_SETNODEAFFINITY) and its counterpart.
    pub struct DomctlNodeaffinity: "struct xen_domctl_nodeaffinity" {
        /// In or out: the nodes.
        pub nodemap: CtlBitmap,
    }

    /// Arguments of [`XEN_DOMCTL_SETVCPUAFFINITY`](super::XEN_DOMCTL_SETVCPUAFFINITY) and its counterpart.
    pub struct DomctlVcpuaffinity: "struct xen_domctl_vcpuaffinity" {
        /// In: the vCPU.
        pub vcpu: VcpuId,
        /// In: flags.
        pub flags: AffinityFlags,
        /// In or out: CPUs where it may run (hard affinity); set returns the usable ones.
        pub cpumap_hard: CtlBitmap,
        /// In or out: CPUs where it prefers to run (soft affinity); set returns the usable ones.
        pub cpumap_soft: CtlBitmap,
    }

    /// Arguments of [`XEN_DOMCTL_SET_EXT_VCPUCONTEXT`](super::XEN_DOMCTL_SET_EXT_VCPUCONTEXT) and its counterpart.
    pub struct DomctlExtVcpucontext: "struct xen_domctl_ext_vcpucontext" {
        /// In: the vCPU.
        pub vcpu: VcpuId,
        /// In or out: size of this structure in bytes.
        pub size: u32,
        /// In or out: PV: where SYSCALL from 32-bit code enters.
        pub syscall32_callback_eip: u64,
        /// In or out: PV: where SYSENTER enters.
        pub sysenter_callback_eip: u64,
        /// In or out: PV: code segment for SYSCALL.
        pub syscall32_callback_cs: u16,
        /// In or out: PV: code segment for SYSENTER.
        pub sysenter_callback_cs: u16,
        /// In or out: PV: whether SYSCALL masks events.
        pub syscall32_disables_events: u8,
        /// In or out: PV: whether SYSENTER masks events.
        pub sysenter_disables_events: u8,
        /// Padding.
        pub pad: [u8; 2],
        /// In or out: machine checks.
        pub vmce: HvmVmceVcpu,
    }

    /// Arguments of [`XEN_DOMCTL_GET_CPU_POLICY`](super::XEN_DOMCTL_GET_CPU_POLICY) and its counterpart.
    pub struct DomctlCpuPolicy: "struct xen_domctl_cpu_policy" {
        /// In: length of the first list. Out: how many were written, or there is room needed for.
        pub nr_leaves: u32,
        /// In: length of the second list. Out: the same for it.
        pub nr_msrs: u32,
        /// In or out: what CPUID tells.
        pub leaves: GuestHandle<CpuidLeaf>,
        /// In or out: what MSRs tell.
        pub msrs: GuestHandle<MsrEntry>,
        /// Out, set only: the leaf that is wrong, or all ones.
        pub err_leaf: u32,
        /// Out, set only: its subleaf, or all ones.
        pub err_subleaf: u32,
        /// Out, set only: the MSR that is wrong, or all ones.
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
        /// Out: which kinds of state there are.
        pub xfeature_mask: u64,
        /// In or out: size in bytes.
        pub size: u64,
        /// In or out: the state.
        pub buffer: GuestHandle<u64>,
    }

    /// One MSR of a vCPU.
    pub struct DomctlVcpuMsr: "struct xen_domctl_vcpu_msr" {
        /// Its number.
        pub index: u32,
        /// Zero.
        pub reserved: u32,
        /// Its value.
        pub value: u64,
    }

    /// Arguments of [`XEN_DOMCTL_GET_VCPU_MSRS`](super::XEN_DOMCTL_GET_VCPU_MSRS) and its counterpart.
    pub struct DomctlVcpuMsrs: "struct xen_domctl_vcpu_msrs" {
        /// In: the vCPU.
        pub vcpu: VcpuId,
        /// In: length of the list. Out: how many there are.
        pub msr_count: u32,
        /// In or out: the list.
        pub msrs: GuestHandle<DomctlVcpuMsr>,
    }
}
