//! Machine frames, guest memory and the p2m (physmap). This row knows domains by number only.

pub mod frames;
pub mod guest_memory;
pub mod on_demand;
pub mod physmap;
pub mod populate;
