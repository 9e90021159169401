//! Version and features of the hypervisor.
//!
//! Hypercall [`XEN_VERSION`](crate::hypercall::XEN_VERSION): `(operation, pointer to the result)`. **Source:**
//! `version.h`, `features.h`.

use crate::describe::{constants, flags, wire};

constants! {
    table CONSTANTS;
    /// Returns the version: major in bits 31 to 16, minor in 15 to 0.
    pub const XENVER_VERSION: u32 = 0;
    /// Writes [`Extraversion`].
    pub const XENVER_EXTRAVERSION: u32 = 1;
    /// Writes [`CompileInfo`].
    pub const XENVER_COMPILE_INFO: u32 = 2;
    /// Writes [`CapabilitiesInfo`].
    pub const XENVER_CAPABILITIES: u32 = 3;
    /// Writes [`ChangesetInfo`].
    pub const XENVER_CHANGESET: u32 = 4;
    /// Writes [`PlatformParameters`].
    pub const XENVER_PLATFORM_PARAMETERS: u32 = 5;
    /// Writes the word of features that the caller selects in [`FeatureInfo`].
    pub const XENVER_GET_FEATURES: u32 = 6;
    /// Returns the page size in bytes.
    pub const XENVER_PAGESIZE: u32 = 7;
    /// Writes the caller's [`DomainHandle`](crate::hypercall::DomainHandle).
    pub const XENVER_GUEST_HANDLE: u32 = 8;
    /// Writes [`Commandline`].
    pub const XENVER_COMMANDLINE: u32 = 9;
    /// Writes [`BuildId`] and the build ID after it, and returns the length of the build ID in bytes.
    pub const XENVER_BUILD_ID: u32 = 10;
    /// Number of words of features.
    pub const XENFEAT_NR_SUBMAPS: u32 = 1;
}

/// The part of the version after major and minor, such as ".5"; NUL-terminated.
pub type Extraversion = [u8; 16];
/// Guest types that can run, separated by spaces; NUL-terminated.
pub type CapabilitiesInfo = [u8; 1024];
/// Revision of the source; NUL-terminated.
pub type ChangesetInfo = [u8; 64];
/// Command line of the hypervisor; NUL-terminated.
pub type Commandline = [u8; 1024];

wire! {
    /// How the hypervisor was compiled. Each member is NUL-terminated.
    pub struct CompileInfo: "struct xen_compile_info" {
        /// Compiler and its version.
        pub compiler: [u8; 64],
        /// User who compiled it.
        pub compile_by: [u8; 16],
        /// Domain name of the machine.
        pub compile_domain: [u8; 32],
        /// Date and time.
        pub compile_date: [u8; 32],
    }

    /// Parameters of the address space.
    pub struct PlatformParameters: "struct xen_platform_parameters" {
        /// First virtual address of the hypervisor in a PV guest.
        pub virt_start: u64 as long,
    }

    /// One word of features.
    pub struct FeatureInfo: "struct xen_feature_info" {
        /// In: index of the word.
        pub submap_idx: u32,
        /// Out: the word; for index 0, [`Features`].
        pub submap: u32,
    }

    /// Header of the build ID, which follows it.
    pub struct BuildId: "struct xen_build_id" {
        /// In: size of the buffer for the build ID, in bytes.
        pub len: u32,
    }
}

flags! {
    /// Features in word 0 of [`XENVER_GET_FEATURES`]. The C constants are bit numbers.
    pub struct Features("1u << XENFEAT_"): u32 {
        /// PV: page tables need not be mapped read-only.
        const WRITABLE_PAGE_TABLES = 1 << 0;
        /// PV: descriptor tables need not be mapped read-only.
        const WRITABLE_DESCRIPTOR_TABLES = 1 << 1;
        /// The hypervisor translates GFNs to MFNs (translated guest).
        const AUTO_TRANSLATED_PHYSMAP = 1 << 2;
        /// The kernel runs in supervisor mode.
        const SUPERVISOR_MODE_KERNEL = 1 << 3;
        /// PV: PAE page directories may be above 4 GiB.
        const PAE_PGDIR_ABOVE_4GB = 1 << 4;
        /// PV: a page-table entry can be updated with its accessed and dirty bits preserved.
        const MMU_PT_UPDATE_PRESERVE_AD = 1 << 5;
        /// PV: pages can be cleared and copied by hypercall.
        const HIGHMEM_ASSIST = 1 << 6;
        /// PV: mapping a grant sets the available bits of the page-table entry.
        const GNTTAB_MAP_AVAIL_BITS = 1 << 7;
        /// Upcalls can be delivered by an interrupt vector.
        const HVM_CALLBACK_VECTOR = 1 << 8;
        /// Pvclock is reliable for HVM guests.
        const HVM_SAFE_PVCLOCK = 1 << 9;
        /// PIRQs can be bound to event channels by HVM guests.
        const HVM_PIRQS = 1 << 10;
        /// The domain may be dom0.
        const DOM0 = 1 << 11;
        /// Memory operations take a virtual NUMA node.
        const MEMORY_OP_VNODE_SUPPORTED = 1 << 13;
        /// Arm: the SMC calling convention is supported.
        const ARM_SMCCC_SUPPORTED = 1 << 14;
        /// The ACPI RSDP may be at any address.
        const LINUX_RSDP_UNRESTRICTED = 1 << 15;
        /// GFNs differ from MFNs.
        const NOT_DIRECT_MAPPED = 1 << 16;
        /// GFNs equal MFNs (direct map).
        const DIRECT_MAPPED = 1 << 17;
    }
}
