//! CPU policies: what CPUID and MSRs tell a domain, as lists.
//!
//! **Source:** `arch-x86/xen.h`.

use crate::describe::{constants, wire};

constants! {
    table CONSTANTS;
    /// [`CpuidLeaf::subleaf`] of a leaf that has none.
    pub const XEN_CPUID_NO_SUBLEAF: u32 = u32::MAX;
}

wire! {
    fixed;

    /// What CPUID returns for one leaf.
    pub struct CpuidLeaf: "struct xen_cpuid_leaf" {
        /// The leaf, in `eax`.
        pub leaf: u32,
        /// The subleaf, in `ecx`.
        pub subleaf: u32,
        /// Returned in `eax`.
        pub a: u32,
        /// Returned in `ebx`.
        pub b: u32,
        /// Returned in `ecx`.
        pub c: u32,
        /// Returned in `edx`.
        pub d: u32,
    }

    /// What one MSR holds.
    pub struct MsrEntry: "struct xen_msr_entry" {
        /// The MSR.
        pub idx: u32,
        /// Zero.
        pub flags: u32,
        /// Its value.
        pub val: u64,
    }
}
