//! Foreign memory: frames of other domains, mapped by number or as a resource.

use std::io;
use std::os::fd::AsFd;

use mapped_memory::Mapping;

use crate::{Hypercalls, ioctl};

/// Length of a page in bytes.
const PAGE: usize = 4096;

/// A resource that [`Hypercalls::map_resource`] maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The pages shared with an ioreq server (device model).
    IoreqServer { server: u32 },
    /// The grant table of the domain.
    GrantTable,
}

impl Hypercalls {
    /// Maps frames of a domain one after another, readable and writable.
    ///
    /// **Errors:** `ENOENT` if a frame is not there; otherwise those of `ioctl` and `mmap`.
    pub fn map_foreign(&self, domain: u16, frames: &[u64]) -> io::Result<Mapping> {
        let length = frames.len().saturating_mul(PAGE);
        let mapping = Mapping::of_device(self.device.as_fd(), 0, length)?;
        let count = u32::try_from(frames.len()).map_err(io::Error::other)?;
        let mut errors = vec![0_i32; frames.len()];
        // `struct privcmd_mmapbatch_v2`: count (32 bits), domain (16), address, frames, errors.
        let mut words = [
            u64::from(count) | (u64::from(domain) << 32),
            mapping.address(),
            frames.as_ptr() as u64,
            errors.as_mut_ptr() as u64,
        ];
        // SAFETY: the structure is the one that the call takes; it reads `frames`, writes `errors`, both of which live, and
        // puts pages where the mapping has none yet.
        let answer = unsafe { ioctl::call(self.device.as_fd(), ioctl::number(b'P', 4, 32), words.as_mut_ptr()) };
        answer?;
        match errors.into_iter().find(|&error| error != 0) {
            Some(error) => Err(io::Error::from_raw_os_error(error.saturating_abs())),
            None => Ok(mapping),
        }
    }

    /// Maps `pages` pages of a resource of a domain, from page `first` on.
    ///
    /// **Errors:** `EOPNOTSUPP` or `EINVAL` if there is no such resource; otherwise those of `ioctl` and `mmap`.
    pub fn map_resource(&self, domain: u16, resource: Resource, first: u32, pages: u32) -> io::Result<Mapping> {
        let mapping = Mapping::of_device(self.device.as_fd(), 0, (pages as usize).saturating_mul(PAGE))?;
        let (kind, id) = match resource {
            Resource::IoreqServer { server } => (0_u32, server),
            Resource::GrantTable => (1, 0),
        };
        // `struct privcmd_mmap_resource`: domain (16 bits), kind, id, first (32 each), count, address.
        let mut words = [
            u64::from(domain) | (u64::from(kind) << 32),
            u64::from(id) | (u64::from(first) << 32),
            u64::from(pages),
            mapping.address(),
        ];
        // SAFETY: the structure is the one that the call takes; it puts pages where the mapping has none yet.
        unsafe { ioctl::call(self.device.as_fd(), ioctl::number(b'P', 7, 32), words.as_mut_ptr()) }?;
        Ok(mapping)
    }
}
