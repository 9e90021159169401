//! CPU policies and featuresets of the machine: what CPUID and MSRs can report to domains. Cache monitoring.
//!
//! **Source:** `sysctl.h`.

use crate::cpu_policy::{CpuidLeaf, MsrEntry};
use crate::describe::{constants, flags, wire};
use crate::{GuestHandle, Union};

constants! {
    table CONSTANTS;
    /// [`SysctlCpuFeatureset::index`]: features that the CPU reports.
    pub const XEN_SYSCTL_CPU_FEATURESET_RAW: u32 = 0;
    /// [`SysctlCpuFeatureset::index`]: features that the hypervisor uses.
    pub const XEN_SYSCTL_CPU_FEATURESET_HOST: u32 = 1;
    /// [`SysctlCpuFeatureset::index`]: default features of PV domains.
    pub const XEN_SYSCTL_CPU_FEATURESET_PV: u32 = 2;
    /// [`SysctlCpuFeatureset::index`]: default features of HVM and PVH domains.
    pub const XEN_SYSCTL_CPU_FEATURESET_HVM: u32 = 3;
    /// [`SysctlCpuFeatureset::index`]: features that PV domains can have.
    pub const XEN_SYSCTL_CPU_FEATURESET_PV_MAX: u32 = 4;
    /// [`SysctlCpuFeatureset::index`]: features that HVM and PVH domains can have.
    pub const XEN_SYSCTL_CPU_FEATURESET_HVM_MAX: u32 = 5;
    /// [`SysctlCpuPolicy::index`]: the policy that the CPU reports.
    pub const XEN_SYSCTL_CPU_POLICY_RAW: u32 = 0;
    /// [`SysctlCpuPolicy::index`]: the policy that the hypervisor uses.
    pub const XEN_SYSCTL_CPU_POLICY_HOST: u32 = 1;
    /// [`SysctlCpuPolicy::index`]: the most that PV domains can have.
    pub const XEN_SYSCTL_CPU_POLICY_PV_MAX: u32 = 2;
    /// [`SysctlCpuPolicy::index`]: the most that HVM and PVH domains can have.
    pub const XEN_SYSCTL_CPU_POLICY_HVM_MAX: u32 = 3;
    /// [`SysctlCpuPolicy::index`]: the default of PV domains.
    pub const XEN_SYSCTL_CPU_POLICY_PV_DEFAULT: u32 = 4;
    /// [`SysctlCpuPolicy::index`]: the default of HVM and PVH domains.
    pub const XEN_SYSCTL_CPU_POLICY_HVM_DEFAULT: u32 = 5;
    /// [`SysctlPsrCmtOp::cmd`]: returns the number of RMIDs (resource monitoring IDs).
    pub const XEN_SYSCTL_PSR_CMT_GET_TOTAL_RMID: u32 = 0;
    /// [`SysctlPsrCmtOp::cmd`]: returns the factor that converts counter values to bytes.
    pub const XEN_SYSCTL_PSR_CMT_GET_L3_UPSCALING_FACTOR: u32 = 1;
    /// [`SysctlPsrCmtOp::cmd`]: returns the size of the L3 cache.
    pub const XEN_SYSCTL_PSR_CMT_GET_L3_CACHE_SIZE: u32 = 2;
    /// [`SysctlPsrCmtOp::cmd`]: returns whether cache monitoring is enabled.
    pub const XEN_SYSCTL_PSR_CMT_ENABLED: u32 = 3;
    /// [`SysctlPsrCmtOp::cmd`]: returns the mask of events that can be monitored.
    pub const XEN_SYSCTL_PSR_CMT_GET_L3_EVENT_MASK: u32 = 4;
}

flags! {
    /// CPUID leaves that the machine can mask for PV domains (levelling).
    pub struct LevellingCaps("XEN_SYSCTL_CPU_LEVELCAP_"): u32 {
        /// CPUID faulting: every leaf can be intercepted.
        const FAULTING = 1 << 0;
        /// Leaf 1, `ecx`.
        const ECX = 1 << 1;
        /// Leaf 1, `edx`.
        const EDX = 1 << 2;
        /// Leaf 0x80000001, `ecx`.
        const EXTD_ECX = 1 << 3;
        /// Leaf 0x80000001, `edx`.
        const EXTD_EDX = 1 << 4;
        /// Leaf 0xd, subleaf 1, `eax`.
        const XSAVE_EAX = 1 << 5;
        /// Leaf 6, `ecx`.
        const THERMAL_ECX = 1 << 6;
        /// Leaf 7, `eax`.
        const L7S0_EAX = 1 << 7;
        /// Leaf 7, `ebx`.
        const L7S0_EBX = 1 << 8;
    }
}

wire! {
    fixed;

    /// Arguments of [`XEN_SYSCTL_PSR_CMT_OP`](super::XEN_SYSCTL_PSR_CMT_OP).
    pub struct SysctlPsrCmtOp: "struct xen_sysctl_psr_cmt_op" {
        /// In: an `XEN_SYSCTL_PSR_CMT_*`.
        pub cmd: u32,
        /// In: zero.
        pub flags: u32,
        /// In: the CPU. Out: the result.
        pub u: Union<8>,
    }

    /// Result of [`XEN_SYSCTL_GET_CPU_LEVELLING_CAPS`](super::XEN_SYSCTL_GET_CPU_LEVELLING_CAPS).
    pub struct SysctlCpuLevellingCaps: "struct xen_sysctl_cpu_levelling_caps" {
        /// Out: see [`LevellingCaps`].
        pub caps: LevellingCaps,
    }

    /// Arguments of [`XEN_SYSCTL_GET_CPU_FEATURESET`](super::XEN_SYSCTL_GET_CPU_FEATURESET).
    pub struct SysctlCpuFeatureset: "struct xen_sysctl_cpu_featureset" {
        /// In: an `XEN_SYSCTL_CPU_FEATURESET_*`.
        pub index: u32,
        /// In: length of `features`. Out: number of words.
        pub nr_features: u32,
        /// Out: the featureset, words as in [`crate::cpu_features`]; may be null.
        pub features: GuestHandle<u32>,
    }

    /// Arguments of [`XEN_SYSCTL_GET_CPU_POLICY`](super::XEN_SYSCTL_GET_CPU_POLICY).
    pub struct SysctlCpuPolicy: "struct xen_sysctl_cpu_policy" {
        /// In: an `XEN_SYSCTL_CPU_POLICY_*`.
        pub index: u32,
        /// In: length of `leaves`. Out: number of leaves that were written, or that exist if `leaves` is null.
        pub nr_leaves: u32,
        /// In: length of `msrs`. Out: number of MSRs that were written, or that exist if `msrs` is null.
        pub nr_msrs: u32,
        /// Zero.
        pub reserved: u32 = "_rsvd",
        /// Out: CPUID leaves; may be null.
        pub leaves: GuestHandle<CpuidLeaf>,
        /// Out: MSRs; may be null.
        pub msrs: GuestHandle<MsrEntry>,
    }
}
