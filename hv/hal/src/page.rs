//! A page of guest memory: others may write it at any moment.

use crate::PAGE_SIZE;
use core::sync::atomic::{AtomicU64, Ordering};

const WORD: usize = 8;
const WORDS: usize = PAGE_SIZE / WORD;
/// Words that are handled without a check for the end; a page holds a whole number of groups.
const GROUP: usize = 16;
/// Words cleared between two checks for other work on this CPU.
const CLEARED_BETWEEN_LOOKS: usize = 128;
/// Words that are all read before the first of them is written. If both pages share an entry of a cache with one entry
/// per set, such as an emulator's for translations, they evict each other once per batch instead of once per word.
const BATCH: usize = 8;

/// A 4 KiB page as an array of atomics: a guest may change it between any two reads, and reading it is safe Rust all
/// the same. Values narrower than a word are accessed inside their 64-bit word.
///
/// Offsets are bytes from the start of the page. An access that does not lie in the page, or is not aligned to its own
/// size, returns `None` (or false) and does nothing.
#[repr(C, align(4096))]
pub struct PageWords([AtomicU64; WORDS]);

impl Default for PageWords {
    fn default() -> Self {
        Self::new()
    }
}

/// Splits an aligned offset into the word's index and the shift of the value in it.
const fn locate(offset: usize, size: usize) -> Option<(usize, u32)> {
    if offset >= PAGE_SIZE || !offset.is_multiple_of(size) {
        return None;
    }
    Some((offset / WORD, (offset % WORD) as u32 * 8))
}

/// Returns the bytes from an offset to the next word.
const fn to_word(offset: usize) -> usize {
    offset.next_multiple_of(WORD) - offset
}

