//! Machine frames, guest memory and the p2m (physmap): knows numbers of domains, no domain.

pub mod frames;
pub mod guest_memory;
pub mod physmap;
pub mod populate;
