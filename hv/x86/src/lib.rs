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
pub mod address_space;
pub mod amd_vi;
#[cfg(target_os = "none")]
pub mod boot;
#[cfg(any(target_os = "none", test))]
mod byte_ring;
#[cfg(any(target_os = "none", test))]
mod calendar;
#[cfg(target_os = "none")]
mod calibration;
#[cfg(target_os = "none")]
pub mod calls;
#[cfg(target_os = "none")]
pub mod clock;
#[cfg(target_os = "none")]
pub mod console;
#[cfg(target_os = "none")]
pub mod cpu_area;
#[cfg(target_os = "none")]
pub mod crash;
#[cfg(target_os = "none")]
mod descriptors;
#[cfg(target_os = "none")]
mod device_access;
#[cfg(target_os = "none")]
mod device_interrupts;
#[cfg(target_os = "none")]
pub mod devices;
#[cfg(target_os = "none")]
pub mod heap;
#[cfg(target_os = "none")]
pub mod idle;
#[cfg(target_os = "none")]
pub mod image;
#[cfg(target_os = "none")]
pub mod interrupt_controllers;
#[cfg(target_os = "none")]
pub mod interrupts;
#[cfg(target_os = "none")]
pub mod keys;
#[cfg(any(target_os = "none", test))]
pub mod layout;
#[cfg(target_os = "none")]
pub mod local_apic;
#[cfg(target_os = "none")]
mod machine;
#[cfg(target_os = "none")]
pub mod memory_types;
pub mod microcode;
pub mod nested;
#[cfg(any(target_os = "none", test))]
pub mod paging;
#[cfg(target_os = "none")]
mod pci_config;
#[cfg(target_os = "none")]
mod physical;
#[cfg(target_os = "none")]
pub mod power;
#[cfg(target_os = "none")]
pub mod ram;
#[cfg(target_os = "none")]
pub mod reboot;
#[cfg(target_os = "none")]
pub mod serial;
#[cfg(target_os = "none")]
pub mod shootdown;
#[cfg(target_os = "none")]
mod spare_cpu;
#[cfg(target_os = "none")]
pub mod stacks;
pub mod svm;
#[cfg(any(target_os = "none", test))]
mod symbol_table;
#[cfg(target_os = "none")]
pub mod timer;
#[cfg(target_os = "none")]
pub mod wall_clock;

#[cfg(target_os = "none")]
pub use machine::X86Machine;
