//! The entries of a grant table, in both versions.
//!
//! The granting domain writes them at any time, while the hypervisor sets the flags that tell of their use; so the
//! hypervisor sees a table as an array of atomics. An entry of version 1 is 8 bytes: `flags` and `domid` in the low 32
//! bits, `frame` in the high ones. An entry of version 2 is 16 bytes, with the flags of use in a status word apart.
//! **Source:** `grant_table.h`.

use crate::describe::{constants, union_members, wire};
use crate::{DomId, Gfn, GrantRef, Union};

constants! {
    table CONSTANTS;
    /// Grants nothing.
    pub const GTF_INVALID: u16 = 0;
    /// The other domain may map or copy the page.
    pub const GTF_PERMIT_ACCESS: u16 = 1;
    /// The other domain may give a page for this entry.
    pub const GTF_ACCEPT_TRANSFER: u16 = 2;
    /// Version 2: the other domain may use a grant that a third domain made.
    pub const GTF_TRANSITIVE: u16 = 3;
    /// The bits that hold the kind.
    pub const GTF_TYPE_MASK: u16 = 3;
    /// Only for reading. Set by the guest.
    pub const GTF_READONLY: u16 = 1 << 2;
    /// It is mapped for reading. Set by the hypervisor.
    pub const GTF_READING: u16 = 1 << 3;
    /// It is mapped for writing. Set by the hypervisor.
    pub const GTF_WRITING: u16 = 1 << 4;
    /// Cache attribute of the mapping (x86).
    pub const GTF_PWT: u16 = 1 << 5;
    /// Cache attribute of the mapping (x86).
    pub const GTF_PCD: u16 = 1 << 6;
    /// Cache attribute of the mapping (x86).
    pub const GTF_PAT: u16 = 1 << 7;
    /// Version 2: only a part of the page, and only for copying.
    pub const GTF_SUB_PAGE: u16 = 1 << 8;
    /// With [`GTF_ACCEPT_TRANSFER`]: a page is on its way.
    pub const GTF_TRANSFER_COMMITTED: u16 = 1 << 2;
    /// With [`GTF_ACCEPT_TRANSFER`]: the page has arrived.
    pub const GTF_TRANSFER_COMPLETED: u16 = 1 << 3;
}

/// Entries of version 1 in a page of 4096 bytes.
pub const GRANT_ENTRIES_V1_PER_PAGE: u32 = 512;

/// Entries of version 2 in a page of 4096 bytes.
pub const GRANT_ENTRIES_V2_PER_PAGE: u32 = 256;

/// Status words of version 2 in a page of 4096 bytes.
pub const GRANT_STATUS_PER_PAGE: u32 = 2048;

wire! {
    /// An entry of version 1.
    pub struct GrantEntryV1: "struct grant_entry_v1" {
        /// The kind and the flags, `GTF_*`.
        pub flags: u16,
        /// Who is granted something.
        pub domid: DomId,
        /// The frame: a guest frame number, of 32 bits in this version.
        pub frame: u32,
    }

    /// The common start of all version 2 entries.
    pub struct GrantEntryHeader: "struct grant_entry_header" {
        /// The kind and the flags, `GTF_*`.
        pub flags: u16,
        /// Who is granted something.
        pub domid: DomId,
    }

    /// An entry of version 2 for a whole page, or a transfer.
    pub struct GrantV2FullPage: "__typeof__(((union grant_entry_v2 *)0)->full_page)" {
        /// The kind, the flags and the domain.
        pub hdr: GrantEntryHeader,
        /// Padding.
        pub pad0: u32,
        /// The frame.
        pub frame: Gfn as wide,
    }

    /// An entry of version 2 for a part of a page.
    pub struct GrantV2SubPage: "__typeof__(((union grant_entry_v2 *)0)->sub_page)" {
        /// The kind, the flags and the domain.
        pub hdr: GrantEntryHeader,
        /// Where the part begins, in bytes.
        pub page_off: u16,
        /// Its length in bytes.
        pub length: u16,
        /// The frame.
        pub frame: Gfn as wide,
    }

    /// An entry of version 2 that passes on a third domain's grant.
    pub struct GrantV2Transitive: "__typeof__(((union grant_entry_v2 *)0)->transitive)" {
        /// The kind, the flags and the domain.
        pub hdr: GrantEntryHeader,
        /// The third domain.
        pub trans_domid: DomId,
        /// Padding.
        pub pad0: u16,
        /// Its grant.
        pub gref: GrantRef,
    }

    /// An entry of version 2.
    pub struct GrantEntryV2: "union grant_entry_v2" {
        /// All of it, by kind.
        pub entry: Union<16> = "__spacer",
    }
}

union_members! {
    GrantEntryV2, entry:
    /// The kind, the flags and the domain.
    header, set_header: GrantEntryHeader;
    /// A whole page.
    full_page, set_full_page: GrantV2FullPage;
    /// A part of a page, with [`GTF_SUB_PAGE`].
    sub_page, set_sub_page: GrantV2SubPage;
    /// A third domain's grant, of the kind [`GTF_TRANSITIVE`].
    transitive, set_transitive: GrantV2Transitive;
}
