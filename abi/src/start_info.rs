//! What a PVH domain finds when it starts: `ebx` holds the guest physical address of an [`HvmStartInfo`].
//!
//! An address of 0 means that the thing is absent. Everything lies below 4 GiB.
//! **Source:** `arch-x86/hvm/start_info.h`, `xen.h`.

use crate::describe::{constants, flags, wire};

constants! {
    table CONSTANTS;
    /// [`HvmStartInfo::magic`].
    pub const XEN_HVM_START_MAGIC_VALUE: u32 = 0x336e_c578;

    /// [`HvmMemmapTableEntry::kind`]: ordinary memory.
    pub const XEN_HVM_MEMMAP_TYPE_RAM: u32 = 1;
    /// [`HvmMemmapTableEntry::kind`]: not to be used.
    pub const XEN_HVM_MEMMAP_TYPE_RESERVED: u32 = 2;
    /// [`HvmMemmapTableEntry::kind`]: ACPI tables; ordinary memory once they were read.
    pub const XEN_HVM_MEMMAP_TYPE_ACPI: u32 = 3;
    /// [`HvmMemmapTableEntry::kind`]: the firmware's, kept over sleep.
    pub const XEN_HVM_MEMMAP_TYPE_NVS: u32 = 4;
    /// [`HvmMemmapTableEntry::kind`]: faulty, or taken away.
    pub const XEN_HVM_MEMMAP_TYPE_UNUSABLE: u32 = 5;
    /// [`HvmMemmapTableEntry::kind`]: memory that is switched off.
    pub const XEN_HVM_MEMMAP_TYPE_DISABLED: u32 = 6;
    /// [`HvmMemmapTableEntry::kind`]: persistent memory.
    pub const XEN_HVM_MEMMAP_TYPE_PMEM: u32 = 7;
}

/// [`HvmStartInfo::version`] that has no memory map; the structure then ends before `memmap_paddr`.
pub const START_INFO_VERSION_0: u32 = 0;

/// [`HvmStartInfo::version`] that has a memory map.
pub const START_INFO_VERSION_1: u32 = 1;

/// Size in bytes of an [`HvmStartInfo`] of version 0.
pub const START_INFO_VERSION_0_SIZE: usize = core::mem::offset_of!(HvmStartInfo, memmap_paddr);

flags! {
    /// Flags of [`HvmStartInfo`].
    pub struct StartInfoFlags("SIF_"): u32 {
        /// The domain is privileged.
        const PRIVILEGED = 1 << 0;
        /// The domain is the first control domain.
        const INITDOMAIN = 1 << 1;
        /// PV: the module is a list of modules.
        const MULTIBOOT_MOD = 1 << 2;
        /// PV: the module is given as a frame number.
        const MOD_START_PFN = 1 << 3;
        /// PV: the toolstack knows the linear list of frames.
        const VIRT_P2M_4TOOLS = 1 << 4;
        /// Options of power management, one byte.
        const PM_MASK = 0xff << 8;
    }
}

wire! {
    fixed;

    /// What a PVH domain is told when it starts.
    pub struct HvmStartInfo: "struct hvm_start_info" {
        /// [`XEN_HVM_START_MAGIC_VALUE`].
        pub magic: u32,
        /// 0 or 1.
        pub version: u32,
        /// Flags.
        pub flags: StartInfoFlags,
        /// How many modules there are.
        pub nr_modules: u32,
        /// Guest physical address of an array of [`HvmModlistEntry`].
        pub modlist_paddr: u64,
        /// Guest physical address of the command line, which ends in a zero byte.
        pub cmdline_paddr: u64,
        /// Guest physical address of the ACPI root pointer.
        pub rsdp_paddr: u64,
        /// Version 1: guest physical address of an array of [`HvmMemmapTableEntry`].
        pub memmap_paddr: u64,
        /// Version 1: how many entries the memory map has, 0 if there is none.
        pub memmap_entries: u32,
        /// Zero.
        pub reserved: u32,
    }

    /// One module, such as the initial file system.
    pub struct HvmModlistEntry: "struct hvm_modlist_entry" {
        /// Guest physical address.
        pub paddr: u64,
        /// Size in bytes.
        pub size: u64,
        /// Guest physical address of the module's command line, which ends in a zero byte.
        pub cmdline_paddr: u64,
        /// Zero.
        pub reserved: u64,
    }

    /// One range of the memory map.
    pub struct HvmMemmapTableEntry: "struct hvm_memmap_table_entry" {
        /// Guest physical address.
        pub addr: u64,
        /// Size in bytes.
        pub size: u64,
        /// An `XEN_HVM_MEMMAP_TYPE_*`, the same as ACPI's.
        pub kind: u32 = "type",
        /// Zero.
        pub reserved: u32,
    }
}
