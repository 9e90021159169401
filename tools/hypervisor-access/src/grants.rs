//! Grants: granted pages of other domains, mapped through `/dev/xen/gntdev`, and own pages granted through
//! `/dev/xen/gntalloc`.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsFd;
use std::sync::Arc;

use mapped_memory::Mapping;

use crate::ioctl;

/// Length of a page in bytes.
const PAGE: usize = 4096;

/// The device that maps granted pages.
#[derive(Clone, Debug)]
pub struct Grants {
    device: Arc<File>,
}

impl Grants {
    /// Opens the device.
    ///
    /// **Errors:** `ENOENT` if the device is missing, `EACCES` if the program may not open it.
    pub fn open() -> io::Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/xen/gntdev")?;
        Ok(Self { device: Arc::new(device) })
    }

    /// Maps granted pages of a domain one after another, readable and writable.
    ///
    /// **Errors:** `EINVAL` if a grant does not exist or the domain is gone.
    pub fn map(&self, domain: u16, references: &[u32]) -> io::Result<GrantMapping> {
        let count = u32::try_from(references.len()).map_err(io::Error::other)?;
        if count == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // `struct ioctl_gntdev_map_grant_ref`: count, padding, index (out), then pairs of domain and reference.
        let mut words: Vec<u32> = vec![count, 0, 0, 0];
        references.iter().for_each(|&reference| words.extend([u32::from(domain), reference]));
        // Linux numbers the call by the size with one pair.
        // SAFETY: the words are the structure that the call takes, with as many pairs as its count says.
        unsafe { ioctl::call(self.device.as_fd(), ioctl::number(b'G', 0, 24), words.as_mut_ptr()) }?;
        let release = Release { device: self.device.clone(), call: 1, index: index(&words, 2), count };
        let mapping = Mapping::of_device(self.device.as_fd(), release.index, references.len().saturating_mul(PAGE))?;
        Ok(GrantMapping { mapping, _release: release })
    }
}

/// Granted pages of another domain; unmapped when the value is dropped.
#[derive(Debug)]
pub struct GrantMapping {
    // The device lets go only of what is mapped nowhere any more: the order of the fields is the order of their ends.
    mapping: Mapping,
    _release: Release,
}

impl Deref for GrantMapping {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        &self.mapping
    }
}

/// The device that allocates pages and grants access to them.
#[derive(Clone, Debug)]
pub struct Offers {
    device: Arc<File>,
}

impl Offers {
    /// Opens the device.
    ///
    /// **Errors:** `ENOENT` if the device is missing, `EACCES` if the program may not open it.
    pub fn open() -> io::Result<Self> {
        let device = File::options().read(true).write(true).open("/dev/xen/gntalloc")?;
        Ok(Self { device: Arc::new(device) })
    }

    /// Allocates pages and grants a domain access to them, readable and writable.
    ///
    /// **Errors:** `ENOSPC` if Linux's limit of such pages is reached or the grant table is full.
    pub fn offer(&self, domain: u16, pages: u16) -> io::Result<Offered> {
        let count = u32::from(pages);
        if count == 0 {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // `struct ioctl_gntalloc_alloc_gref`: domain and flags (1: to write), count, index (out), references (out).
        const WRITABLE: u32 = 1;
        let mut words: Vec<u32> = vec![u32::from(domain) | (WRITABLE << 16), count, 0, 0];
        words.resize(words.len().saturating_add(usize::from(pages)).max(6), 0);
        // SAFETY: the words are the structure that the call takes, with room for as many references as its count says.
        unsafe { ioctl::call(self.device.as_fd(), ioctl::number(b'G', 5, 24), words.as_mut_ptr()) }?;
        let release = Release { device: self.device.clone(), call: 6, index: index(&words, 2), count };
        let mapping = Mapping::of_device(self.device.as_fd(), release.index, usize::from(pages).saturating_mul(PAGE))?;
        let references = words.into_iter().skip(4).take(usize::from(pages)).collect();
        Ok(Offered { mapping, references, _release: release })
    }
}

/// Pages granted to another domain. The grants end when the value is dropped and the other domain has unmapped the
/// pages.
#[derive(Debug)]
pub struct Offered {
    mapping: Mapping,
    references: Vec<u32>,
    _release: Release,
}

impl Offered {
    /// Returns the grant reference of each page.
    #[must_use]
    pub fn references(&self) -> &[u32] {
        &self.references
    }
}

impl Deref for Offered {
    type Target = Mapping;

    fn deref(&self) -> &Mapping {
        &self.mapping
    }
}

/// Releases pages of a device when it is dropped.
#[derive(Debug)]
struct Release {
    device: Arc<File>,
    call: u8,
    index: u64,
    count: u32,
}

impl Drop for Release {
    fn drop(&mut self) {
        let halves = [self.index as u32, (self.index >> 32) as u32];
        let mut words = [halves[0], halves[1], self.count, 0];
        // A failure leaves the pages to the end of the program.
        // SAFETY: both calls take a long and two words, none of them an address.
        let _ = unsafe { ioctl::call(self.device.as_fd(), ioctl::number(b'G', self.call, 16), words.as_mut_ptr()) };
    }
}

/// Reads a 64-bit number from two words, low half first.
fn index(words: &[u32], at: usize) -> u64 {
    let word = |at: usize| words.get(at).copied().map_or(0, u64::from);
    word(at) | (word(at.saturating_add(1)) << 32)
}
