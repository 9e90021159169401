//! Nested page tables in AMD's format: from a domain's frames to the machine's.
//!
//! Everything here is safe code over [`FrameAccess`](super::frame_access::FrameAccess), so the same tables are tested on
//! the host over a vector of pages and used by the hardware through the direct map.
//!
//! **Source:** AMD manual volume 2, 15.25 (nested paging) and 5.3 (long-mode page translation).

mod entry;
mod residency;
mod retired;
mod tables;
mod tracking;

pub use residency::Residency;
pub use tables::{NestedTables, TableLimits};

#[cfg(test)]
mod tests;
