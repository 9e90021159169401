//! The paging pool of a domain: what it may spend on page tables.

use super::{Frames, Pages};
use xenolith_hal::{DomId, FrameSource, Mfn};

/// The size of a domain's pool and how much of it is in use, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PagingPool {
    size: u32,
    used: u32,
    /// Pages for the hardware state of vCPUs besides the size, until the size is set for the first time.
    for_vcpus: u32,
}

/// The pool cannot be made smaller than what is in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolInUse;

impl PagingPool {
    /// Creates a pool of this many pages.
    #[must_use]
    pub const fn new(size: u32) -> Self {
        Self { size, used: 0, for_vcpus: 0 }
    }

    /// Returns the pool with pages besides its first size for the hardware state of this many vCPUs: a toolstack makes the
    /// vCPUs before it sets a size that does for them.
    #[must_use]
    pub const fn with_vcpus(self, vcpus: u32, pages_per_vcpu: u32) -> Self {
        Self { for_vcpus: vcpus.saturating_mul(pages_per_vcpu), ..self }
    }

    const fn most(&self) -> u32 {
        self.size.saturating_add(self.for_vcpus)
    }

    /// Returns the number of pages that may be used for page tables.
    #[must_use]
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// Returns the number of pages in use.
    #[must_use]
    pub const fn used(&self) -> u32 {
        self.used
    }

    /// Changes the size.
    ///
    /// **Errors:** [`PoolInUse`], and nothing was changed.
    pub fn resize(&mut self, pages: u32) -> Result<(), PoolInUse> {
        if pages < self.used {
            return Err(PoolInUse);
        }
        self.size = pages;
        self.for_vcpus = 0;
        Ok(())
    }

    /// Returns the pool as the machine's allocator of page tables: for `owner`, out of `frames`.
    pub const fn source<'a, P: Pages>(
        &'a mut self,
        frames: &'a Frames,
        pages: &'a P,
        owner: DomId,
    ) -> PoolSource<'a, P> {
        PoolSource { pool: self, frames, pages, owner }
    }
}

/// A pool with the frames that it allocates from.
pub struct PoolSource<'a, P: Pages> {
    pool: &'a mut PagingPool,
    frames: &'a Frames,
    pages: &'a P,
    owner: DomId,
}

impl<P: Pages> FrameSource for PoolSource<'_, P> {
    fn take(&mut self) -> Option<Mfn> {
        let used = self.pool.used.checked_add(1).filter(|used| *used <= self.pool.most())?;
        let mfn = self.frames.take_table(self.pages, self.owner)?;
        self.pool.used = used;
        Some(mfn)
    }

    fn give_back(&mut self, frame: Mfn) {
        if self.frames.release_table(frame, self.owner) {
            self.pool.used = self.pool.used.saturating_sub(1);
        }
    }
}
