//! Performance counters of a domain.
//!
//! Hypercall [`XENPMU_OP`](crate::hypercall::XENPMU_OP): `(operation, pointer to [`PmuParams`])`.
//! **Source:** `pmu.h`, `arch-x86/pmu.h`.

use crate::VcpuId;
use crate::describe::{constants, flags, wire};

constants! {
    table CONSTANTS;
    /// The version of this interface: major.
    pub const XENPMU_VER_MAJ: u32 = 0;
    /// The version of this interface: minor.
    pub const XENPMU_VER_MIN: u32 = 1;
    /// Asks for the mode and the version.
    pub const XENPMU_MODE_GET: u32 = 0;
    /// Sets the mode.
    pub const XENPMU_MODE_SET: u32 = 1;
    /// Asks for the features.
    pub const XENPMU_FEATURE_GET: u32 = 2;
    /// Sets the features.
    pub const XENPMU_FEATURE_SET: u32 = 3;
    /// Starts with a vCPU.
    pub const XENPMU_INIT: u32 = 4;
    /// Ends with a vCPU.
    pub const XENPMU_FINISH: u32 = 5;
    /// Sets the local APIC's entry.
    pub const XENPMU_LVTPC_SET: u32 = 6;
    /// Writes the values that were kept.
    pub const XENPMU_FLUSH: u32 = 7;
}

flags! {
    /// What of the counters is offered.
    pub struct PmuMode("XENPMU_MODE_"): u64 {
        /// Domains measure themselves.
        const SELF = 1 << 0;
        /// The control domain measures the hypervisor too.
        const HV = 1 << 1;
        /// The control domain measures all.
        const ALL = 1 << 2;
    }

    /// How the counters are offered.
    pub struct PmuFeatures("XENPMU_FEATURE_"): u64 {
        /// Intel: the branch trace.
        const INTEL_BTS = 1 << 0;
        /// Intel: only what tells instructions by cycle.
        const IPC_ONLY = 1 << 1;
        /// Intel: only the architectural events.
        const ARCH_ONLY = 1 << 2;
    }
}

wire! {
    /// Arguments of the operations on counters.
    pub struct PmuParams: "struct xen_pmu_params" {
        /// In or out: the version, major.
        pub version_maj: u32 = "version.maj",
        /// In or out: the version, minor.
        pub version_min: u32 = "version.min",
        /// In or out: by operation.
        pub val: u64,
        /// In: the vCPU.
        pub vcpu: VcpuId,
        /// Padding.
        pub pad: u32,
    }
}
