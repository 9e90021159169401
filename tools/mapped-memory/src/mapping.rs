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

    /// Fills `to` from `offset` on.
    pub fn read(&self, offset: usize, to: &mut [u8]) {
        let mut offset = offset;
        let mut to = to;
        while !to.is_empty() {
            let long = if to.len() >= 8 { self.long(offset) } else { None };
            let taken = if let (Some(long), Some((first, _))) = (long, to.split_first_chunk_mut::<8>()) {
                *first = long.load(Ordering::Relaxed).to_ne_bytes();
                8
            } else {
                if let Some(first) = to.first_mut() {
                    *first = self.byte(offset).map_or(0, |byte| byte.load(Ordering::Relaxed));
                }
                1
            };
            offset = offset.saturating_add(taken);
            to = to.split_at_mut_checked(taken).map_or(&mut [], |(_, rest)| rest);
        }
        std::sync::atomic::fence(Ordering::Acquire);
    }

    /// Copies `from` into the range at `offset`.
    pub fn write(&self, offset: usize, from: &[u8]) {
        std::sync::atomic::fence(Ordering::Release);
        let mut offset = offset;
        let mut from = from;
        while let Some(&first) = from.first() {
            let taken = if let (Some(long), Some(chunk)) = (self.long(offset), from.first_chunk::<8>()) {
                long.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
                8
            } else {
                if let Some(byte) = self.byte(offset) {
                    byte.store(first, Ordering::Relaxed);
                }
                1
            };
            offset = offset.saturating_add(taken);
            from = from.get(taken..).unwrap_or_default();
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
