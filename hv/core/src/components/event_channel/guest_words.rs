//! Atomic access to single bits and 32-bit words of pages that a guest writes at the same time.

use xenolith_hal::PageWords;
use xenolith_sync::atomic::{AtomicU64, Ordering};

/// How often a word is tried again if only its neighbour changed. If a guest writes the neighbour in a tight loop, its
/// own word counts as unchangeable.
const NEIGHBOUR_TRIES: u32 = 64;

/// A page as an array of 64-bit atomics. Under loom these are loom's, so that models run the code that is shipped.
pub trait GuestWords {
    /// Returns the word of that number, counted in words of 8 bytes; None past the end.
    fn word(&self, index: usize) -> Option<&AtomicU64>;
}

#[cfg(not(loom))]
impl GuestWords for PageWords {
    #[inline]
    fn word(&self, index: usize) -> Option<&AtomicU64> {
        self.words().get(index)
    }
}

/// Puts a full barrier between a change and the look that must come after it; without it two CPUs could each miss the
/// other's change.
///
/// Every such change and look is sequentially consistent, so their order holds without this. The model checker knows
/// that order from fences alone.
pub(super) fn look_after_change() {
    #[cfg(loom)]
    xenolith_sync::atomic::fence(Ordering::SeqCst);
}

/// Models bring pages of their own: loom does not track the atomics of these.
#[cfg(loom)]
impl GuestWords for PageWords {
    fn word(&self, _index: usize) -> Option<&AtomicU64> {
        None
    }
}

/// Returns the word that holds a bit, and the bit's mask in it. `bit` counts from the byte at `offset`.
fn locate<P: GuestWords + ?Sized>(page: &P, offset: usize, bit: u32) -> Option<(&AtomicU64, u64)> {
    let byte = offset.checked_add(bit as usize / 8)?;
    let shift = (((byte % 8) as u32) << 3) | (bit % 8);
    Some((page.word(byte / 8)?, 1 << shift))
}

/// Sets a bit; returns whether it was set before. A bit outside the page reads as set, so that nothing follows from it.
pub(super) fn test_and_set<P: GuestWords + ?Sized>(page: &P, offset: usize, bit: u32) -> bool {
    let Some((word, mask)) = locate(page, offset, bit) else { return true };
    word.fetch_or(mask, Ordering::SeqCst) & mask != 0
}

/// Clears a bit; returns whether it was set before.
pub(super) fn test_and_clear<P: GuestWords + ?Sized>(page: &P, offset: usize, bit: u32) -> bool {
    let Some((word, mask)) = locate(page, offset, bit) else { return false };
    word.fetch_and(!mask, Ordering::SeqCst) & mask != 0
}

/// Reads a bit; false outside the page.
pub(super) fn test<P: GuestWords + ?Sized>(page: &P, offset: usize, bit: u32) -> bool {
    let Some((word, mask)) = locate(page, offset, bit) else { return false };
    word.load(Ordering::SeqCst) & mask != 0
}

/// A 32-bit word of a page.
pub(super) struct Word32<'a> {
    word: &'a AtomicU64,
    shift: u32,
}

impl<'a> Word32<'a> {
    /// Returns the word at `offset` bytes, a multiple of 4; None outside the page.
    pub(super) fn at<P: GuestWords + ?Sized>(page: &'a P, offset: usize) -> Option<Self> {
        if !offset.is_multiple_of(4) {
            return None;
        }
        Some(Self { word: page.word(offset / 8)?, shift: ((offset % 8) as u32) << 3 })
    }

    fn narrow(&self, word: u64) -> u32 {
        (word >> self.shift) as u32
    }

    fn widen(&self, value: u32) -> u64 {
        u64::from(value) << self.shift
    }

    /// Returns the value.
    pub(super) fn load(&self) -> u32 {
        self.narrow(self.word.load(Ordering::SeqCst))
    }

    /// Writes the value. If the neighbour changes too often meanwhile, in two steps that the guest can tell apart.
    pub(super) fn store(&self, value: u32) {
        let mut seen = self.word.load(Ordering::SeqCst);
        for _ in 0..NEIGHBOUR_TRIES {
            let next = (seen & !self.widen(u32::MAX)) | self.widen(value);
            match self.word.compare_exchange(seen, next, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        self.word.fetch_and(!self.widen(u32::MAX) | self.widen(value), Ordering::SeqCst);
        self.word.fetch_or(self.widen(value), Ordering::SeqCst);
    }

    /// Sets bits; returns the old value.
    pub(super) fn set(&self, bits: u32) -> u32 {
        self.narrow(self.word.fetch_or(self.widen(bits), Ordering::SeqCst))
    }

    /// Clears bits; returns the old value.
    pub(super) fn clear(&self, bits: u32) -> u32 {
        self.narrow(self.word.fetch_and(!self.widen(bits), Ordering::SeqCst))
    }

    /// Replaces `current` by `new`; `Err(value found)` if that was different, or if the neighbour changed too often
    /// meanwhile.
    pub(super) fn exchange(&self, current: u32, new: u32) -> Result<(), u32> {
        let mut seen = self.word.load(Ordering::SeqCst);
        for _ in 0..NEIGHBOUR_TRIES {
            if self.narrow(seen) != current {
                break;
            }
            let next = (seen & !self.widen(u32::MAX)) | self.widen(new);
            match self.word.compare_exchange(seen, next, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return Ok(()),
                Err(now) => seen = now,
            }
        }
        Err(self.narrow(seen))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_bit_is_counted_from_any_byte() {
        let page = PageWords::new();
        assert!(!test_and_set(&page, 13, 9));
        assert_eq!(page.load_u8(14), Some(2));
        assert!(test_and_set(&page, 13, 9));
        assert!(test(&page, 14, 1));
        assert!(test_and_clear(&page, 8, 49));
        assert_eq!(page.load_u64(8), Some(0));
    }

    #[test]
    fn bits_outside_the_page_are_left_alone() {
        let page = PageWords::new();
        assert!(test_and_set(&page, 4095, 8));
        assert!(!test_and_clear(&page, 4096, 0));
        assert!(!test(&page, usize::MAX, 8));
        assert!(Word32::at(&page, 4096).is_none());
        assert!(Word32::at(&page, 2).is_none());
    }

    #[test]
    fn a_word_leaves_its_neighbour_alone() {
        let page = PageWords::new();
        page.store_u64(0, 0x1111_2222_3333_4444).unwrap();
        let high = Word32::at(&page, 4).unwrap();
        high.store(0xabcd_0123);
        assert_eq!(page.load_u64(0), Some(0xabcd_0123_3333_4444));
        assert_eq!(high.exchange(1, 2), Err(0xabcd_0123));
        assert_eq!(high.exchange(0xabcd_0123, 5), Ok(()));
        assert_eq!(high.set(8), 5);
        assert_eq!(high.clear(1), 13);
        assert_eq!(page.load_u64(0), Some(0x0000_000c_3333_4444));
    }
}
