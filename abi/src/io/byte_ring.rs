//! Rings of bytes, as the console and xenstore have them: the arithmetic.
//!
//! Indexes count up and wrap at 2^32; the ring's size is a power of two. The other side can write any value at any
//! moment: read an index once and check it here.

/// Returns how many bytes wait in a ring of `size` bytes, or none if the indexes claim more than it holds.
#[must_use]
pub const fn waiting(size: u32, prod: u32, cons: u32) -> Option<u32> {
    let waiting = prod.wrapping_sub(cons);
    if waiting <= size { Some(waiting) } else { None }
}

/// Returns how many bytes there is room for in a ring of `size` bytes, or none if the indexes claim more than it holds.
#[must_use]
pub const fn free(size: u32, prod: u32, cons: u32) -> Option<u32> {
    match waiting(size, prod, cons) {
        Some(waiting) => size.checked_sub(waiting),
        None => None,
    }
}

/// Returns where in a ring of `size` bytes the byte with this index lies.
#[must_use]
pub const fn position(size: u32, index: u32) -> usize {
    (index & size.wrapping_sub(1)) as usize
}

#[cfg(test)]
mod tests {
    use super::{free, position, waiting};

    #[test]
    fn indexes_wrap_around() {
        assert_eq!(waiting(1024, 5, u32::MAX - 4), Some(10));
        assert_eq!(free(1024, 5, u32::MAX - 4), Some(1014));
        assert_eq!(position(1024, u32::MAX), 1023);
    }

    #[test]
    fn more_than_the_ring_holds_is_refused() {
        assert_eq!(waiting(1024, 1024, 0), Some(1024));
        assert_eq!(waiting(1024, 1025, 0), None);
        assert_eq!(free(1024, 0, 1), None);
    }
}
