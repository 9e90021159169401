//! The memory map of a domain (E820).
#![expect(clippy::disallowed_methods, clippy::disallowed_macros, reason = "only at boot, for dom0")]

use alloc::vec::Vec;

use xen_abi::memory_map::{E820_ACPI, E820_RAM, E820_UNUSABLE, MemmapEntry};
use xenolith_hal::{Gpa, PAGE_SIZE};

const PAGE_BYTES: u64 = PAGE_SIZE as u64;

/// Rounds down to whole pages.
const fn whole_pages(bytes: u64) -> u64 {
    bytes & !(PAGE_BYTES - 1)
}

/// One range: from `start` up to but not including `end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    pub start: Gpa,
    pub end: Gpa,
    /// An `E820_*`.
    pub kind: u32,
}

impl Range {
    /// Returns its size in bytes; 0 if it ends before it starts.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.end.0.saturating_sub(self.start.0)
    }
}

/// Ranges in rising order that do not overlap, neighbours of one kind joined.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MemoryMap {
    ranges: Vec<Range>,
}

impl MemoryMap {
    /// Builds a map from ranges in any order. Where they overlap, the later one counts, except that RAM never covers
    /// another kind.
    #[must_use]
    pub fn new(ranges: impl IntoIterator<Item = Range>) -> Self {
        let (ram, others): (Vec<_>, Vec<_>) = ranges.into_iter().partition(|range| range.kind == E820_RAM);
        let mut map = Self::default();
        for range in ram.into_iter().chain(others) {
            map.set(range);
        }
        map
    }

    /// Returns the ranges in rising order.
    #[must_use]
    pub fn ranges(&self) -> &[Range] {
        &self.ranges
    }

    /// Returns the map in the format of `XENMEM_memory_map`.
    #[must_use]
    pub fn entries(&self) -> Vec<MemmapEntry> {
        self.ranges.iter().map(|range| MemmapEntry::new(range.start.0, range.bytes(), range.kind)).collect()
    }

    /// Sets the kind of a range, whatever was there. An empty range changes nothing.
    pub fn set(&mut self, range: Range) {
        if range.bytes() == 0 {
            return;
        }
        let mut out = Vec::with_capacity(self.ranges.len().saturating_add(2));
        for old in &self.ranges {
            let before = Range { end: old.end.min(range.start), ..*old };
            let after = Range { start: old.start.max(range.end), ..*old };
            out.extend([before, after].into_iter().filter(|part| part.bytes() != 0));
        }
        out.push(range);
        out.sort_unstable_by_key(|range| range.start);
        self.ranges = out;
        self.join();
    }

    fn join(&mut self) {
        self.ranges.dedup_by(|next, previous| {
            let joins = previous.end == next.start && previous.kind == next.kind;
            if joins {
                previous.end = next.end;
            }
            joins
        });
    }

    /// Builds the map of a control domain whose RAM stands where the machine has it: of the machine's RAM the domain
    /// keeps what lies in `owned`, in whole pages. The rest is unusable, not a hole, so that no device is put there.
    #[must_use]
    pub fn for_dom0(machine: &Self, owned: impl Fn(&Range) -> Vec<Range>) -> Self {
        let mut map = Self::default();
        for range in &machine.ranges {
            if range.kind != E820_RAM {
                map.set(*range);
                continue;
            }
            map.set(Range { kind: E820_UNUSABLE, ..*range });
            for part in owned(range) {
                let start = part.start.max(range.start).0.checked_next_multiple_of(PAGE_BYTES);
                let end = whole_pages(part.end.min(range.end).0);
                if let Some(start) = start {
                    map.set(Range { start: Gpa(start), end: Gpa(end), kind: E820_RAM });
                }
            }
        }
        map
    }

    /// Builds the same map as [`MemoryMap::for_dom0`], with the lowest `bytes` of the machine's RAM as the domain's
    /// own.
    #[must_use]
    pub fn for_dom0_with(machine: &Self, bytes: u64) -> Self {
        let left = core::cell::Cell::new(bytes);
        Self::for_dom0(machine, |range| {
            let take = range.bytes().min(left.get());
            left.set(left.get().saturating_sub(take));
            let end = Gpa(range.start.0.saturating_add(take));
            alloc::vec![Range { end, ..*range }]
        })
    }

    /// Reserves room for `bytes` of ACPI tables, in whole pages, as high as possible below `limit`, in RAM that the
    /// domain does not have. None if there is no room.
    pub fn reserve_for_tables(&mut self, bytes: u64, limit: Gpa) -> Option<Gpa> {
        let bytes = bytes.checked_next_multiple_of(PAGE_BYTES).filter(|bytes| *bytes != 0)?;
        let free = self.ranges.iter().rev().filter(|range| range.kind == E820_UNUSABLE);
        let start = free.into_iter().find_map(|range| {
            let end = whole_pages(range.end.min(limit).0);
            end.checked_sub(bytes).filter(|start| *start >= range.start.0)
        })?;
        let end = Gpa(start.saturating_add(bytes));
        self.set(Range { start: Gpa(start), end, kind: E820_ACPI });
        Some(Gpa(start))
    }

