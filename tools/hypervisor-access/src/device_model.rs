//! What a device model does: calls for one guest, by a handle that can be restricted to it.

use std::io;
use std::os::fd::AsFd;

use crate::{Hypercalls, ioctl};

/// The most buffers of one call that Linux takes.
const MOST_BUFFERS: usize = 16;

impl Hypercalls {
    /// Restricts the handle to a domain: from now on it makes device-model calls for that domain and maps its memory, and
    /// nothing else. This cannot be taken back.
    ///
    /// **Errors:** `EINVAL` if it is restricted to another domain.
    pub fn restrict(&self, domain: u16) -> io::Result<()> {
        let mut argument = domain;
        // SAFETY: the call takes the number of a domain, of 16 bits, and reads it.
        unsafe { ioctl::call(self.device.as_fd(), ioctl::number(b'P', 6, 2), &raw mut argument) }.map(drop)
    }

    /// Makes `dm_op` for a domain, with buffers that the hypervisor may read and write.
    ///
    /// **Errors:** `EPERM` if the handle is restricted to another domain; `E2BIG` for more buffers than Linux takes; those of
    /// the operation.
    pub fn device_model_call(&self, domain: u16, buffers: &mut [&mut [u8]]) -> io::Result<i64> {
        if buffers.len() > MOST_BUFFERS {
            return Err(io::Error::from_raw_os_error(libc::E2BIG));
        }
        // `struct privcmd_dm_op_buf`: address, length.
        let mut list = [[0_u64; 2]; MOST_BUFFERS];
        for (place, buffer) in list.iter_mut().zip(buffers.iter_mut()) {
            *place = [buffer.as_mut_ptr() as u64, buffer.len() as u64];
        }
        // `struct privcmd_dm_op`: domain (16 bits), number of buffers (16), their list.
        let mut words = [u64::from(domain) | (buffers.len() as u64) << 16, list.as_ptr() as u64];
        // SAFETY: the structure is the one that the call takes; it reads the list, and the hypervisor stays within the buffers,
        // which are borrowed for the call.
        unsafe { ioctl::call(self.device.as_fd(), ioctl::number(b'P', 5, 16), words.as_mut_ptr()) }
    }

    /// Makes a hypercall with arguments of which none is an address, whatever the operation.
    ///
    /// **Errors:** `EPERM` if the handle is restricted; those of the hypercall.
    pub fn call_with_nothing(&self, operation: u32) -> io::Result<i64> {
        self.call(operation, [0; 5])
    }
}
