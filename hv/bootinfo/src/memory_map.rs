//! The machine's memory map: sorted, without overlaps, touching entries of one kind joined.

use arrayvec::ArrayVec;

use crate::fault::{BootFault, Table};
use crate::range::MachineRange;

/// The most entries that a memory map may have.
pub const MAP_ENTRIES: usize = 512;

/// What a stretch of the address space is. **Source:** ACPI 6.5, 15.1 (the numbers of E820).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryKind {
    /// Ordinary memory.
    Ram,
    /// Not to be touched; also every number that ACPI does not name.
    Reserved,
    /// RAM with ACPI tables.
    AcpiReclaimable,
    /// RAM that the firmware keeps over sleep.
    AcpiNvs,
    /// RAM with errors.
    Unusable,
    /// Memory that keeps its contents without power.
    Persistent,
}

impl MemoryKind {
    /// Returns the kind that E820 gives this number; `Reserved` for a number that ACPI does not name.
    #[must_use]
    pub const fn from_e820(number: u32) -> Self {
        match number {
            1 => Self::Ram,
            3 => Self::AcpiReclaimable,
            4 => Self::AcpiNvs,
            5 => Self::Unusable,
            7 => Self::Persistent,
            _ => Self::Reserved,
        }
    }

    /// Returns E820's number for the kind.
    #[must_use]
    pub const fn to_e820(self) -> u32 {
        match self {
            Self::Ram => 1,
            Self::Reserved => 2,
            Self::AcpiReclaimable => 3,
            Self::AcpiNvs => 4,
            Self::Unusable => 5,
            Self::Persistent => 7,
        }
    }

    /// Returns the word that Xen's boot log uses for the kind.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ram => "usable",
            Self::Reserved => "reserved",
            Self::AcpiReclaimable => "ACPI data",
            Self::AcpiNvs => "ACPI NVS",
            Self::Unusable => "unusable",
            Self::Persistent => "persistent",
        }
    }
}

/// One entry of the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryRegion {
    /// Its machine addresses.
    pub range: MachineRange,
    /// What it is used for.
    pub kind: MemoryKind,
}

/// A memory map of at most [`MAP_ENTRIES`] entries, lowest first once [`MemoryMap::finish`] has run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryMap {
    regions: ArrayVec<MemoryRegion, MAP_ENTRIES>,
    seen: usize,
}

impl MemoryMap {
    /// Returns a map without entries.
    #[must_use]
    pub const fn new() -> Self {
        Self { regions: ArrayVec::new_const(), seen: 0 }
    }

    /// Adds the loader's next entry, in whatever order they come.
    ///
    /// **Errors:** `ZeroLength`, `WrapAround`, `TooManyEntries`.
    pub fn add(&mut self, start: u64, length: u64, kind: MemoryKind) -> Result<(), BootFault> {
        let index = self.seen;
        self.seen = self.seen.saturating_add(1);
        if length == 0 {
            return Err(BootFault::ZeroLength { table: Table::MemoryMap, index, start });
        }
        let range =
            MachineRange::new(start, length).ok_or(BootFault::WrapAround { table: Table::MemoryMap, index, start })?;
        let place = self.regions.partition_point(|region| region.range.start <= start);
        self.regions
            .try_insert(place, MemoryRegion { range, kind })
            .map_err(|_| BootFault::TooManyEntries { table: Table::MemoryMap, limit: MAP_ENTRIES })
    }

    /// Checks that no two entries overlap and joins those of one kind that touch. Two entries that are both kept from
    /// use, and of one kind, may overlap: firmware does that, and it harms nobody.
    ///
    /// **Errors:** `NoMemoryMap`, `NoRam`, `MapOverlap`.
    pub fn finish(&mut self) -> Result<(), BootFault> {
        if self.regions.is_empty() {
            return Err(BootFault::NoMemoryMap);
        }
        let mut joined: ArrayVec<MemoryRegion, MAP_ENTRIES> = ArrayVec::new();
        for region in &self.regions {
            match joined.last_mut() {
                Some(last) if last.range.overlaps(region.range) => {
                    if last.kind != region.kind || last.kind == MemoryKind::Ram {
                        return Err(BootFault::MapOverlap { first: last.range, second: region.range });
                    }
                    last.range.end = last.range.end.max(region.range.end);
                }
                Some(last) if last.range.end == region.range.start && last.kind == region.kind => {
                    last.range.end = region.range.end;
                }
                // No more of them than there were before.
                _ => {
                    let _ = joined.try_push(*region);
                }
            }
        }
        self.regions = joined;
        if self.ram().next().is_none() { Err(BootFault::NoRam) } else { Ok(()) }
    }

    /// Leaves RAM alone that starts at machine address `end` or above, and RAM above the lowest `bytes` of it. Such RAM
    /// becomes [`MemoryKind::Unusable`], not a hole: no device may be placed where memory answers.
    pub fn limit(&mut self, end: u64, bytes: u64) {
        let mut left = bytes;
        let mut limited = ArrayVec::new();
        for region in &self.regions {
            let MemoryRegion { range, kind } = *region;
            if kind != MemoryKind::Ram {
                let _ = limited.try_push(*region);
                continue;
            }
            let cut = range.start.saturating_add(left).min(end).clamp(range.start, range.end);
            left = left.saturating_sub(cut.saturating_sub(range.start));
            for (range, kind) in [
                (MachineRange::between(range.start, cut), MemoryKind::Ram),
                (MachineRange::between(cut, range.end), MemoryKind::Unusable),
            ] {
                // A map that is full loses the end of it, which is no RAM then either.
                let _ = range.map(|range| limited.try_push(MemoryRegion { range, kind }));
            }
        }
        self.regions = limited;
    }

    /// Returns the entries, lowest first.
    #[must_use]
    pub fn regions(&self) -> &[MemoryRegion] {
        &self.regions
    }

    /// Returns the ranges of ordinary memory, lowest first.
    pub fn ram(&self) -> impl Iterator<Item = MachineRange> {
        self.regions.iter().filter(|region| region.kind == MemoryKind::Ram).map(|region| region.range)
    }

    /// Returns how many bytes of ordinary memory there are.
    #[must_use]
    pub fn ram_bytes(&self) -> u64 {
        self.ram().fold(0, |sum, range| sum.saturating_add(range.length()))
    }

    /// Returns whether every byte of `range` is ordinary memory.
    #[must_use]
    pub fn is_ram(&self, range: MachineRange) -> bool {
        // Touching entries are joined, so a range of RAM lies in one entry or has a hole.
        self.ram().any(|ram| ram.contains(range))
    }
}