impl PageWords {
    /// Creates a zeroed page.
    #[must_use]
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; WORDS])
    }

    /// Returns the 512 words.
    #[must_use]
    pub const fn words(&self) -> &[AtomicU64; WORDS] {
        &self.0
    }

    fn at(&self, offset: usize, size: usize) -> Option<(&AtomicU64, u32)> {
        let (index, shift) = locate(offset, size)?;
        Some((self.0.get(index)?, shift))
    }

    /// Reads 8 bytes.
    pub fn load_u64(&self, offset: usize) -> Option<u64> {
        Some(self.at(offset, 8)?.0.load(Ordering::Acquire))
    }

    /// Reads 4 bytes.
    pub fn load_u32(&self, offset: usize) -> Option<u32> {
        let (word, shift) = self.at(offset, 4)?;
        Some((word.load(Ordering::Acquire) >> shift) as u32)
    }

    /// Reads 2 bytes.
    pub fn load_u16(&self, offset: usize) -> Option<u16> {
        let (word, shift) = self.at(offset, 2)?;
        Some((word.load(Ordering::Acquire) >> shift) as u16)
    }

    /// Reads a byte.
    pub fn load_u8(&self, offset: usize) -> Option<u8> {
        let (word, shift) = self.at(offset, 1)?;
        Some((word.load(Ordering::Acquire) >> shift) as u8)
    }

    /// Writes 8 bytes.
    pub fn store_u64(&self, offset: usize, value: u64) -> Option<()> {
        self.at(offset, 8)?.0.store(value, Ordering::Release);
        Some(())
    }

    fn blend(&self, offset: usize, size: usize, mask: u64, value: u64) -> Option<()> {
        let (word, shift) = self.at(offset, size)?;
        let (mask, value) = (mask << shift, value << shift);
        let _ = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| Some((old & !mask) | value));
        Some(())
    }

    /// Writes 4 bytes and leaves their neighbours as they are.
    pub fn store_u32(&self, offset: usize, value: u32) -> Option<()> {
        self.blend(offset, 4, u64::from(u32::MAX), u64::from(value))
    }

    /// Writes 2 bytes and leaves their neighbours as they are.
    pub fn store_u16(&self, offset: usize, value: u16) -> Option<()> {
        self.blend(offset, 2, u64::from(u16::MAX), u64::from(value))
    }

    /// Writes a byte and leaves its neighbours as they are.
    pub fn store_u8(&self, offset: usize, value: u8) -> Option<()> {
        self.blend(offset, 1, u64::from(u8::MAX), u64::from(value))
    }

    /// Sets bits of 4 bytes (atomic OR); returns the old value.
    pub fn fetch_or_u32(&self, offset: usize, bits: u32) -> Option<u32> {
        let (word, shift) = self.at(offset, 4)?;
        Some((word.fetch_or(u64::from(bits) << shift, Ordering::SeqCst) >> shift) as u32)
    }

    /// Clears all other bits of 4 bytes (atomic AND); returns the old value.
    pub fn fetch_and_u32(&self, offset: usize, bits: u32) -> Option<u32> {
        let (word, shift) = self.at(offset, 4)?;
        let mask = !(u64::from(!bits) << shift);
        Some((word.fetch_and(mask, Ordering::SeqCst) >> shift) as u32)
    }

    /// Sets bits of 2 bytes (atomic OR); returns the old value.
    pub fn fetch_or_u16(&self, offset: usize, bits: u16) -> Option<u16> {
        let (word, shift) = self.at(offset, 2)?;
        Some((word.fetch_or(u64::from(bits) << shift, Ordering::SeqCst) >> shift) as u16)
    }

    /// Clears all other bits of 2 bytes (atomic AND); returns the old value.
    pub fn fetch_and_u16(&self, offset: usize, bits: u16) -> Option<u16> {
        let (word, shift) = self.at(offset, 2)?;
        let mask = !(u64::from(!bits) << shift);
        Some((word.fetch_and(mask, Ordering::SeqCst) >> shift) as u16)
    }

    /// Replaces `current` by `new`, atomically. Returns `Ok(current)` if it was there, `Err(value found)` otherwise; a
    /// change of the neighbouring bytes is no failure.
    pub fn compare_exchange_u32(&self, offset: usize, current: u32, new: u32) -> Option<Result<u32, u32>> {
        let (word, shift) = self.at(offset, 4)?;
        let mask = u64::from(u32::MAX) << shift;
        let outcome = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |old| {
            ((old >> shift) as u32 == current).then_some((old & !mask) | (u64::from(new) << shift))
        });
        Some(outcome.map(|_| current).map_err(|old| (old >> shift) as u32))
    }

    /// Copies bytes out. Returns false, with nothing copied, if they do not lie in the page.
    #[must_use]
    pub fn read_bytes(&self, offset: usize, into: &mut [u8]) -> bool {
        if offset.checked_add(into.len()).is_none_or(|end| end > PAGE_SIZE) {
            return false;
        }
        let (head, rest) = into.split_at_mut(to_word(offset).min(into.len()));
        let (whole, tail) = rest.as_chunks_mut::<WORD>();
        let first = (offset + head.len()) / WORD;
        self.read_part(offset, head);
        self.read_part((first + whole.len()) * WORD, tail);
        let (batches, rest) = whole.as_chunks_mut::<BATCH>();
        let after = first + batches.len() * BATCH;
        if !batches.is_empty() {
            self.read_batches(first, batches);
        }
        for (word, bytes) in self.0.iter().skip(after).zip(rest) {
            *bytes = word.load(Ordering::Acquire).to_le_bytes();
        }
        true
    }

    /// Copies whole batches out of the words from `first` on. A function of its own, so that copying few bytes is short
    /// code.
    #[inline(never)]
    fn read_batches(&self, first: usize, into: &mut [[[u8; WORD]; BATCH]]) {
        for (words, bytes) in self.0.get(first..).unwrap_or(&[]).as_chunks::<BATCH>().0.iter().zip(into) {
            *bytes = words.each_ref().map(|word| word.load(Ordering::Acquire)).map(u64::to_le_bytes);
        }
    }

    /// Copies whole batches into the words from `first` on.
    #[inline(never)]
    fn write_batches(&self, first: usize, from: &[[[u8; WORD]; BATCH]]) {
        for (words, bytes) in self.0.get(first..).unwrap_or(&[]).as_chunks::<BATCH>().0.iter().zip(from) {
            let values = bytes.map(u64::from_le_bytes);
            words.iter().zip(values).for_each(|(word, value)| word.store(value, Ordering::Release));
        }
    }

    /// Copies bytes out of one word; does nothing for an empty slice.
    fn read_part(&self, offset: usize, into: &mut [u8]) {
        let Some(word) = self.0.get(offset / WORD).filter(|_| !into.is_empty()) else { return };
        // By shifts: a loop over bytes becomes a call that copies them, which costs more than these few.
        let mut value = word.load(Ordering::Acquire) >> (offset % WORD * 8);
        for to in into {
            *to = value as u8;
            value >>= 8;
        }
    }

    /// Copies bytes in. Returns false, with nothing copied, if they do not lie in the page.
    #[must_use]
    pub fn write_bytes(&self, offset: usize, from: &[u8]) -> bool {
        if offset.checked_add(from.len()).is_none_or(|end| end > PAGE_SIZE) {
            return false;
        }
        let (head, rest) = from.split_at(to_word(offset).min(from.len()));
        let (whole, tail) = rest.as_chunks::<WORD>();
        let first = (offset + head.len()) / WORD;
        self.write_part(offset, head);
        let (batches, rest) = whole.as_chunks::<BATCH>();
        let after = first + batches.len() * BATCH;
        if !batches.is_empty() {
            self.write_batches(first, batches);
        }
        for (word, bytes) in self.0.iter().skip(after).zip(rest) {
            word.store(u64::from_le_bytes(*bytes), Ordering::Release);
        }
        self.write_part((first + whole.len()) * WORD, tail);
        true
    }

    /// Copies bytes into one word and leaves its other bytes; does nothing for an empty slice.
    fn write_part(&self, offset: usize, from: &[u8]) {
        let Some(word) = self.0.get(offset / WORD).filter(|_| !from.is_empty()) else { return };
        let (mut bytes, mut keep) = ([0u8; WORD], [0xffu8; WORD]);
        for ((slot, mask), byte) in bytes.iter_mut().zip(keep.iter_mut()).skip(offset % WORD).zip(from) {
            *slot = *byte;
            *mask = 0;
        }
        let (value, keep) = (u64::from_le_bytes(bytes), u64::from_le_bytes(keep));
        let _ = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| Some((old & keep) | value));
    }

    /// Copies `length` bytes from byte `from` of another page to `offset`, by whole words. Returns false, with nothing
    /// copied, if they do not lie in both pages or are not whole words in both.
    #[must_use]
    pub fn copy_words(&self, offset: usize, source: &Self, from: usize, length: usize) -> bool {
        let (Some(to), Some(from)) = (self.whole_words(offset, length), source.whole_words(from, length)) else {
            return false;
        };
        let ((to, to_rest), (from, from_rest)) = (to.as_chunks::<GROUP>(), from.as_chunks::<GROUP>());
        let copy = |(to, from): (&AtomicU64, &AtomicU64)| to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        for (to, from) in to.iter().zip(from) {
            to.iter().zip(from).for_each(copy);
        }
        to_rest.iter().zip(from_rest).for_each(copy);
        true
    }

    fn whole_words(&self, offset: usize, length: usize) -> Option<&[AtomicU64]> {
        if !offset.is_multiple_of(WORD) || !length.is_multiple_of(WORD) {
            return None;
        }
        self.0.get(offset / WORD..offset.checked_add(length)? / WORD)
    }

    /// Returns the index of the first word from this one on that is not 0. Never inlined, as its callers are built for size.
    #[must_use]
    #[inline(never)]
    pub fn next_used(&self, from: usize) -> Option<usize> {
        if from >= WORDS {
            return None;
        }
        let used = |word: &AtomicU64| word.load(Ordering::Acquire) != 0;
        let (groups, begin) = (self.0.as_chunks::<BATCH>().0, from.next_multiple_of(BATCH));
        if let Some(at) = self.0.get(from..begin)?.iter().position(used) {
            return Some(from + at);
        }
        for (group, first) in groups.iter().zip((0..).step_by(BATCH)).skip(begin / BATCH) {
            let [a, b, c, d, e, f, g, h] = group.each_ref().map(|word| word.load(Ordering::Acquire));
            if a | b | c | d | e | f | g | h != 0
                && let Some(at) = group.iter().position(used)
            {
                return Some(first + at);
            }
        }
        None
    }

    /// Zeroes the whole page. Never inlined: inlined into its callers, the loop came out longer in some of them.
    #[inline(never)]
    pub fn clear(&self) {
        let zero = |group: &[AtomicU64; GROUP]| group.iter().for_each(|word| word.store(0, Ordering::Relaxed));
        // The compiler unrolls each of the four; one loop as long as all of them it would leave a loop.
        for [first, second, third, fourth] in self.0.as_chunks::<GROUP>().0.as_chunks().0 {
            zero(first);
            zero(second);
            zero(third);
            zero(fourth);
        }
    }

    /// Zeroes the page from a word on, and stops early if `enough`, which is called a few times, returns true: then
    /// returns the word to go on from. Returns None when the rest of the page is zero.
    pub fn clear_from(&self, word: usize, enough: impl Fn() -> bool) -> Option<usize> {
        let mut next = word;
        loop {
            let end = next.saturating_add(CLEARED_BETWEEN_LOOKS).min(WORDS);
            Self::clear_words(self.0.get(next..end)?);
            next = end;
            if next == WORDS {
                return None;
            }
            if enough() {
                return Some(next);
            }
        }
    }

    #[inline(never)]
    fn clear_words(words: &[AtomicU64]) {
        for group in words.as_chunks::<GROUP>().0 {
            for word in group {
                word.store(0, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn narrow_writes_leave_their_neighbours_alone() {
        let page = PageWords::new();
        page.store_u64(8, 0x1111_2222_3333_4444).unwrap();
        page.store_u16(10, 0xabcd).unwrap();
        page.store_u8(15, 0xee).unwrap();
        assert_eq!(page.load_u64(8), Some(0xee11_2222_abcd_4444));
        assert_eq!(page.load_u32(12), Some(0xee11_2222));
    }

    #[test]
    fn the_next_word_in_use_is_found_from_every_place() {
        let page = PageWords::new();
        assert_eq!(page.next_used(0), None);
        let used = [0, 7, 8, 9, 63, 200, 511];
        used.iter().for_each(|index| page.store_u64(index * 8, 1 << 63).unwrap());
        for from in 0..=WORDS {
            assert_eq!(page.next_used(from), used.iter().copied().find(|index| *index >= from), "from {from}");
        }
        assert_eq!((page.next_used(WORDS + 1), page.next_used(usize::MAX)), (None, None));
    }

    #[test]
    fn clearing_stops_where_it_is_enough_and_goes_on_from_there() {
        let page = PageWords::new();
        page.words().iter().for_each(|word| word.store(1, Ordering::Relaxed));
        let left = || page.words().iter().filter(|word| word.load(Ordering::Relaxed) == 1).count();
        for (from, next, still) in [(0, 128, 384), (128, 256, 256), (256, 384, 128)] {
            assert_eq!((page.clear_from(from, || true), left()), (Some(next), still));
        }
        assert_eq!((page.clear_from(384, || true), left()), (None, 0));
        page.words().iter().for_each(|word| word.store(1, Ordering::Relaxed));
        assert_eq!((page.clear_from(0, || false), left()), (None, 0));
        assert_eq!(page.clear_from(WORDS + 1, || false), None);
    }

    #[test]
    fn accesses_outside_the_page_or_unaligned_do_nothing() {
        let page = PageWords::new();
        assert_eq!(page.load_u32(PAGE_SIZE), None);
        assert_eq!(page.load_u32(2), None);
        assert_eq!(page.store_u64(4, 1), None);
        assert!(!page.read_bytes(PAGE_SIZE - 1, &mut [0; 2]));
        assert!(!page.write_bytes(usize::MAX, &[0; 2]));
    }

    #[test]
    fn bytes_cross_words_as_they_were_written() {
        let page = PageWords::new();
        let data: [u8; 21] = core::array::from_fn(|i| i as u8 + 1);
        assert!(page.write_bytes(5, &data));
        let mut back = [0; 23];
        assert!(page.read_bytes(4, &mut back));
        assert_eq!(back.first(), Some(&0));
        assert_eq!(back.get(1..22), Some(&data[..]));
        assert_eq!(back.last(), Some(&0));
    }

    #[test]
    fn bytes_of_every_place_and_length_come_back_and_touch_no_others() {
        let data: [u8; 40] = core::array::from_fn(|i| i as u8 + 1);
        for offset in (0..17).chain(PAGE_SIZE - 40..=PAGE_SIZE) {
            for length in 0..=40.min(PAGE_SIZE - offset) {
                let page = PageWords::new();
                assert!(page.write_bytes(offset, &data[..length]));
                let mut whole = [0; PAGE_SIZE];
                assert!(page.read_bytes(0, &mut whole));
                assert_eq!(whole[offset..offset + length], data[..length]);
                assert_eq!(whole.iter().filter(|byte| **byte != 0).count(), length);
                let mut part = [0; 40];
                assert!(page.read_bytes(offset, &mut part[..length]));
                assert_eq!(part[..length], data[..length]);
            }
        }
    }

    #[test]
    fn long_stretches_of_every_beginning_come_back() {
        let data: [u8; PAGE_SIZE] = core::array::from_fn(|i| (i % 251) as u8 + 1);
        for (offset, length) in
            (0..20).flat_map(|offset| [63, 64, 65, 71, 72, 200, 4000].map(|length| (offset, length)))
        {
            let page = PageWords::new();
            assert!(page.write_bytes(offset, &data[..length]));
            let (mut whole, mut part) = ([0; PAGE_SIZE], [0; PAGE_SIZE]);
            assert!(page.read_bytes(0, &mut whole));
            assert_eq!(whole[offset..offset + length], data[..length], "{length} bytes at {offset}");
            assert_eq!(whole.iter().filter(|byte| **byte != 0).count(), length);
            assert!(page.read_bytes(offset, &mut part[..length]));
            assert_eq!(part[..length], data[..length], "{length} bytes at {offset}");
        }
    }

    #[test]
    fn words_are_copied_only_between_whole_words() {
        let (from, to) = (PageWords::new(), PageWords::new());
        (0..WORDS).for_each(|index| from.store_u64(index * 8, index as u64 + 1).unwrap());
        assert!(to.copy_words(8, &from, 16, 200));
        let around = [0, 8, 200, 208].map(|offset| to.load_u64(offset).unwrap());
        assert_eq!(around, [0, 3, 27, 0]);
        assert!(!to.copy_words(4, &from, 4, 8), "parts of words");
        assert!(!to.copy_words(0, &from, 0, 12), "a part at the end");
        assert!(!to.copy_words(8, &from, 0, PAGE_SIZE), "past the end");
        assert!(!to.copy_words(8, &from, usize::MAX - 7, 8), "far past the end");
        assert!(to.copy_words(0, &from, 0, PAGE_SIZE));
        assert_eq!(to.load_u64(PAGE_SIZE - 8), Some(512));
        to.clear();
        assert!(to.words().iter().all(|word| word.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn a_failed_exchange_says_what_stands_there() {
        let page = PageWords::new();
        page.store_u32(4, 7).unwrap();
        assert_eq!(page.compare_exchange_u32(4, 6, 1), Some(Err(7)));
        assert_eq!(page.compare_exchange_u32(4, 7, 1), Some(Ok(7)));
        assert_eq!(page.load_u64(0), Some(1 << 32));
    }

    #[test]
    fn bits_are_set_and_kept_in_the_right_half() {
        let page = PageWords::new();
        assert_eq!(page.fetch_or_u32(4, 0xf0), Some(0));
        assert_eq!(page.fetch_and_u32(4, 0x30), Some(0xf0));
        assert_eq!(page.fetch_or_u16(6, 3), Some(0));
        assert_eq!(page.fetch_and_u16(6, 1), Some(3));
        assert_eq!(page.load_u64(0), Some(0x0001_0030_0000_0000));
    }
}
