//! Xenolith's core: domains, vCPUs, event channels, grants, memory, time and the hypercalls that work on them.
//!
//! It never touches hardware and holds no `unsafe`: everything that it asks of the machine goes through
//! [`xenolith_hal`]. So all of it runs on the host, in tests.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod budget;
pub mod components;
pub mod dom0;
pub mod domains;
pub mod hypercalls;
pub mod lifecycle;
pub mod memory;
pub mod outcome;
pub mod run;
pub mod settings;
pub mod x86;
