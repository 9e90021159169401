//! Transfers over a socket whose length the kernel itself writes into mapped memory, in the same system call. A program
//! that is killed at any moment leaves behind the exact number of bytes it had received or sent.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use crate::Mapping;

/// A count of bytes in a file, written by the kernel; 192 bytes at a multiple of 64 in a mapping.
///
/// It has two records, one of them active: a `u32` index of the active one at 0; then twice (`u64` base, `struct
/// mmsghdr`), at 16 and 96. The count is the base of the active record plus the `msg_len` that the kernel wrote into
/// it. The next transfer prepares the other record, with the count so far as its base, and then changes the index, so
/// the count can be read correctly at every moment.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    offset: usize,
}

/// Length of the records in bytes.
pub const LENGTH: usize = 192;
const FIRST: usize = 16;
const RECORD: usize = 80;
/// Offset of the message header in a record.
const MESSAGE: usize = 8;

const _: () = assert!(MESSAGE + size_of::<libc::mmsghdr>() <= RECORD && FIRST + 2 * RECORD <= LENGTH);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

impl Counted {
    /// Length of the records in bytes.
    pub const LENGTH: usize = LENGTH;

    /// Returns the count whose records are at `offset`, a multiple of 64. Nothing is written.
    #[must_use]
    pub const fn at(offset: usize) -> Self {
        Self { offset }
    }

    fn record(self, index: u32) -> usize {
        self.offset + FIRST + if index & 1 == 0 { 0 } else { RECORD }
    }

    /// Returns the offset at which the kernel writes the length of a transfer.
    const fn length_at(record: usize) -> usize {
        record + MESSAGE + std::mem::offset_of!(libc::mmsghdr, msg_len)
    }

    /// Returns the number of bytes.
    #[must_use]
    pub fn count(self, mapping: &Mapping) -> u64 {
        let record = self.record(mapping.load_u32(self.offset));
        let length = mapping.load_u32(Self::length_at(record));
        mapping.load_u64(record).wrapping_add(u64::from(length))
    }

    /// Sets the number of bytes.
    pub fn set(self, mapping: &Mapping, count: u64) {
        self.prepare(mapping, count);
    }

    /// Prepares the inactive record and makes it the active one. Returns the offset of its message header.
    fn prepare(self, mapping: &Mapping, count: u64) -> usize {
        let index = mapping.load_u32(self.offset).wrapping_add(1);
        let record = self.record(index);
        mapping.store_u32(Self::length_at(record), 0);
        mapping.store_u64(record, count);
        mapping.store_u32(self.offset, index);
        record
    }

    /// Receives up to `length` bytes into the mapping at `at` without blocking, and counts them. Returns 0 at the end
    /// of the stream.
    ///
    /// **Errors:** those of `recvmmsg`; `WouldBlock` if nothing has arrived.
    pub fn receive(self, mapping: &Mapping, socket: BorrowedFd<'_>, at: usize, length: usize) -> io::Result<usize> {
        self.transfer(mapping, socket, at, length, Way::In)
    }

    /// Sends up to `length` bytes from the mapping at `at` without blocking, and counts them.
    ///
    /// **Errors:** those of `sendmmsg`; `WouldBlock` if there is no room.
    pub fn send(self, mapping: &Mapping, socket: BorrowedFd<'_>, at: usize, length: usize) -> io::Result<usize> {
        self.transfer(mapping, socket, at, length, Way::Out)
    }

    fn transfer(
        self,
        mapping: &Mapping,
        socket: BorrowedFd<'_>,
        at: usize,
        length: usize,
        way: Way,
    ) -> io::Result<usize> {
        let data = mapping.place::<u8>(at).ok_or(io::ErrorKind::InvalidInput)?;
        let last = at.checked_add(length.saturating_sub(1)).ok_or(io::ErrorKind::InvalidInput)?;
        mapping.place::<u8>(last).ok_or(io::ErrorKind::InvalidInput)?;
        let record = self.prepare(mapping, self.count(mapping));
        let header = mapping.place::<libc::mmsghdr>(record + MESSAGE).ok_or(io::ErrorKind::InvalidInput)?;
        let mut vector = libc::iovec { iov_base: data.as_ptr().cast(), iov_len: length };
        // SAFETY: all zeros are a header without a name, data and control.
        let mut wanted: libc::msghdr = unsafe { std::mem::zeroed() };
        wanted.msg_iov = &raw mut vector;
        wanted.msg_iovlen = 1;
        // SAFETY: the place lies within the mapping and is aligned; only this program writes there.
        unsafe { (&raw mut (*header.as_ptr()).msg_hdr).write(wanted) };
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let (descriptor, messages) = (socket.as_raw_fd(), header.as_ptr());
        // SAFETY: the header and the one vector live until the call returns, and the data lies within the mapping.
        let done = unsafe {
            match way {
                Way::In => libc::recvmmsg(descriptor, messages, 1, flags, ptr::null_mut()),
                Way::Out => libc::sendmmsg(descriptor, messages, 1, flags),
            }
        };
        if done != 1 {
            return Err(io::Error::last_os_error());
        }
        Ok(mapping.load_u32(Self::length_at(record)) as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn both_ways_are_counted_to_the_byte() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(4096).unwrap();
        let mapping = Mapping::of_file(&file, 0, 4096).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (taken, given) = (Counted::at(64), Counted::at(256));
        theirs.write_all(b"hello, you").unwrap();
        assert_eq!(taken.receive(&mapping, ours.as_fd(), 1024, 4).unwrap(), 4);
        assert_eq!(taken.receive(&mapping, ours.as_fd(), 1028, 100).unwrap(), 6);
        assert_eq!(taken.count(&mapping), 10);
        let again = taken.receive(&mapping, ours.as_fd(), 1028, 100).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(taken.count(&mapping), 10);
        assert_eq!(given.send(&mapping, ours.as_fd(), 1024, 10).unwrap(), 10);
        let mut found = [0; 10];
        theirs.read_exact(&mut found).unwrap();
        assert_eq!((&found, given.count(&mapping)), (b"hello, you", 10));
        // Another instance reads the same count.
        let other = Mapping::of_file(&file, 0, 4096).unwrap();
        assert_eq!(Counted::at(64).count(&other), 10);
        drop(theirs);
        assert_eq!(taken.receive(&mapping, ours.as_fd(), 1024, 4).unwrap(), 0);
        assert_eq!(taken.receive(&mapping, ours.as_fd(), 4090, 100).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
