//! Grants and memory operations over a few domains whose memory lies on the heap.
#![cfg(not(loom))]

mod grants;
mod memory;
mod memory_model;
mod model;
mod world;
