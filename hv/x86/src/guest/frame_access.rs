//! Access of page tables to their frames.

use xenolith_hal::{Mfn, PageWords};

/// The way from a frame's number to the page behind it.
pub trait FrameAccess: Send + Sync {
    /// Returns the page behind a frame of RAM; None for anything else, device memory above all.
    fn frame(&self, mfn: Mfn) -> Option<&PageWords>;
}
