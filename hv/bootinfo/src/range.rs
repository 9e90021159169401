//! A range of machine addresses.

use core::fmt;

/// The bytes from `start` up to, not including, `end`. Never empty and never wrapped when made by [`Self::new`] or
/// [`Self::between`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MachineRange {
    /// The first byte's machine address.
    pub start: u64,
    /// The machine address after the last byte.
    pub end: u64,
}

impl MachineRange {
    /// Returns the range of `length` bytes from `start`; none when it is empty or runs past the end of the address
    /// space.
    #[must_use]
    pub const fn new(start: u64, length: u64) -> Option<Self> {
        match start.checked_add(length) {
            Some(end) if length > 0 => Some(Self { start, end }),
            _ => None,
        }
    }

    /// Returns the bytes of `start..end`; none when there are none.
    #[must_use]
    pub const fn between(start: u64, end: u64) -> Option<Self> {
        if start < end { Some(Self { start, end }) } else { None }
    }

    /// Returns its length in bytes.
    #[must_use]
    pub const fn length(self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// Returns whether the two share a byte.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// Returns whether every byte of `other` is in this range.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Returns what the two share, if anything.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::between(self.start.max(other.start), self.end.min(other.end))
    }

    /// Returns the largest range of whole blocks of `block` bytes (a power of two) inside this one.
    #[must_use]
    pub const fn shrink_to(self, block: u64) -> Option<Self> {
        let mask = block.wrapping_sub(1);
        match self.start.checked_add(mask) {
            Some(up) => Self::between(up & !mask, self.end & !mask),
            None => None,
        }
    }

    /// Returns the smallest range of whole blocks of `block` bytes (a power of two) around this one, cut off at the end
    /// of the address space.
    #[must_use]
    pub const fn grow_to(self, block: u64) -> Self {
        let mask = block.wrapping_sub(1);
        let end = match self.end.checked_add(mask) {
            Some(up) => up & !mask,
            None => !mask,
        };
        Self { start: self.start & !mask, end }
    }

    /// Returns what is left of this range when `hole` is taken out: the part below and the part above.
    #[must_use]
    pub fn without(self, hole: Self) -> [Option<Self>; 2] {
        if !self.overlaps(hole) {
            return [Some(self), None];
        }
        [Self::between(self.start, hole.start), Self::between(hole.end, self.end)]
    }
}

impl fmt::Display for MachineRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:#x}, {:#x})", self.start, self.end)
    }
}
