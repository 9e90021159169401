//! Nested page tables: the translation from guest frames to machine frames, which Xen calls the p2m (physical to
//! machine).

use crate::PageOrder;
use bitflags::bitflags;
use core::ops::Range;
use xen_abi::{Gfn, Mfn};

bitflags! {
    /// Access rights of a guest to a page.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Rights: u8 {
        const READ = 1;
        const WRITE = 1 << 1;
        const EXECUTE = 1 << 2;
    }
}

impl Rights {
    /// All rights.
    pub const ALL: Self = Self::all();
    /// Read and write.
    pub const DATA: Self = Self::READ.union(Self::WRITE);
}

/// The type of a p2m entry (Xen's `p2m_type`); kept beside the translation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PageKind {
    /// The domain's own memory.
    Ram = 0,
    /// A page of another domain, mapped by the toolstack.
    Foreign = 1,
    /// A page that another domain granted, writable or not as the rights say.
    Grant = 2,
    /// A page of the hypervisor that is shared with the domain (shared_info, grant table frames).
    Shared = 3,
    /// Device registers (MMIO); the hypervisor never reads or writes them through this translation.
    Mmio = 4,
    /// No page: a mark that the domain gets memory here when it is accessed (populate on demand). Its machine frame is
    /// [`mark`]'s and means nothing.
    OnDemand = 5,
}

impl PageKind {
    /// Returns the kind with this number.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Ram),
            1 => Some(Self::Foreign),
            2 => Some(Self::Grant),
            3 => Some(Self::Shared),
            4 => Some(Self::Mmio),
            5 => Some(Self::OnDemand),
            _ => None,
        }
    }
}

/// The p2m entry found for one guest frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// The machine frame of the guest frame that was looked up.
    pub mfn: Mfn,
    /// The size of the page that holds the frame: 4 KiB or a superpage.
    pub order: PageOrder,
    pub rights: Rights,
    pub kind: PageKind,
}

/// Returns a mark for populate-on-demand at a frame. Neighbours have successive machine frames, as pages of one block have,
/// so that marks split and merge as pages do.
#[must_use]
pub const fn mark(gfn: Gfn, order: PageOrder) -> Mapping {
    let mfn = Mfn(gfn.0 % PageOrder::SIZE_1G.pages());
    Mapping { mfn, order, rights: Rights::empty(), kind: PageKind::OnDemand }
}

/// Why a page could not be mapped or unmapped. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// No frame is left for a page table.
    NoMemory,
    /// A page is mapped there already.
    Occupied,
    /// The frames are not aligned to the order, or the order is not 0, 9 or 18.
    Unaligned,
    /// The frame is beyond what the hardware can address.
    OutOfRange,
}

/// The allocator of page-table pages: the domain's own pool (Xen's paging pool).
pub trait FrameSource {
    /// Takes a zeroed frame that nothing else uses; None if the pool is empty.
    fn take(&mut self) -> Option<Mfn>;
    /// Returns a frame that is no longer a page table. Walks that began earlier may still read it, so it may only be
    /// used for page tables of the same space until every CPU has passed a quiescent state.
    fn give_back(&mut self, frame: Mfn);
}

/// Words of the answer of [`NestedSpace::written`].
pub const WRITTEN_WORDS: usize = 8;

/// The nested page tables (p2m) of one domain. Lookups take no lock; changes are made under the domain's p2m lock.
pub trait NestedSpace: Send + Sync {
    /// Looks up a guest frame. A mark for populate-on-demand is no page: there is nothing.
    fn lookup(&self, gfn: Gfn) -> Option<Mapping>;

    /// Returns true if a frame lies in a mark for populate-on-demand, and the order of what is there: of the mark, of a page,
    /// or of a hole, which may be larger. Under the p2m lock.
    fn mark_at(&self, _gfn: Gfn) -> (bool, PageOrder) {
        (false, PageOrder::SIZE_4K)
    }

    /// Maps `order.pages()` frames. Neighbours are merged into superpages where they fit. Marks for populate-on-demand that
    /// are no larger give way.
    ///
    /// **Errors:** see [`MapError`].
    fn map(&self, gfn: Gfn, mapping: Mapping, frames: &mut dyn FrameSource) -> Result<(), MapError>;

    /// Unmaps one 4 KiB page (splitting a superpage if needed) and returns what was mapped; None if there was nothing.
    /// Raises [`NestedSpace::generation`] if something was unmapped.
    ///
    /// **Errors:** see [`MapError`].
    fn unmap(&self, gfn: Gfn, frames: &mut dyn FrameSource) -> Result<Option<Mapping>, MapError>;

    /// Gives a 4 KiB page (splitting a superpage if needed) other rights; does nothing where nothing is mapped. Raises
    /// [`NestedSpace::generation`]. Where a guest runs on it, the page is there all the while: otherwise an access in between
    /// would be one to a device.
    ///
    /// **Errors:** see [`MapError`].
    fn set_rights(&self, gfn: Gfn, rights: Rights, frames: &mut dyn FrameSource) -> Result<(), MapError> {
        let Some(there) = self.unmap(gfn, frames)? else { return Ok(()) };
        self.map(gfn, Mapping { rights, order: PageOrder::SIZE_4K, ..there }, frames)
    }

    /// Unmaps the first page at or above a frame, whole, whatever its size, and returns it with its first frame; None
    /// if there is none. Holes cost nothing. Raises [`NestedSpace::generation`] if something was unmapped.
    fn take_next(&self, from: Gfn, frames: &mut dyn FrameSource) -> Option<(Gfn, Mapping)>;

    /// Returns the TLB generation: it counts the changes after which cached translations are stale. A vCPU flushes its
    /// cached translations if the number differs from that of its last entry.
    fn generation(&self) -> u64;

    /// Raises [`NestedSpace::generation`], though nothing was unmapped: every vCPU flushes its cached translations, the
    /// guest's own among them, before it next runs guest code.
    fn flush(&self);

    /// Sets the range of frames whose pages are tracked (dirty logging): the domain's own memory that the guest may write.
    /// What is mapped in it from now on counts as written; [`NestedSpace::retrack`] makes the rest follow. An empty range
    /// tracks nothing.
    fn set_tracked(&self, frames: Range<u64>);

    /// Makes pages that are mapped already follow [`NestedSpace::set_tracked`], from a frame on and for about a table of
    /// them: a page that becomes tracked counts as not written. Returns where to go on; None if that was all. Writes are
    /// seen once the caller has flushed ([`NestedSpace::flush`]).
    fn retrack(&self, from: Gfn, frames: &mut dyn FrameSource) -> Option<Gfn>;

    /// Returns a bit for each of the 512 frames from `first` on, a multiple of 512: set if the frame is tracked and was
    /// written. With `clean` they count as not written from the next flush on.
    fn written(&self, first: Gfn, clean: bool, frames: &mut dyn FrameSource) -> [u64; WRITTEN_WORDS];

    /// Notes a write to a frame that the guest did not do itself. Takes no lock.
    fn note_written(&self, gfn: Gfn);

    /// Lets the guest write to a superpage that is write-protected because it is tracked: it is split, or counts as written
    /// as a whole if no frame is left for a table. Returns false if no such page is there; true also if it is writable by
    /// now, and the guest may try again.
    fn permit_write(&self, gfn: Gfn, frames: &mut dyn FrameSource) -> bool;

    /// Frees every page table; nothing is mapped afterwards. No vCPU may run in the space any more.
    fn tear_down(&self, frames: &mut dyn FrameSource);
}
