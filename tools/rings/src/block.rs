//! Requests of block devices, checked: what a front end asks for lies on the disk and in its pages, or is refused.

use std::fmt;

use xen_abi::io::blkif::{
    BLKIF_MAX_SEGMENTS_PER_REQUEST, BLKIF_OP_DISCARD, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_READ, BLKIF_OP_WRITE,
    BLKIF_RSP_EOPNOTSUPP, BLKIF_RSP_ERROR, BlkifRequest, BlkifRequestDiscard, BlkifRequestSegment, BlkifResponse,
};
use zerocopy::{FromBytes, IntoBytes};

/// Bytes of a sector, whatever the device, and the base 2 logarithm of that.
const SECTOR: u16 = 1 << SECTOR_BITS;
const SECTOR_BITS: u32 = 9;
/// The last sector of a page.
const LAST_IN_PAGE: u8 = 7;

/// A disk, as far as requests are checked against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its length in sectors of 512 bytes.
    pub sectors: u64,
    pub writable: bool,
}

/// A run of bytes in one granted page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The reference of the page's grant.
    pub grant: u32,
    /// Where it begins in the page, in bytes.
    pub offset: u16,
    /// Its length in bytes: a multiple of 512; offset and length stay within the page.
    pub length: u16,
}

/// A request that can be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockRequest {
    /// Fills the segments from the disk.
    Read { id: u64, sector: u64, segments: Vec<Segment> },
    /// Writes the segments to the disk.
    Write { id: u64, sector: u64, segments: Vec<Segment> },
    /// Makes all that was written last.
    Flush { id: u64 },
    /// Drops what these sectors hold.
    Discard { id: u64, sector: u64, sectors: u64 },
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// An operation that is not offered.
    Operation(u8),
    /// None, or more segments than a request has.
    Segments(u8),
    /// A segment that does not lie in its page.
    Segment { first: u8, last: u8 },
    /// Sectors that the disk does not have.
    Sectors { first: u64, count: u64 },
    /// A disk that is only read.
    ReadOnly,
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(operation) => write!(f, "operation {operation} is not offered"),
            Self::Segments(count) => write!(f, "{count} segments are not 1 to {BLKIF_MAX_SEGMENTS_PER_REQUEST}"),
            Self::Segment { first, last } => write!(f, "sectors {first} to {last} do not lie in a page"),
            Self::Sectors { first, count } => write!(f, "the disk has not {count} sectors from {first} on"),
            Self::ReadOnly => f.write_str("the disk is only read"),
        }
    }
}

impl std::error::Error for BlockError {}

impl Disk {
    /// Checks a request, of which a copy was taken.
    ///
    /// **Errors:** [`BlockError`]; [`BlockError::response`] is what the front end is to be told.
    pub fn check(&self, request: &BlkifRequest) -> Result<BlockRequest, BlockError> {
        let (id, sector) = (request.id, request.sector_number);
        match request.operation {
            BLKIF_OP_READ => {
                let segments = segments(request)?;
                self.check_sectors(sector, total(&segments))?;
                Ok(BlockRequest::Read { id, sector, segments })
            }
            BLKIF_OP_WRITE => {
                let segments = segments(request)?;
                self.check_sectors(sector, total(&segments))?;
                if self.writable { Ok(BlockRequest::Write { id, sector, segments }) } else { Err(BlockError::ReadOnly) }
            }
            BLKIF_OP_FLUSH_DISKCACHE => Ok(BlockRequest::Flush { id }),
            BLKIF_OP_DISCARD => {
                let Ok((discard, _)) = BlkifRequestDiscard::read_from_prefix(request.as_bytes()) else {
                    return Err(BlockError::Operation(request.operation));
                };
                self.check_sectors(sector, discard.nr_sectors)?;
                if !self.writable {
                    return Err(BlockError::ReadOnly);
                }
                Ok(BlockRequest::Discard { id, sector, sectors: discard.nr_sectors })
            }
            other => Err(BlockError::Operation(other)),
        }
    }

    fn check_sectors(&self, first: u64, count: u64) -> Result<(), BlockError> {
        match first.checked_add(count) {
            Some(end) if end <= self.sectors && count > 0 => Ok(()),
            _ => Err(BlockError::Sectors { first, count }),
        }
    }
}

fn segments(request: &BlkifRequest) -> Result<Vec<Segment>, BlockError> {
    let count = usize::from(request.nr_segments);
    let listed = request.seg.get(..count).filter(|listed| !listed.is_empty());
    listed.ok_or(BlockError::Segments(request.nr_segments))?.iter().map(segment).collect()
}

fn segment(segment: &BlkifRequestSegment) -> Result<Segment, BlockError> {
    let (first, last) = (segment.first_sect, segment.last_sect);
    let count = last.checked_sub(first).filter(|_| last <= LAST_IN_PAGE).ok_or(BlockError::Segment { first, last })?;
    let (offset, length) = (u16::from(first), u16::from(count).saturating_add(1));
    Ok(Segment { grant: segment.gref.0, offset: offset.saturating_mul(SECTOR), length: length.saturating_mul(SECTOR) })
}

/// Returns how many sectors segments are together; at most 8 for each of 11.
fn total(segments: &[Segment]) -> u64 {
    let bytes: u64 = segments.iter().map(|segment| u64::from(segment.length)).sum();
    bytes >> SECTOR_BITS
}

impl BlockError {
    /// Returns the response to the request that is refused.
    #[must_use]
    pub fn response(&self, request: &BlkifRequest) -> BlkifResponse {
        let status = if matches!(self, Self::Operation(_)) { BLKIF_RSP_EOPNOTSUPP } else { BLKIF_RSP_ERROR };
        BlkifResponse { id: request.id, operation: request.operation, status, ..BlkifResponse::default() }
    }
}
