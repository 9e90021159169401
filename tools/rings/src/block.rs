//! Requests of block devices, checked: what a front end asks for lies on the disk and in its pages, or is refused.

use std::fmt;

use xen_abi::io::blkif::{
    BLKIF_OP_DISCARD, BLKIF_OP_FLUSH_DISKCACHE, BLKIF_OP_INDIRECT, BLKIF_OP_READ, BLKIF_OP_WRITE, BLKIF_RSP_EOPNOTSUPP,
    BLKIF_RSP_ERROR, BlkifRequest, BlkifRequestDiscard, BlkifRequestIndirect, BlkifRequestSegment, BlkifResponse,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::Shared;

/// Bytes of a sector, whatever the device, and the base 2 logarithm of that.
const SECTOR: u16 = 1 << SECTOR_BITS;
const SECTOR_BITS: u32 = 9;
/// Segments in a page of an indirect request.
const SEGMENTS_IN_PAGE: usize = 4096 / size_of::<BlkifRequestSegment>();
/// The last sector of a page.
const LAST_IN_PAGE: u8 = 7;

/// A disk, as far as requests are checked against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its length in sectors of 512 bytes.
    pub sectors: u64,
    pub writable: bool,
    /// The most segments of an indirect request, as told in `feature-max-indirect-segments`; 0 where none are offered.
    pub indirect_segments: u16,
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
    /// A read or a write whose segments stand in pages of their own; [`IndirectRequest::segments`] checks them.
    Indirect(IndirectRequest),
}

/// A read or a write whose segments stand in pages of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndirectRequest {
    pub id: u64,
    /// It writes the disk, and does not read it.
    pub is_write: bool,
    pub sector: u64,
    /// How many segments there are: 1 to what the disk offers.
    count: u16,
    /// References of the pages that they stand in, in their order.
    pub pages: Vec<u32>,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// An operation that is not offered.
    Operation(u8),
    /// None, or more segments than a request has.
    Segments(u16),
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
            Self::Segments(count) => write!(f, "{count} segments are not as many as a request may have"),
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
            BLKIF_OP_INDIRECT => self.check_indirect(request).map(BlockRequest::Indirect),
            other => Err(BlockError::Operation(other)),
        }
    }

    fn check_indirect(&self, request: &BlkifRequest) -> Result<IndirectRequest, BlockError> {
        let refused = BlockError::Operation(request.operation);
        let (indirect, _) = BlkifRequestIndirect::read_from_prefix(request.as_bytes()).map_err(|_| refused)?;
        let is_write = match indirect.indirect_op {
            _ if self.indirect_segments == 0 => return Err(refused),
            BLKIF_OP_READ => false,
            BLKIF_OP_WRITE => true,
            other => return Err(BlockError::Operation(other)),
        };
        if is_write && !self.writable {
            return Err(BlockError::ReadOnly);
        }
        let count = indirect.nr_segments;
        let pages = usize::from(count).div_ceil(SEGMENTS_IN_PAGE);
        match indirect.indirect_grefs.get(..pages) {
            Some(listed) if count > 0 && count <= self.indirect_segments => {
                let pages = listed.iter().map(|page| page.0).collect();
                Ok(IndirectRequest { id: indirect.id, is_write, sector: indirect.sector_number, count, pages })
            }
            _ => Err(BlockError::Segments(count)),
        }
    }

    fn check_sectors(&self, first: u64, count: u64) -> Result<(), BlockError> {
        match first.checked_add(count) {
            Some(end) if end <= self.sectors && count > 0 => Ok(()),
            _ => Err(BlockError::Sectors { first, count }),
        }
    }
}

impl IndirectRequest {
    /// Copies the segments out of their pages, which are mapped in the order of [`IndirectRequest::pages`], and returns the
    /// request that they make. Each page is read once: what the front end changes afterwards does not count.
    ///
    /// **Errors:** [`BlockError`]; [`BlockError::response`] is what the front end is to be told.
    pub fn segments<M: Shared>(&self, disk: &Disk, pages: &[M]) -> Result<BlockRequest, BlockError> {
        let mut left = usize::from(self.count);
        let mut segments = Vec::with_capacity(left);
        for page in pages.iter().take(self.pages.len()) {
            let mut listed = [BlkifRequestSegment::default(); SEGMENTS_IN_PAGE];
            let now = listed.get_mut(..left.min(SEGMENTS_IN_PAGE)).unwrap_or_default();
            page.read(0, now.as_mut_bytes());
            left = left.saturating_sub(now.len());
            for listed in now.iter() {
                segments.push(segment(listed)?);
            }
        }
        if left > 0 {
            return Err(BlockError::Segments(self.count));
        }
        let (id, sector) = (self.id, self.sector);
        disk.check_sectors(sector, total(&segments))?;
        Ok(match self.is_write {
            true => BlockRequest::Write { id, sector, segments },
            false => BlockRequest::Read { id, sector, segments },
        })
    }
}

fn segments(request: &BlkifRequest) -> Result<Vec<Segment>, BlockError> {
    let count = usize::from(request.nr_segments);
    let listed = request.seg.get(..count).filter(|listed| !listed.is_empty());
    listed.ok_or(BlockError::Segments(request.nr_segments.into()))?.iter().map(segment).collect()
}

fn segment(segment: &BlkifRequestSegment) -> Result<Segment, BlockError> {
    let (first, last) = (segment.first_sect, segment.last_sect);
    let count = last.checked_sub(first).filter(|_| last <= LAST_IN_PAGE).ok_or(BlockError::Segment { first, last })?;
    let (offset, length) = (u16::from(first), u16::from(count).saturating_add(1));
    Ok(Segment { grant: segment.gref.0, offset: offset.saturating_mul(SECTOR), length: length.saturating_mul(SECTOR) })
}

/// Returns how many sectors segments are together; at most 8 for each.
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
