//! A range of memory that is mapped into this program.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Length of a page in bytes.
pub const PAGE: usize = 4096;

/// A range of mapped memory, unmapped when the value is dropped.
///
/// All accesses are atomic, so a change by the other side meanwhile does no harm; a copy of more than 8 bytes may be
/// torn. An access outside the range reads zeros and writes nothing.
#[derive(Debug)]
pub struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory stays mapped for as long as the value lives, wherever that is, and is touched by atomics alone.
unsafe impl Send for Mapping {}
// SAFETY: as above; atomics may be used from several threads.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `length` bytes of a file, shared with all other mappings of it. `offset` is a multiple of the page size.
    ///
    /// **Errors:** those of `mmap`.
    pub fn of_file(file: &File, offset: u64, length: usize) -> io::Result<Self> {
        let end = offset.saturating_add(length as u64);
        // Past the end of a file there is nothing to map: touching it would end the program.
        if file.metadata()?.is_file() && end > file.metadata()?.len().next_multiple_of(PAGE as u64) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        use std::os::fd::AsFd;
        Self::of_device(file.as_fd(), offset, length)
    }

    /// Maps `length` bytes of a device. What is there depends on the device.
    ///
    /// **Errors:** those of `mmap`.
    pub fn of_device(device: BorrowedFd<'_>, offset: u64, length: usize) -> io::Result<Self> {
        let offset = i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        if length == 0 || length > isize::MAX as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: a new mapping at a place of the system's choice disturbs nothing that is mapped already.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                device.as_raw_fd(),
                offset,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::Other)?;
        Ok(Self { start, length })
    }

    /// Returns the length in bytes.
    #[must_use]
    pub const fn length(&self) -> usize {
        self.length
    }

    /// Returns the address, for the kernel and the hypervisor.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.start.as_ptr() as u64
    }

    /// Returns a pointer to a `T` at `offset`; None if it is not aligned or not within the range.
    pub(crate) fn place<T>(&self, offset: usize) -> Option<NonNull<T>> {
        let end = offset.checked_add(size_of::<T>())?;
        if end > self.length || !offset.is_multiple_of(align_of::<T>()) {
            return None;
        }
        // SAFETY: the offset lies within the mapping.
        Some(unsafe { self.start.add(offset) }.cast())
    }

    fn word(&self, offset: usize) -> Option<&AtomicU32> {
        // SAFETY: the place is aligned, lies within, stays mapped as long as `self`, and is touched by atomics alone.
        self.place(offset).map(|place| unsafe { place.as_ref() })
    }

    fn long(&self, offset: usize) -> Option<&AtomicU64> {
        // SAFETY: as in `word`.
        self.place(offset).map(|place| unsafe { place.as_ref() })
    }

    fn byte(&self, offset: usize) -> Option<&AtomicU8> {
        // SAFETY: as in `word`.
        self.place(offset).map(|place| unsafe { place.as_ref() })
    }

    /// Reads a `u32` at a multiple of 4, with acquire ordering.
    #[must_use]
    pub fn load_u32(&self, offset: usize) -> u32 {
        self.word(offset).map_or(0, |word| word.load(Ordering::Acquire))
    }

    /// Writes a `u32` at a multiple of 4, with release ordering.
    pub fn store_u32(&self, offset: usize, value: u32) {
        if let Some(word) = self.word(offset) {
            word.store(value, Ordering::Release);
        }
    }

    /// Reads a `u64` at a multiple of 8, with acquire ordering.
    #[must_use]
    pub fn load_u64(&self, offset: usize) -> u64 {
        self.long(offset).map_or(0, |long| long.load(Ordering::Acquire))
    }

    /// Writes a `u64` at a multiple of 8, with release ordering.
    pub fn store_u64(&self, offset: usize, value: u64) {
        if let Some(long) = self.long(offset) {
            long.store(value, Ordering::Release);
        }
    }

    /// Issues a full memory barrier: earlier writes are seen before later reads are done.
    pub fn fence(&self) {
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Returns as many of the `u64` from `offset` on as lie within, at most `count`; none if `offset` is not a multiple of 8.
    fn longs(&self, offset: usize, count: usize) -> &[AtomicU64] {
        let inside = self.length.saturating_sub(offset) / size_of::<u64>();
        let Some(first) = self.place::<AtomicU64>(offset) else { return &[] };
        // SAFETY: the place is aligned, as many longs lie within, they stay mapped as long as `self`, and are touched by
        // atomics alone.
        unsafe { std::slice::from_raw_parts(first.as_ptr(), count.min(inside)) }
    }

    /// Fills `to` from `offset` on.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        // Bytes up to a multiple of 8, then eight at a time, then the bytes that are left.
        let ahead = offset.wrapping_neg() % size_of::<u64>();
        let (head, rest) = to.split_at_mut(ahead.min(to.len()));
        let (chunks, tail) = rest.as_chunks_mut::<{ size_of::<u64>() }>();
        self.read_bytes(offset, head);
        let middle = offset.saturating_add(head.len());
        let longs = self.longs(middle, chunks.len());
        let (within, outside) = chunks.split_at_mut(longs.len());
        for (to, long) in within.iter_mut().zip(longs) {
            *to = long.load(Ordering::Relaxed).to_ne_bytes();
        }
        let done = middle.saturating_add(size_of_val(within));
        self.read_bytes(done, outside.as_flattened_mut());
        self.read_bytes(done.saturating_add(size_of_val(outside)), tail);
        std::sync::atomic::fence(Ordering::Acquire);
    }

    fn read_bytes(&self, offset: usize, to: &mut [u8]) {
        for (at, byte) in (offset..=usize::MAX).zip(to) {
            *byte = self.byte(at).map_or(0, |byte| byte.load(Ordering::Relaxed));
        }
    }

    /// Copies `from` into the range at `offset`.
    pub fn write(&self, offset: usize, from: &[u8]) {
        std::sync::atomic::fence(Ordering::Release);
        let ahead = offset.wrapping_neg() % size_of::<u64>();
        let (head, rest) = from.split_at(ahead.min(from.len()));
        let (chunks, tail) = rest.as_chunks::<{ size_of::<u64>() }>();
        self.write_bytes(offset, head);
        let middle = offset.saturating_add(head.len());
        let longs = self.longs(middle, chunks.len());
        for (from, long) in chunks.iter().zip(longs) {
            long.store(u64::from_ne_bytes(*from), Ordering::Relaxed);
        }
        // What does not lie within any more is not written, but the end of the range may be no multiple of 8.
        let (_, outside) = chunks.split_at(longs.len());
        let done = middle.saturating_add(size_of_val(longs));
        self.write_bytes(done, outside.as_flattened());
        self.write_bytes(done.saturating_add(size_of_val(outside)), tail);
    }

    fn write_bytes(&self, offset: usize, from: &[u8]) {
        for (at, from) in (offset..=usize::MAX).zip(from) {
            let Some(byte) = self.byte(at) else { break };
            byte.store(*from, Ordering::Relaxed);
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range was mapped by this value, and nothing that borrows from it lives on.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping() -> Mapping {
        let file = tempfile::tempfile().unwrap();
        file.set_len(PAGE as u64).unwrap();
        Mapping::of_file(&file, 0, PAGE).unwrap()
    }

    #[test]
    fn what_is_written_is_read_at_every_alignment() {
        let mapping = mapping();
        for offset in 0..17 {
            for length in 0..40_u8 {
                let bytes: Vec<u8> = (0..length).map(|byte| byte.wrapping_mul(7).wrapping_add(offset)).collect();
                mapping.write(usize::from(offset), &bytes);
                let mut found = vec![0; bytes.len()];
                mapping.read(usize::from(offset), &mut found);
                assert_eq!(found, bytes);
            }
        }
    }

    #[test]
    fn what_does_not_lie_within_is_zero_and_stays_so() {
        let mapping = mapping();
        mapping.write(PAGE - 2, &[1, 2, 3, 4]);
        let mut found = [9; 4];
        mapping.read(PAGE - 2, &mut found);
        assert_eq!(found, [1, 2, 0, 0]);
        mapping.store_u32(PAGE, 1);
        mapping.store_u64(usize::MAX - 3, 1);
        assert_eq!((mapping.load_u32(PAGE), mapping.load_u32(2), mapping.load_u64(PAGE - 4)), (0, 0, 0));
    }

    #[test]
    fn more_of_a_file_than_there_is_cannot_be_mapped() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(100).unwrap();
        assert!(Mapping::of_file(&file, 0, PAGE).is_ok());
        assert!(Mapping::of_file(&file, 0, PAGE + 1).is_err());
        assert!(Mapping::of_file(&file, 0, 0).is_err());
    }
}
