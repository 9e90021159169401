//! Virtual devices and tables: what a guest finds where a real machine has chips and firmware.
//!
//! Each device is plain state. A function takes the state, an access and the time, and gives the new state and what
//! is to be done (an interrupt to send, a deadline to keep) as data. Nothing here reads a clock, takes a lock, touches
//! hardware or memory of a guest, so everything can be tested by calling it.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod acpi;
pub mod cpuid;
pub mod e820;
mod fault;
pub mod interrupt;
pub mod ioapic;
pub mod lapic;
pub mod mmio_decode;
pub mod msr;
pub mod pci;
pub mod ports;
pub mod pvclock;

pub use fault::GeneralProtection;
