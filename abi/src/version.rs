//! What a guest can ask about the hypervisor.
//!
//! Hypercall [`XEN_VERSION`](crate::hypercall::XEN_VERSION): `(operation, pointer to an answer)`.
//! **Source:** `version.h`, `features.h`.

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
    /// Reads and writes [`FeatureInfo`].
    pub const XENVER_GET_FEATURES: u32 = 6;
    /// Returns the page size in bytes.
    pub const XENVER_PAGESIZE: u32 = 7;
    /// Writes the caller's [`DomainHandle`](crate::hypercall::DomainHandle).
    pub const XENVER_GUEST_HANDLE: u32 = 8;
    /// Writes [`Commandline`].
    pub const XENVER_COMMANDLINE: u32 = 9;
    /// Writes [`BuildId`] and the identifier after it; returns its length in bytes.
    pub const XENVER_BUILD_ID: u32 = 10;
    /// How many submaps [`XENVER_GET_FEATURES`] knows.
    pub const XENFEAT_NR_SUBMAPS: u32 = 1;
}

/// What follows major and minor version, such as ".5"; ends in a zero byte.
pub type Extraversion = [u8; 16];
/// Kinds of guest that can run, separated by spaces; ends in a zero byte.
pub type CapabilitiesInfo = [u8; 1024];
/// Which source this was built from; ends in a zero byte.
pub type ChangesetInfo = [u8; 64];
/// The hypervisor's command line; ends in a zero byte.
pub type Commandline = [u8; 1024];

wire! {
    /// Who built the hypervisor; each ends in a zero byte.
    pub struct CompileInfo: "struct xen_compile_info" {
        /// The compiler.
        pub compiler: [u8; 64],
        /// Who.
        pub compile_by: [u8; 16],
        /// Where.
        pub compile_domain: [u8; 32],
        /// When.
        pub compile_date: [u8; 32],
    }

    /// Where the hypervisor lies in a PV guest's address space.
    pub struct PlatformParameters: "struct xen_platform_parameters" {
        /// The first virtual address.
        pub virt_start: u64 as long,
    }

    /// One word of features.
    pub struct FeatureInfo: "struct xen_feature_info" {
        /// In: which word.
        pub submap_idx: u32,
        /// Out: the word; word 0 is [`Features`].
        pub submap: u32,
    }

    /// What the identifier of the build is asked with; the identifier follows.
    pub struct BuildId: "struct xen_build_id" {
        /// In: how many bytes there is room for.
        pub len: u32,
    }
}

flags! {
    /// Word 0 of [`XENVER_GET_FEATURES`]. The C constants are the bits' numbers.
    pub struct Features("1u << XENFEAT_"): u32 {
        /// Page tables need no write protection.
        const WRITABLE_PAGE_TABLES = 1 << 0;
        /// Descriptor tables need no write protection.
        const WRITABLE_DESCRIPTOR_TABLES = 1 << 1;
        /// The hypervisor translates guest frames to machine frames.
        const AUTO_TRANSLATED_PHYSMAP = 1 << 2;
        /// The kernel runs in supervisor mode.
        const SUPERVISOR_MODE_KERNEL = 1 << 3;
        /// PAE page directories may lie above 4 GiB.
        const PAE_PGDIR_ABOVE_4GB = 1 << 4;
        /// Page table entries can be changed with the accessed and dirty bits kept.
        const MMU_PT_UPDATE_PRESERVE_AD = 1 << 5;
        /// Pages can be cleared and copied by hypercall.
        const HIGHMEM_ASSIST = 1 << 6;
        /// Mapping a grant sets the guest's own bits of the page table entry.
        const GNTTAB_MAP_AVAIL_BITS = 1 << 7;
        /// Events can be delivered to a vector.
        const HVM_CALLBACK_VECTOR = 1 << 8;
        /// The time information can be relied on by fully virtualised guests.
        const HVM_SAFE_PVCLOCK = 1 << 9;
        /// Physical interrupts can be had by fully virtualised guests.
        const HVM_PIRQS = 1 << 10;
        /// The domain may be the control domain.
        const DOM0 = 1 << 11;
        /// Memory can be asked for by virtual NUMA node.
        const MEMORY_OP_VNODE_SUPPORTED = 1 << 13;
        /// Arm: the SMC calling convention is known.
        const ARM_SMCCC_SUPPORTED = 1 << 14;
        /// The ACPI root pointer may lie anywhere.
        const LINUX_RSDP_UNRESTRICTED = 1 << 15;
        /// Guest frames are not machine frames.
        const NOT_DIRECT_MAPPED = 1 << 16;
        /// Guest frames are machine frames.
        const DIRECT_MAPPED = 1 << 17;
    }
}
