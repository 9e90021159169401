//! Grant tables: what a domain asks for about pages that domains lend each other.
//!
//! Hypercall [`GRANT_TABLE_OP`](crate::hypercall::GRANT_TABLE_OP): `(operation, pointer to an array of arguments,
//! its length)`. Each element has a status of its own, a `GNTST_*`; the hypercall's result is an errno only if the
//! call as a whole failed. The entries of the table itself are in [`crate::grant_entry`].
//! **Source:** `grant_table.h`.

use crate::describe::{constants, flags, union_members, wire};
use crate::{DomId, Gfn, GrantHandle, GrantRef, GuestHandle, Mfn, Union};

constants! {
    table CONSTANTS;
    /// Maps another domain's page; [`GnttabMapGrantRef`].
    pub const GNTTABOP_MAP_GRANT_REF: u32 = 0;
    /// Unmaps it; [`GnttabUnmapGrantRef`].
    pub const GNTTABOP_UNMAP_GRANT_REF: u32 = 1;
    /// Grows a domain's table to a number of frames and returns them; [`GnttabSetupTable`].
    pub const GNTTABOP_SETUP_TABLE: u32 = 2;
    /// Prints a domain's table on the console; [`GnttabDumpTable`].
    pub const GNTTABOP_DUMP_TABLE: u32 = 3;
    /// Transfers a page to another domain, PV only; [`GnttabTransfer`].
    pub const GNTTABOP_TRANSFER: u32 = 4;
    /// Copies between pages; [`GnttabCopy`].
    pub const GNTTABOP_COPY: u32 = 5;
    /// Asks for the table's size; [`GnttabQuerySize`].
    pub const GNTTABOP_QUERY_SIZE: u32 = 6;
    /// Unmaps a grant and maps another page in its place, PV only; [`GnttabUnmapAndReplace`].
    pub const GNTTABOP_UNMAP_AND_REPLACE: u32 = 7;
    /// Chooses the version of the grant table; [`GnttabSetVersion`].
    pub const GNTTABOP_SET_VERSION: u32 = 8;
    /// Returns the frames of the status words; [`GnttabGetStatusFrames`].
    pub const GNTTABOP_GET_STATUS_FRAMES: u32 = 9;
    /// Asks for the version of the grant table; [`GnttabGetVersion`].
    pub const GNTTABOP_GET_VERSION: u32 = 10;
    /// Swaps two entries; [`GnttabSwapGrantRef`].
    pub const GNTTABOP_SWAP_GRANT_REF: u32 = 11;
    /// Cleans or invalidates the CPU caches of a granted page; [`GnttabCacheFlush`].
    pub const GNTTABOP_CACHE_FLUSH: u32 = 12;

    /// How many entries at the start of the table are for the toolstack.
    pub const GNTTAB_NR_RESERVED_ENTRIES: u32 = 8;
    /// The entry for the console ring.
    pub const GNTTAB_RESERVED_CONSOLE: u32 = 0;
    /// The entry for the xenstore ring.
    pub const GNTTAB_RESERVED_XENSTORE: u32 = 1;

    /// Done.
    pub const GNTST_OKAY: i16 = 0;
    /// Failed for a reason without a number of its own.
    pub const GNTST_GENERAL_ERROR: i16 = -1;
    /// No such domain.
    pub const GNTST_BAD_DOMAIN: i16 = -2;
    /// No such grant, or not one for this use.
    pub const GNTST_BAD_GNTREF: i16 = -3;
    /// No such mapping, or not one for this use.
    pub const GNTST_BAD_HANDLE: i16 = -4;
    /// The address to map at is wrong.
    pub const GNTST_BAD_VIRT_ADDR: i16 = -5;
    /// The device address to unmap is wrong.
    pub const GNTST_BAD_DEV_ADDR: i16 = -6;
    /// The IOMMU has no room.
    pub const GNTST_NO_DEVICE_SPACE: i16 = -7;
    /// The caller may not do this.
    pub const GNTST_PERMISSION_DENIED: i16 = -8;
    /// The page is not one for this use.
    pub const GNTST_BAD_PAGE: i16 = -9;
    /// A copy would cross the end of a page.
    pub const GNTST_BAD_COPY_ARG: i16 = -10;
    /// The page's address is too large for the receiver.
    pub const GNTST_ADDRESS_TOO_BIG: i16 = -11;
    /// Not done; try again.
    pub const GNTST_EAGAIN: i16 = -12;
    /// No room for a handle or the like.
    pub const GNTST_NO_SPACE: i16 = -13;

    /// [`GnttabCacheFlush::op`]: write the caches back.
    pub const GNTTAB_CACHE_CLEAN: u32 = 1 << 0;
    /// [`GnttabCacheFlush::op`]: drop what the caches hold.
    pub const GNTTAB_CACHE_INVAL: u32 = 1 << 1;
    /// [`GnttabCacheFlush::op`]: the page is named by a grant reference.
    pub const GNTTAB_CACHE_SOURCE_GREF: u32 = 1 << 31;
}

