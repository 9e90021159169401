//! The public interface of Xen 4.17 as Rust types and constants.
//!
//! Nothing here does anything: it says how the structures that cross between a guest and the hypervisor lie in
//! memory and what the numbers in them are called. The names are those of the public headers, in Rust's spelling.
#![no_std]
#![forbid(unsafe_code)]

pub mod ids;

pub use ids::{DomId, Gfn, GrantHandle, GrantRef, Mfn, Port, VcpuId};
