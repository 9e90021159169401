//! Machine memory and guests' memory: frames and their owners, translations, and what a guest's addresses lead to.
//!
//! Knows numbers of domains, and no domain.

pub mod frames;
pub mod guest_memory;
pub mod physmap;
pub mod populate;
