//! Block devices: the entries of the ring. Sectors have 512 bytes, whatever the device.
//!
//! **Source:** `io/blkif.h`.

use crate::GrantRef;
use crate::describe::{constants, wire};

constants! {
    table CONSTANTS;
    /// Reads.
    pub const BLKIF_OP_READ: u8 = 0;
    /// Writes.
    pub const BLKIF_OP_WRITE: u8 = 1;
    /// Writes after all before, and before all after it.
    pub const BLKIF_OP_WRITE_BARRIER: u8 = 2;
    /// Makes all that was written last.
    pub const BLKIF_OP_FLUSH_DISKCACHE: u8 = 3;
    /// Discards (trims) sectors; [`BlkifRequestDiscard`].
    pub const BLKIF_OP_DISCARD: u8 = 5;
    /// Reads or writes many segments; [`BlkifRequestIndirect`].
    pub const BLKIF_OP_INDIRECT: u8 = 6;
    /// The most segments of a [`BlkifRequest`].
    pub const BLKIF_MAX_SEGMENTS_PER_REQUEST: usize = 11;
    /// The most pages of segments of a [`BlkifRequestIndirect`].
    pub const BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST: usize = 8;
    /// [`BlkifRequestDiscard::flag`]: beyond recovery.
    pub const BLKIF_DISCARD_SECURE: u8 = 1;
    /// [`BlkifResponse::status`]: done.
    pub const BLKIF_RSP_OKAY: i16 = 0;
    /// [`BlkifResponse::status`]: failed.
    pub const BLKIF_RSP_ERROR: i16 = -1;
    /// [`BlkifResponse::status`]: the operation is not offered.
    pub const BLKIF_RSP_EOPNOTSUPP: i16 = -2;
    /// The device holds a CD.
    pub const VDISK_CDROM: u32 = 1;
    /// The device can be taken out.
    pub const VDISK_REMOVABLE: u32 = 2;
    /// The device cannot be written.
    pub const VDISK_READONLY: u32 = 4;
    /// How many entries a ring of one page has.
    pub const BLKIF_RING_ENTRIES: u32 = 32 => "__CONST_RING_SIZE(blkif, 4096)";
}

wire! {
    fixed;

    /// A run of sectors in one granted page.
    pub struct BlkifRequestSegment: "struct blkif_request_segment" {
        /// The page.
        pub gref: GrantRef,
        /// The first sector of 512 bytes in it, 0 to 7.
        pub first_sect: u8,
        /// The last sector of 512 bytes in it, 0 to 7.
        pub last_sect: u8,
        /// Padding.
        pub pad: [u8; 2],
    }

    /// A request.
    pub struct BlkifRequest: "struct blkif_request" {
        /// A `BLKIF_OP_*`.
        pub operation: u8,
        /// The number of segments.
        pub nr_segments: u8,
        /// The device.
        pub handle: u16,
        /// Padding.
        pub pad: [u8; 4],
        /// What the response repeats.
        pub id: u64,
        /// The first sector on the device, in units of 512 bytes.
        pub sector_number: u64,
        /// The segments.
        pub seg: [BlkifRequestSegment; BLKIF_MAX_SEGMENTS_PER_REQUEST],
    }

    /// A request of [`BLKIF_OP_DISCARD`].
    pub struct BlkifRequestDiscard: "struct blkif_request_discard" {
        /// [`BLKIF_OP_DISCARD`].
        pub operation: u8,
        /// 0 or [`BLKIF_DISCARD_SECURE`].
        pub flag: u8,
        /// The device.
        pub handle: u16,
        /// Padding.
        pub pad: [u8; 4],
        /// What the response repeats.
        pub id: u64,
        /// The first sector on the device, in units of 512 bytes.
        pub sector_number: u64,
        /// The number of sectors of 512 bytes.
        pub nr_sectors: u64,
    }

    /// A request of [`BLKIF_OP_INDIRECT`].
    pub struct BlkifRequestIndirect: "struct blkif_request_indirect" {
        /// [`BLKIF_OP_INDIRECT`].
        pub operation: u8,
        /// [`BLKIF_OP_READ`] or [`BLKIF_OP_WRITE`].
        pub indirect_op: u8,
        /// The number of segments.
        pub nr_segments: u16,
        /// Padding.
        pub pad0: [u8; 4],
        /// What the response repeats.
        pub id: u64,
        /// The first sector on the device, in units of 512 bytes.
        pub sector_number: u64,
        /// The device.
        pub handle: u16,
        /// Padding.
        pub pad1: [u8; 2],
        /// Pages full of [`BlkifRequestSegment`].
        pub indirect_grefs: [GrantRef; BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST],
        /// Padding.
        pub pad2: [u8; 4],
    }

    /// A response.
    pub struct BlkifResponse: "struct blkif_response" {
        /// The request's.
        pub id: u64,
        /// The request's.
        pub operation: u8,
        /// Padding.
        pub pad0: u8,
        /// A `BLKIF_RSP_*`.
        pub status: i16,
        /// Padding.
        pub pad1: [u8; 4],
    }
}
