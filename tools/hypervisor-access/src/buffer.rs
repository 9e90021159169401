//! Hypercall buffers: pinned memory that the hypervisor may read and write during a hypercall.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use mapped_memory::Mapping;
use xen_abi::GuestHandle;
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// Length of a page in bytes.
const PAGE: usize = 4096;

/// A hypercall buffer from `/dev/xen/hypercall`, whose pages Linux never moves.
#[derive(Debug)]
pub struct Buffer {
    mapping: Mapping,
}

impl Buffer {
    pub(crate) fn new(device: &File, length: usize) -> io::Result<Self> {
        let length = length.max(1).next_multiple_of(PAGE);
        Ok(Self { mapping: Mapping::of_device(device.as_fd(), 0, length)? })
    }

    /// Returns the handle (address) by which the hypervisor accesses it.
    #[must_use]
    pub fn handle<T>(&self) -> GuestHandle<T> {
        GuestHandle::new(self.mapping.address())
    }

    /// Returns its length in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.mapping.length()
    }

    /// Copies `bytes` into it at `offset`.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        self.mapping.write(offset, bytes);
    }

    /// Fills `bytes` from `offset` on.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) {
        self.mapping.read(offset, bytes);
    }

    /// Copies a value into it at `offset`.
    pub fn put<T: IntoBytes + Immutable>(&self, offset: usize, value: &T) {
        self.write(offset, value.as_bytes());
    }

    /// Copies a value out of it from `offset` on.
    #[must_use]
    pub fn get<T: zerocopy::FromBytes + IntoBytes + FromZeros>(&self, offset: usize) -> T {
        let mut value = T::new_zeroed();
        self.read(offset, value.as_mut_bytes());
        value
    }
}
