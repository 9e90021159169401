//! What a guest runs in: the translations of its memory, for CPUs and for devices, and its vCPUs.
//!
//! It is all words in pages of memory, which a CPU or an IOMMU reads: on the host, tests read them. A processor's own
//! part lies in `bare`.

pub mod frame_access;
#[cfg(test)]
mod frame_pool;

pub mod amd_vi;

pub mod nested;

pub mod svm;
