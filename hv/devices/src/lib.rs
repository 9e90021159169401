//! Virtual devices and tables: what a guest finds where a real machine has chips and firmware.
//!
//! Each device is plain state. A function takes the state, an access and the time, and gives the new state and what
//! is to be done (an interrupt to send, a deadline to keep) as data. Nothing here reads a clock, takes a lock, touches
//! hardware or memory of a guest, so everything can be tested by calling it.
//!
//! ```
//! use xenolith_devices::interrupt::{Delivery, Trigger};
//! use xenolith_devices::lapic::{Lapic, Receipt};
//! use xenolith_hal::{Time, TimeBase, VcpuId};
//!
//! let mut lapic = Lapic::new(VcpuId(1));
//! assert_eq!(lapic.apic_id(), 2, "twice the vCPU's number, as Xen has it");
//! assert_eq!(lapic.receive(Delivery::Fixed(0x30), Trigger::Edge), Receipt::Nothing, "disabled after reset");
//! // The guest enables it in the spurious-vector register.
//! lapic.write_page(0xf0, 4, 0x1ff, TimeBase { tsc: 0, time: Time(0), tsc_khz: 1_000_000 });
//! assert_eq!(lapic.receive(Delivery::Fixed(0x30), Trigger::Edge), Receipt::Pending);
//! // Two interrupts of one vector before the guest takes the first are one.
//! assert_eq!(lapic.receive(Delivery::Fixed(0x30), Trigger::Edge), Receipt::Merged);
//! assert_eq!(lapic.highest_pending(), Some(0x30));
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::disallowed_macros,
        clippy::disallowed_methods,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

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
pub mod platform;
pub mod ports;
pub mod pvclock;
mod rate;
pub mod string_io;
pub mod viridian;

pub use fault::GeneralProtection;
