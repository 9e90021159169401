//! Device calls (`ioctl`) with one structure as argument.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Builds the number of a device call without a direction, as all Xen devices have it (`_IOC_NONE`).
pub const fn number(device: u8, call: u8, size: usize) -> u64 {
    ((size as u64) << 16) | ((device as u64) << 8) | call as u64
}

/// Makes a device call with a structure that the device may read and write, and returns the result.
///
/// **Errors:** those of the device.
///
/// # Safety
/// `argument` points to the structure that the device takes for this number, and every address in it is of memory that
/// the device may use as this call does.
pub unsafe fn call<T>(device: BorrowedFd<'_>, number: u64, argument: *mut T) -> io::Result<i64> {
    // SAFETY: the caller says that the structure is the one that the device takes.
    let answer = unsafe { libc::ioctl(device.as_raw_fd(), number, argument) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(i64::from(answer)) }
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_are_as_linux_builds_them() {
        // IOCTL_EVTCHN_BIND_INTERDOMAIN, IOCTL_PRIVCMD_HYPERCALL, IOCTL_GNTDEV_MAP_GRANT_REF.
        assert_eq!(number(b'E', 1, 8), 0x0008_4501);
        assert_eq!(number(b'P', 0, 48), 0x0030_5000);
        assert_eq!(number(b'G', 0, 24), 0x0018_4700);
    }
}
