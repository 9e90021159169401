//! A ring of bytes with a running index: readers say where to start, and see what is gone.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// The ring before there is a heap, in bytes.
const FIRST: usize = 16 << 10;

/// Bytes in a ring whose length is a power of two; `written` counts all that ever went in.
pub struct ByteRing {
    first: [u8; FIRST],
    later: Option<Box<[u8]>>,
    written: u64,
}

impl ByteRing {
    /// Creates an empty ring of 16 KiB.
    #[must_use]
    pub const fn new() -> Self {
        Self { first: [0; FIRST], later: None, written: 0 }
    }

    fn bytes(&self) -> &[u8] {
        self.later.as_deref().unwrap_or(&self.first)
    }

    /// Returns the index of the oldest byte that is still there.
    fn oldest(&self) -> u64 {
        self.written.saturating_sub(self.bytes().len() as u64)
    }

    fn byte(&self, index: u64) -> u8 {
        let bytes = self.bytes();
        let place = (index as usize) & bytes.len().wrapping_sub(1);
        bytes.get(place).copied().unwrap_or_default()
    }

    /// Adds bytes over the oldest ones.
    pub fn append(&mut self, text: &[u8]) {
        let written = self.written;
        let bytes = match &mut self.later {
            Some(later) => later,
            None => &mut self.first[..],
        };
        let mask = bytes.len().wrapping_sub(1);
        for (index, byte) in (written..).zip(text) {
            if let Some(place) = bytes.get_mut((index as usize) & mask) {
                *place = *byte;
            }
        }
        self.written = written.saturating_add(text.len() as u64);
    }

    /// Copies from `index` on, which counts bytes since the first; skips what is gone already. Returns how many bytes
    /// were copied, and the index after them.
    pub fn copy_from(&self, index: u64, into: &mut [u8]) -> (usize, u64) {
        let mut next = index.clamp(self.oldest(), self.written);
        let mut copied = 0_usize;
        for place in into {
            if next == self.written {
                break;
            }
            *place = self.byte(next);
            next = next.saturating_add(1);
            copied = copied.saturating_add(1);
        }
        (copied, next)
    }

    /// Moves what is in the ring to `space`, whose length is a power of two and no less than before.
    pub fn move_to(&mut self, mut space: Vec<u8>) {
        let mask = space.len().wrapping_sub(1);
        for index in self.oldest()..self.written {
            let byte = self.byte(index);
            if let Some(place) = space.get_mut((index as usize) & mask) {
                *place = byte;
            }
        }
        self.later = Some(space.into_boxed_slice());
    }

    /// Returns how long the ring is before [`Self::move_to`] makes it longer.
    #[must_use]
    pub const fn first_length() -> usize {
        FIRST
    }
}

impl Default for ByteRing {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    #[test]
    fn a_reader_that_comes_late_starts_at_the_oldest_byte() {
        let mut ring = ByteRing::new();
        let text: Vec<u8> = (0..FIRST + 10).map(|index| (index % 251) as u8).collect();
        ring.append(&text);
        let mut into = vec![0; FIRST + 10];
        assert_eq!(ring.copy_from(0, &mut into), (FIRST, (FIRST + 10) as u64));
        assert_eq!(into.get(..FIRST), text.get(10..));
        assert_eq!(ring.copy_from(u64::MAX, &mut into), (0, (FIRST + 10) as u64));
    }

    proptest! {
        #[test]
        fn the_ring_holds_the_last_bytes_whatever_its_length(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5000), 0..12),
            grow_after in 0..12_usize,
        ) {
            let (mut ring, mut all) = (ByteRing::new(), Vec::new());
            for (number, piece) in pieces.iter().enumerate() {
                if number == grow_after {
                    ring.move_to(vec![0; ByteRing::first_length() * 2]);
                }
                ring.append(piece);
                all.extend(piece);
            }
            let mut into = vec![0; FIRST];
            let start = all.len().saturating_sub(FIRST);
            let (copied, next) = ring.copy_from(start as u64, &mut into);
            prop_assert_eq!(next, all.len() as u64);
            prop_assert_eq!(into.get(..copied), all.get(start..));
        }
    }
}
