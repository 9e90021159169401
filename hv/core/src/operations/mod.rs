//! Hypercalls that need a file and no more.

pub mod version;