    /// Returns the bytes of RAM.
    #[must_use]
    pub fn ram_bytes(&self) -> u64 {
        let ram = self.ranges.iter().filter(|range| range.kind == E820_RAM);
        ram.fold(0, |sum, range| sum.saturating_add(range.bytes()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use xen_abi::memory_map::E820_RESERVED;

    use super::*;

    fn range(start: u64, end: u64, kind: u32) -> Range {
        Range { start: Gpa(start), end: Gpa(end), kind }
    }

    fn machine() -> MemoryMap {
        MemoryMap::new([
            range(0, 0x9_fc00, E820_RAM),
            range(0x9_fc00, 0xa_0000, E820_RESERVED),
            range(0xf_0000, 0x10_0000, E820_RESERVED),
            range(0x10_0000, 0x7ffd_f000, E820_RAM),
            range(0x7ffd_f000, 0x8000_0000, E820_RESERVED),
            range(0xb000_0000, 0xc000_0000, E820_RESERVED),
            range(0x1_0000_0000, 0x1_8000_0000, E820_RAM),
        ])
    }

    #[test]
    fn ram_past_dom0s_share_is_unusable_and_the_rest_is_as_the_machine_says() {
        let map = MemoryMap::for_dom0_with(&machine(), 0x4000_0000);
        let expected = [
            range(0, 0x9_f000, E820_RAM),
            range(0x9_f000, 0x9_fc00, E820_UNUSABLE),
            range(0x9_fc00, 0xa_0000, E820_RESERVED),
            range(0xf_0000, 0x10_0000, E820_RESERVED),
            range(0x10_0000, 0x4006_0000, E820_RAM),
            range(0x4006_0000, 0x7ffd_f000, E820_UNUSABLE),
            range(0x7ffd_f000, 0x8000_0000, E820_RESERVED),
            range(0xb000_0000, 0xc000_0000, E820_RESERVED),
            range(0x1_0000_0000, 0x1_8000_0000, E820_UNUSABLE),
        ];
        assert_eq!(map.ranges(), expected);
        assert_eq!(map.ram_bytes(), 0x3fff_f000);
        assert_eq!(map.entries()[4], MemmapEntry::new(0x10_0000, 0x3ff6_0000, E820_RAM));
    }

    #[test]
    fn dom0_may_own_pieces_anywhere() {
        let map = MemoryMap::for_dom0(&machine(), |ram| {
            alloc::vec![range(0x1_4000_0000, 0x1_5000_0001, 0), range(0, 0x1000, 0)]
                .into_iter()
                .filter(|part| part.start < ram.end && ram.start < part.end)
                .collect()
        });
        let ram: Vec<_> = map.ranges().iter().filter(|range| range.kind == E820_RAM).copied().collect();
        assert_eq!(ram, [range(0, 0x1000, E820_RAM), range(0x1_4000_0000, 0x1_5000_0000, E820_RAM)]);
    }

    #[test]
    fn tables_go_into_unused_ram_below_the_limit() {
        let mut map = MemoryMap::for_dom0_with(&machine(), 0x4000_0000);
        assert_eq!(map.reserve_for_tables(0x1234, Gpa(1 << 32)), Some(Gpa(0x7ffd_d000)));
        assert!(map.ranges().contains(&range(0x7ffd_d000, 0x7ffd_f000, E820_ACPI)));
        assert_eq!(map.reserve_for_tables(1 << 40, Gpa(1 << 32)), None);
        assert_eq!(map.reserve_for_tables(0, Gpa(1 << 32)), None);
        assert_eq!(map.reserve_for_tables(u64::MAX, Gpa(u64::MAX)), None);
    }

    #[test]
    fn ram_never_covers_what_is_reserved() {
        let map = MemoryMap::new([range(0x1000, 0x2000, E820_RESERVED), range(0, 0x4000, E820_RAM)]);
        let expected =
            [range(0, 0x1000, E820_RAM), range(0x1000, 0x2000, E820_RESERVED), range(0x2000, 0x4000, E820_RAM)];
        assert_eq!(map.ranges(), expected);
    }

    proptest! {
        /// Compares with a map of single bytes.
        #[test]
        fn each_byte_has_the_kind_that_was_set_last(sets in proptest::collection::vec((0u64..64, 0u64..64, 1u32..6), 0..20)) {
            let mut map = MemoryMap::default();
            let mut naive = [0u32; 64];
            for (start, end, kind) in sets {
                map.set(range(start, end, kind));
                (start..end).for_each(|byte| naive[byte as usize] = kind);
            }
            let mut seen = [0u32; 64];
            for range in map.ranges() {
                prop_assert!(range.start < range.end);
                for byte in range.start.0..range.end.0 {
                    prop_assert_eq!(seen[byte as usize], 0, "overlap");
                    seen[byte as usize] = range.kind;
                }
            }
            prop_assert_eq!(seen, naive);
            let joined = map.ranges().windows(2).all(|pair| pair[0].end != pair[1].start || pair[0].kind != pair[1].kind);
            prop_assert!(joined);
        }
    }
}