/// The status of one element of a grant operation: a `GNTST_*`, 0 or negative.
pub type GrantStatus = i16;

flags! {
    /// Flags of [`GnttabMapGrantRef`]. Bits 16 and up go to the guest's own bits of the page table entry.
    pub struct GrantMapFlags("GNTMAP_"): u32 {
        /// Devices are to reach the page.
        const DEVICE_MAP = 1 << 0;
        /// CPUs are to reach the page.
        const HOST_MAP = 1 << 1;
        /// Only for reading.
        const READONLY = 1 << 2;
        /// Also for user space, PV only.
        const APPLICATION_MAP = 1 << 3;
        /// `host_addr` is the machine address of a page table entry, PV only.
        const CONTAINS_PTE = 1 << 4;
    }

    /// Flags of [`GnttabCopy`].
    pub struct GrantCopyFlags("GNTCOPY_"): u16 {
        /// The source is a grant reference, not a frame.
        const SOURCE_GREF = 1 << 0;
        /// The destination is a grant reference, not a frame.
        const DEST_GREF = 1 << 1;
    }
}

wire! {
    /// Arguments of [`GNTTABOP_MAP_GRANT_REF`].
    pub struct GnttabMapGrantRef: "struct gnttab_map_grant_ref" {
        /// In: where to map, with [`GrantMapFlags::HOST_MAP`]: a guest physical address for a translated guest.
        pub host_addr: u64,
        /// In: flags.
        pub flags: GrantMapFlags,
        /// In: the grant reference of the granting domain.
        pub gref: GrantRef = "ref",
        /// In: the granting domain.
        pub dom: DomId,
        /// Out: a `GNTST_*`.
        pub status: GrantStatus,
        /// Out: what to unmap it by.
        pub handle: GrantHandle,
        /// Out: the address by which devices reach the page.
        pub dev_bus_addr: u64,
    }

    /// Arguments of [`GNTTABOP_UNMAP_GRANT_REF`].
    pub struct GnttabUnmapGrantRef: "struct gnttab_unmap_grant_ref" {
        /// In: where it is mapped for CPUs; 0 leaves that mapping.
        pub host_addr: u64,
        /// In: where it is mapped for devices; 0 leaves that mapping.
        pub dev_bus_addr: u64,
        /// In: the mapping.
        pub handle: GrantHandle,
        /// Out: a `GNTST_*`.
        pub status: GrantStatus,
        /// Padding.
        pub pad: [u8; 2],
    }

    /// Arguments of [`GNTTABOP_SETUP_TABLE`].
    pub struct GnttabSetupTable: "struct gnttab_setup_table" {
        /// In: whose table.
        pub dom: DomId,
        /// Padding.
        pub pad0: [u8; 2],
        /// In: the least number of frames, and the length of the list.
        pub nr_frames: u32,
        /// Out: a `GNTST_*`.
        pub status: GrantStatus,
        /// Padding.
        pub pad1: [u8; 6],
        /// Out: the frames.
        pub frame_list: GuestHandle<Gfn>,
    }

    /// Arguments of [`GNTTABOP_DUMP_TABLE`].
    pub struct GnttabDumpTable: "struct gnttab_dump_table" {
        /// In: whose table.
        pub dom: DomId,
        /// Out: a `GNTST_*`.
        pub status: GrantStatus,
    }

    /// Arguments of [`GNTTABOP_TRANSFER`].
    pub struct GnttabTransfer: "struct gnttab_transfer" {
        /// In: the page.
        pub mfn: Mfn,
        /// In: who gets it.
        pub domid: DomId,
        /// Padding.
        pub pad0: [u8; 2],
        /// In: the receiver's grant that accepts it.
        pub gref: GrantRef = "ref",
        /// Out: a `GNTST_*`.
        pub status: GrantStatus,
        /// Padding.
        pub pad1: [u8; 6],
    }

    /// One end of a [`GnttabCopy`].
    pub struct GnttabCopyPtr: "struct gnttab_copy_ptr" {
        /// In: a grant reference or a frame.
        pub u: Union<8> as long,
        /// In: whose.
        pub domid: DomId,
        /// In: offset in the page, in bytes.
        pub offset: u16,
        /// Padding.
        pub pad: [u8; 4],
    }

    /// Arguments of [`GNTTABOP_COPY`]. No copy crosses the end of a page.
    pub struct GnttabCopy: "struct gnttab_copy" {
        /// In: from where.
        pub source: GnttabCopyPtr,
        /// In: to where.
        pub dest: GnttabCopyPtr,
        /// In: the number of bytes.
        pub len: u16,
        /// In: flags.
        pub flags: GrantCopyFlags,
        /// Out: a `GNTST_*`.
        pub status: GrantStatus,
        /// Padding.
        pub pad: [u8; 2],
    }

    /// Arguments of [`GNTTABOP_QUERY_SIZE`].
    pub struct GnttabQuerySize: "struct gnttab_query_size" {
        /// In: whose table.
        pub dom: DomId,
        /// Padding.
        pub pad0: [u8; 2],
        /// Out: how many frames it has now.
        pub nr_frames: u32,
        /// Out: how many it may have.
        pub max_nr_frames: u32,
        /// Out: a `GNTST_*`.
        pub status: GrantStatus,
        /// Padding.
        pub pad1: [u8; 2],
    }

    /// Arguments of [`GNTTABOP_UNMAP_AND_REPLACE`].
    pub struct GnttabUnmapAndReplace: "struct gnttab_unmap_and_replace" {
        /// In: where it is mapped.
        pub host_addr: u64,
        /// In: an address whose page takes the place.
        pub new_addr: u64,
        /// In: the mapping.
        pub handle: GrantHandle,
        /// Out: a `GNTST_*`.
        pub status: GrantStatus,
        /// Padding.
        pub pad: [u8; 2],
    }

    /// Arguments of [`GNTTABOP_SET_VERSION`].
    pub struct GnttabSetVersion: "struct gnttab_set_version" {
        /// In: 1 or 2. Out: the version in use.
        pub version: u32,
    }

    /// Arguments of [`GNTTABOP_GET_STATUS_FRAMES`].
    pub struct GnttabGetStatusFrames: "struct gnttab_get_status_frames" {
        /// In: the length of the list.
        pub nr_frames: u32,
        /// In: whose table.
        pub dom: DomId,
        /// Out: a `GNTST_*`.
        pub status: GrantStatus,
        /// Out: the frames.
        pub frame_list: GuestHandle<u64>,
    }

    /// Arguments of [`GNTTABOP_GET_VERSION`].
    pub struct GnttabGetVersion: "struct gnttab_get_version" {
        /// In: whose table.
        pub dom: DomId,
        /// Padding.
        pub pad: u16,
        /// Out: 1 or 2.
        pub version: u32,
    }

    /// Arguments of [`GNTTABOP_SWAP_GRANT_REF`].
    pub struct GnttabSwapGrantRef: "struct gnttab_swap_grant_ref" {
        /// In: one of the caller's grants.
        pub ref_a: GrantRef,
        /// In: the other.
        pub ref_b: GrantRef,
        /// Out: a `GNTST_*`.
        pub status: GrantStatus,
        /// Padding.
        pub pad: [u8; 2],
    }

    /// Arguments of [`GNTTABOP_CACHE_FLUSH`].
    pub struct GnttabCacheFlush: "struct gnttab_cache_flush" {
        /// In: a device address or a grant reference.
        pub a: Union<8>,
        /// In: offset in the page, in bytes.
        pub offset: u16,
        /// In: length in bytes.
        pub length: u16,
        /// In: `GNTTAB_CACHE_*`.
        pub op: u32,
    }
}

union_members! {
    GnttabCopyPtr, u:
    /// With [`GrantCopyFlags`] for this end: the grant.
    gref, set_gref: GrantRef;
    /// Without: the frame.
    gfn, set_gfn: Gfn;
}

union_members! {
    GnttabCacheFlush, a:
    /// With [`GNTTAB_CACHE_SOURCE_GREF`]: the grant.
    gref, set_gref: GrantRef;
    /// Without: the address by which devices reach the page.
    dev_bus_addr, set_dev_bus_addr: u64;
}
