//! Notes by which a kernel says how it wants to be started: name "Xen", in a note segment.
//!
//! A number is 4 or 8 bytes long, by the note's length. **Source:** `elfnote.h`.

use crate::describe::constants;

constants! {
    table CONSTANTS;
    /// A text `NAME=VALUE`.
    pub const XEN_ELFNOTE_INFO: u32 = 0;
    /// PV: virtual address of the entry, a number.
    pub const XEN_ELFNOTE_ENTRY: u32 = 1;
    /// PV: virtual address of the hypercall page, a number.
    pub const XEN_ELFNOTE_HYPERCALL_PAGE: u32 = 2;
    /// PV: virtual address that the kernel starts from, a number.
    pub const XEN_ELFNOTE_VIRT_BASE: u32 = 3;
    /// PV: what is taken from the physical addresses of the file, a number.
    pub const XEN_ELFNOTE_PADDR_OFFSET: u32 = 4;
    /// The version that the kernel was made for, a text.
    pub const XEN_ELFNOTE_XEN_VERSION: u32 = 5;
    /// The kernel's name, a text.
    pub const XEN_ELFNOTE_GUEST_OS: u32 = 6;
    /// The kernel's version, a text.
    pub const XEN_ELFNOTE_GUEST_VERSION: u32 = 7;
    /// The kind of loader, a text.
    pub const XEN_ELFNOTE_LOADER: u32 = 8;
    /// 32-bit PV: whether it uses PAE, a text.
    pub const XEN_ELFNOTE_PAE_MODE: u32 = 9;
    /// What it can do and (with `!`) what it needs, a text with `|` between.
    pub const XEN_ELFNOTE_FEATURES: u32 = 10;
    /// Whether it wants its symbols loaded, a text.
    pub const XEN_ELFNOTE_BSD_SYMTAB: u32 = 11;
    /// PV: the lowest address where the hypervisor may be, a number.
    pub const XEN_ELFNOTE_HV_START_LOW: u32 = 12;
    /// PV: how to tell page table entries that hold a frame, pairs of mask and value.
    pub const XEN_ELFNOTE_L1_MFN_VALID: u32 = 13;
    /// Whether a suspend can be called off, a number.
    pub const XEN_ELFNOTE_SUSPEND_CANCEL: u32 = 14;
    /// PV: where the list of frames is to be, a number.
    pub const XEN_ELFNOTE_INIT_P2M: u32 = 15;
    /// PV: whether the module may be unmapped, a number.
    pub const XEN_ELFNOTE_MOD_START_PFN: u32 = 16;
    /// What it can do, a number with a bit for each feature.
    pub const XEN_ELFNOTE_SUPPORTED_FEATURES: u32 = 17;
    /// PVH: physical address of the 32-bit entry, a number.
    pub const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;
    /// The highest that a kernel has.
    pub const XEN_ELFNOTE_MAX: u32 = 18;
}

/// The name of these notes, with the zero byte that it ends in.
pub const ELFNOTE_NAME: &[u8; 4] = b"Xen\0";
