//! The second level of translation: from a domain's frames to the machine's (Xen's p2m).

use crate::PageOrder;
use bitflags::bitflags;
use xen_abi::{Gfn, Mfn};

bitflags! {
    /// What a guest may do to a page.
    #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
    pub struct Rights: u8 {
        const READ = 1;
        const WRITE = 1 << 1;
        const EXECUTE = 1 << 2;
    }
}

impl Rights {
    /// Everything.
    pub const ALL: Self = Self::all();
    /// Reading and writing.
    pub const DATA: Self = Self::READ.union(Self::WRITE);
}

/// What a translation stands for; kept beside it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PageKind {
    /// The domain's own memory.
    Ram = 0,
    /// A page of another domain, mapped by the toolstack.
    Foreign = 1,
    /// A page that another domain granted, writable or not as the rights say.
    Grant = 2,
    /// A page of the hypervisor's that the domain shares (shared_info, grant table frames).
    Shared = 3,
    /// Device registers; never read or written by the hypervisor through this translation.
    Mmio = 4,
}

impl PageKind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::Ram),
            1 => Some(Self::Foreign),
            2 => Some(Self::Grant),
            3 => Some(Self::Shared),
            4 => Some(Self::Mmio),
            _ => None,
        }
    }
}

/// One translation, as found for one guest frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mapping {
    /// The machine frame of the very guest frame that was asked about.
    pub mfn: Mfn,
    /// The size of the page that holds the translation.
    pub order: PageOrder,
    pub rights: Rights,
    pub kind: PageKind,
}

/// Why a translation could not be made or taken away. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MapError {
    /// No frame for a page table.
    NoMemory,
    /// Something is mapped there already.
    Occupied,
    /// The frames are not aligned to the order, or the order is not 0, 9 or 18.
    Unaligned,
    /// Beyond what the hardware can address.
    OutOfRange,
}

/// Where page tables come from and go to: the domain's own pool.
pub trait FrameSource {
    /// A frame of zeros that nobody else has, or none when the pool is empty.
    fn take(&mut self) -> Option<Mfn>;
    /// A frame that is a page table no longer. It may still be read by walks that began earlier, so it must not be
    /// used for anything but page tables of the same space before every CPU has passed a quiet point.
    fn give_back(&mut self, frame: Mfn);
}

/// The translation of one domain. Looking up takes no lock; whoever changes it holds the domain's memory lock.
pub trait NestedSpace: Send + Sync {
    /// The translation of a frame.
    fn lookup(&self, gfn: Gfn) -> Option<Mapping>;

    /// Maps `order.pages()` frames. Neighbours are joined to larger pages where they fit.
    ///
    /// **Errors:** see [`MapError`].
    fn map(&self, gfn: Gfn, mapping: Mapping, frames: &mut dyn FrameSource) -> Result<(), MapError>;

    /// Takes one 4 KiB translation away (splitting a larger page where needed) and gives what it was; none if there
    /// was nothing. Raises [`NestedSpace::generation`] when it took something.
    ///
    /// **Errors:** see [`MapError`].
    fn unmap(&self, gfn: Gfn, frames: &mut dyn FrameSource) -> Result<Option<Mapping>, MapError>;

    /// Takes the first page at or above a frame away, whole, whatever its size, and gives what it was with its first
    /// frame; none if there is nothing. Holes cost nothing. Raises [`NestedSpace::generation`] when it took something.
    fn take_next(&self, from: Gfn, frames: &mut dyn FrameSource) -> Option<(Gfn, Mapping)>;

    /// Counts the changes that make what a CPU may have cached wrong. A vCPU drops its cached translations when it
    /// enters with another number than the last time.
    fn generation(&self) -> u64;

    /// Gives every page table back; nothing is mapped afterwards. No vCPU may run in the space any more.
    fn tear_down(&self, frames: &mut dyn FrameSource);
}
