//! The x86-64 machine: boot, paging, frames, interrupts, timers and virtualisation.
//!
//! This is where the `unsafe` lives. What the core may ask of it is in `xenolith-hal`.
//!
//! Three parts, each of which names only those before it:
//!
//! - [`plain`]: computation on words and bytes, such as page tables and calendars;
//! - [`guest`]: what a guest runs in: nested page tables, the IOMMU's tables, the vCPUs of SVM;
//! - `bare`: all that needs the bare machine. It is left out when the crate is built for an operating system, where
//!   the other two are tested.
//!
//! ```
//! use xenolith_x86::plain::layout;
//!
//! // RAM appears in the direct map, and an address there leads back to it.
//! assert_eq!(layout::machine_address(layout::direct(0x1000)), Some(0x1000));
//! // The lower half stays unmapped: a guest's address is not taken for one of ours.
//! assert_eq!(layout::machine_address(0x1000), None);
//! ```
#![no_std]
#![cfg_attr(not(test), deny(clippy::disallowed_macros, clippy::disallowed_methods))]

extern crate alloc;
#[cfg(not(target_os = "none"))]
extern crate std;

pub mod plain;

pub mod guest;

#[cfg(target_os = "none")]
pub mod bare;
