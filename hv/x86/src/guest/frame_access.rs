//! How tables reach the frames that they lie in.

use xenolith_hal::{Mfn, PageWords};

/// The way from a frame's number to the page behind it.
pub trait FrameAccess: Send + Sync {
    /// The page behind a frame of RAM; none for anything else, device memory above all.
    fn frame(&self, mfn: Mfn) -> Option<&PageWords>;
}
