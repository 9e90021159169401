//! The bare machine, from the lowest part up: each folder names only those before it.

pub mod base;
pub mod console;
pub mod memory;

pub mod interrupts;
pub mod svm;

pub mod crash;
pub mod platform;

pub mod machine;

pub mod boot;

pub use machine::X86Machine;
