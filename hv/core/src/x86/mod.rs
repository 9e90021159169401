//! Exit handlers of x86 guests.

pub mod chipset;
pub mod completion;
pub mod device_model;
pub mod guest_code;
pub mod guest_cpuid;
pub mod guest_msr;
pub mod guest_ports;
pub mod hvm_context;
pub mod interrupts;
pub mod mmio;
pub mod parts;
pub mod string_io;
pub mod viridian;
