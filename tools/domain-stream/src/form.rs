//! The numbers and headers of the three forms.

use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `xl`'s header: the first bytes, the word that tells the order of bytes, and what must be understood of the rest.
pub const XL_MAGIC: [u8; 32] = *b"Xen saved domain, xl format\n \0 \r";
pub const XL_ORDER: u32 = 0x0102_0304;
pub const XL_JSON: u32 = 1;
pub const XL_STREAM: u32 = 2;
/// The longest configuration, in bytes.
pub const CONFIG_MAX: usize = 1 << 20;

/// libxl's header, big-endian: "LibxlFmt", the version, and that no record is of the old form nor big-endian.
pub const LIBXL_IDENT: u64 = 0x4c69_6278_6c46_6d74;
pub const LIBXL_VERSION: u32 = 2;
/// libxl's records.
pub const LIBXL_END: u32 = 0;
pub const LIBXL_CONTEXT: u32 = 1;
pub const LIBXL_EMULATOR_NODES: u32 = 2;

/// libxc's header, big-endian: a marker, "XENF", the version, and no option.
pub const LIBXC_MARKER: u64 = u64::MAX;
pub const LIBXC_IDENT: u32 = 0x5845_4e46;
pub const LIBXC_VERSION: u32 = 3;
/// The kind of domain, and the base 2 logarithm of a page.
pub const KIND_HVM: u32 = 2;
pub const PAGE_SHIFT: u16 = 12;
/// The hypervisor that is named as the writer's.
pub const XEN_MAJOR: u32 = 4;
pub const XEN_MINOR: u32 = 17;

/// libxc's records.
pub const END: u32 = 0x0;
pub const PAGE_DATA: u32 = 0x1;
pub const TSC_INFO: u32 = 0x8;
pub const HVM_CONTEXT: u32 = 0x9;
pub const HVM_PARAMS: u32 = 0xa;
pub const VERIFY: u32 = 0xd;
pub const STATIC_DATA_END: u32 = 0x10;
pub const CPUID_POLICY: u32 = 0x11;
pub const MSR_POLICY: u32 = 0x12;
/// A record of such a kind may be left out by who does not know it.
pub const OPTIONAL: u32 = 1 << 31;

/// Records are as long as a multiple of this.
pub const ALIGNMENT: usize = 8;
/// The longest record that is no page data, in bytes.
pub const RECORD_MAX: usize = 1 << 20;

/// Where a frame's kind lies in its word, and kinds: a page with data, and from which on there are none.
pub const KIND_SHIFT: u32 = 60;
pub const KIND_MASK: u64 = 0xf << KIND_SHIFT;
pub const FRAME_MASK: u64 = (1 << 52) - 1;
pub const KIND_PLAIN: u64 = 0;
pub const KIND_BROKEN: u64 = 0xd;
pub const KIND_ALLOCATED: u64 = 0xe;
pub const KIND_NONE: u64 = 0xf;

/// How the time stamp counter goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub struct Tsc {
    /// As for `XEN_DOMCTL_settscinfo`.
    pub mode: u32,
    pub khz: u32,
    pub nanoseconds: u64,
    pub incarnation: u32,
    pub reserved: u32,
}

/// Returns a record's name.
pub fn libxc_name(kind: u32) -> String {
    let name = match kind & !OPTIONAL {
        END => "END",
        PAGE_DATA => "PAGE_DATA",
        0x2 => "X86_PV_INFO",
        0x3 => "X86_PV_P2M_FRAMES",
        0x4 => "X86_PV_VCPU_BASIC",
        0x5 => "X86_PV_VCPU_EXTENDED",
        0x6 => "X86_PV_VCPU_XSAVE",
        0x7 => "SHARED_INFO",
        TSC_INFO => "X86_TSC_INFO",
        HVM_CONTEXT => "HVM_CONTEXT",
        HVM_PARAMS => "HVM_PARAMS",
        0xb => "TOOLSTACK",
        0xc => "X86_PV_VCPU_MSRS",
        VERIFY => "VERIFY",
        0xe => "CHECKPOINT",
        0xf => "CHECKPOINT_DIRTY_PFN_LIST",
        STATIC_DATA_END => "STATIC_DATA_END",
        CPUID_POLICY => "X86_CPUID_POLICY",
        MSR_POLICY => "X86_MSR_POLICY",
        _ => return format!("libxc record {kind:#x}"),
    };
    name.to_owned()
}

/// Returns a record's name.
pub fn libxl_name(kind: u32) -> String {
    match kind {
        LIBXL_END => "libxl END".into(),
        LIBXL_CONTEXT => "LIBXC_CONTEXT".into(),
        LIBXL_EMULATOR_NODES => "EMULATOR_XENSTORE_DATA".into(),
        3 => "EMULATOR_CONTEXT".into(),
        4 => "CHECKPOINT_END".into(),
        5 => "CHECKPOINT_STATE".into(),
        _ => format!("libxl record {kind:#x}"),
    }
}
