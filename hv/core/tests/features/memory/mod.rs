//! Memory: its frames, the operations on a domain's, the calls, and random ones against a model.

mod foreign_mapping;
mod frames;
mod guest_memory;
mod heap_budget;
mod hypercall;
mod model;
mod on_demand;
mod operations;
mod pieces;
mod placing;
mod shortage;
pub mod world;
