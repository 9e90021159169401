//! Memory: its frames, the operations on a domain's, the calls, and random ones against a model.

mod foreign_mapping;
mod frames;
mod guest_memory;
mod hypercall;
mod model;
mod operations;
pub mod world;
