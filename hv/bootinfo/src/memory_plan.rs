//! Which RAM serves what at boot: the first page tables, the hypervisor's heap, the page where other CPUs start, and
//! the rest for domains.

use arrayvec::ArrayVec;

use crate::fault::BootFault;
use crate::info::BootInfo;
use crate::memory_map::MAP_ENTRIES;
use crate::range::MachineRange;

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// What the boot page tables map: the first page tables and all that is read before them lies below.
const BOOT_REACH: u64 = 4 * GIB;
/// Pieces of free RAM: each range that is taken out can split one entry in two.
const PIECES: usize = MAP_ENTRIES + 32;

/// Which RAM serves what. All ranges are whole pages of RAM, and no two of them overlap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPlan {
    /// For page tables and the boot CPU's stacks, below 4 GiB; given out from its start.
    pub early: MachineRange,
    /// The hypervisor's heap; [`heap_bytes`] long.
    pub heap: MachineRange,
    /// A page below 640 KiB, where a CPU in real mode can start; none when the loader has left no such page.
    pub start_page: Option<u64>,
    /// All other RAM from 1 MiB on, except image and modules, lowest first. Below 1 MiB the firmware's data lives.
    pub free: ArrayVec<MachineRange, PIECES>,
}

/// Returns how large the heap is during boot on a machine with `ram_bytes` of RAM, in bytes: the tables of frames take
/// a part in 240, and unpacking dom0's kernel takes room for a while. What is left over is given back.
#[must_use]
pub fn heap_bytes(ram_bytes: u64) -> u64 {
    let share = (ram_bytes / 32).clamp(72 * MIB, GIB).max(ram_bytes / 128);
    // On a very small machine there must be something left for dom0.
    share.min(ram_bytes / 4) & !(2 * MIB - 1)
}

impl MemoryPlan {
    /// Plans for the machine that `info` describes, with the hypervisor at `image`.
    ///
    /// **Errors:** `TooLittleRam` when no piece is large enough for the heap or the first page tables.
    pub fn new(info: &BootInfo, image: MachineRange) -> Result<Self, BootFault> {
        let mut pieces = Pieces::new(info, image)?;
        let top = info.memory.ram().last().map_or(0, |range| range.end);
        // A page table for each GiB, twice over for holes, and room for the stacks and the image's own tables.
        let early_bytes = MIB.saturating_add((top / GIB).saturating_mul(2 * PAGE));
        let early = pieces.take_high(early_bytes, PAGE, BOOT_REACH).ok_or(BootFault::TooLittleRam)?;
        let heap =
            pieces.take_high(heap_bytes(info.memory.ram_bytes()), 2 * MIB, u64::MAX).ok_or(BootFault::TooLittleRam)?;
        Ok(Self { early, heap, start_page: start_page(info), free: pieces.0 })
    }

    /// Returns how many bytes of RAM are left for domains.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        self.free.iter().fold(0, |sum, range| sum.saturating_add(range.length()))
    }
}

/// Free RAM in pieces, lowest first.
struct Pieces(ArrayVec<MachineRange, PIECES>);

impl Pieces {
    fn new(info: &BootInfo, image: MachineRange) -> Result<Self, BootFault> {
        let mut pieces = Self(ArrayVec::new());
        let usable = info.memory.ram().filter_map(|range| MachineRange::between(range.start.max(MIB), range.end));
        for range in usable.filter_map(|range| range.shrink_to(PAGE)) {
            pieces.0.try_push(range).map_err(|_| BootFault::NoRam)?;
        }
        pieces.cut(image.grow_to(PAGE));
        for module in info.modules() {
            pieces.cut(module.range.grow_to(PAGE));
        }
        Ok(pieces)
    }

    /// Removes `hole` from all pieces. A piece that would need an entry more than there are is lost: that RAM is not
    /// used.
    fn cut(&mut self, hole: MachineRange) {
        let mut left = ArrayVec::new();
        for piece in self.0.iter().flat_map(|piece| piece.without(hole)).flatten() {
            let _ = left.try_push(piece);
        }
        self.0 = left;
    }

    /// Takes `length` bytes, aligned to `block`, from the highest piece that has them below `limit`.
    fn take_high(&mut self, length: u64, block: u64, limit: u64) -> Option<MachineRange> {
        let length = length.checked_next_multiple_of(block).filter(|length| *length > 0)?;
        let taken = self.0.iter().rev().find_map(|piece| {
            let usable = MachineRange::between(piece.start, piece.end.min(limit))?.shrink_to(block)?;
            let start = usable.end.checked_sub(length).filter(|start| *start >= usable.start)?;
            MachineRange::new(start, length)
        })?;
        self.cut(taken);
        Some(taken)
    }
}

/// Returns the highest page of RAM below 640 KiB that no module lies on. Page 0 holds the firmware's vectors.
fn start_page(info: &BootInfo) -> Option<u64> {
    let is_free = |page: &MachineRange| {
        info.memory.is_ram(*page) && !info.modules().iter().any(|module| module.range.overlaps(*page))
    };
    (1..160_u64)
        .rev()
        .filter_map(|number| MachineRange::new(number.checked_mul(PAGE)?, PAGE))
        .find(is_free)
        .map(|page| page.start)
}
