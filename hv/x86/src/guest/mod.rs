//! What a guest runs in: nested page tables, IOMMU page tables and vCPUs.
//!
//! It is all words in pages of memory, which a CPU or an IOMMU reads: on the host, tests read them. A processor's own
//! part is in `bare`.

pub mod frame_access;
#[cfg(not(target_os = "none"))]
#[cfg_attr(
    not(test),
    expect(clippy::disallowed_methods, reason = "for tests and fuzzing, where memory does not run out")
)]
pub mod frame_pool;

pub mod amd_vi;

pub mod nested;

pub mod svm;
