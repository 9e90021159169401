//! The x86-64 machine: boot, paging, frames, interrupts, timers and virtualisation.
//!
//! This is where the `unsafe` lives. What the core may ask of it is in `xenolith-hal`.
#![no_std]

extern crate alloc;

pub mod boot;
pub mod heap;
pub mod serial;
