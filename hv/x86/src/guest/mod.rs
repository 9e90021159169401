//! What a guest runs in: nested page tables, IOMMU page tables and vCPUs.
//!
//! It is all words in pages of memory, which a CPU or an IOMMU reads: on the host, tests read them. A processor's own
//! part is in `bare`.

pub mod frame_access;
#[cfg(test)]
mod frame_pool;

pub mod amd_vi;

pub mod nested;

pub mod svm;
