//! The x86-64 machine: boot, paging, frames, interrupts, timers and virtualisation.
//!
//! This is where the `unsafe` lives. What the core may ask of it is in `xenolith-hal`.
//!
//! What needs the bare machine is left out when the crate is built for an operating system, so that the rest (tables,
//! decoders, checks of states) is tested there.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

#[cfg(target_os = "none")]
pub mod boot;
#[cfg(target_os = "none")]
pub mod heap;
pub mod nested;
#[cfg(target_os = "none")]
pub mod serial;
pub mod svm;
