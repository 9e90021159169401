//! Memory of other domains, mapped here by frame number or as a resource.

use std::io;
use std::os::fd::AsFd;

use mapped_memory::Mapping;

use crate::{Hypercalls, ioctl};

/// Length of a page in bytes.
const PAGE: usize = 4096;

/// What [`Hypercalls::map_resource`] maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Pages by which a device model serves a domain.
    IoreqServer { server: u32 },
    /// The grant table of a domain.
    GrantTable,
}

impl Hypercalls {
    /// Maps frames of a domain in a row, to read and write.
    ///
    /// **Errors:** `ENOENT` where a frame is not there; what the system says.
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

    /// Maps pages of a resource of a domain, from a page of it on.
    ///
    /// **Errors:** `EOPNOTSUPP` or `EINVAL` where there is none such; what the system says.
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
