//! Xenolith's core: domains, vCPUs, event channels, grants, memory, time and the hypercalls that work on them.
//!
//! It never touches hardware and holds no `unsafe`: everything that it asks of the machine goes through
//! [`xenolith_hal`]. So all of it runs on the host, in tests.
//!
//! A machine makes [`Frames`] of its RAM and a [`Hypervisor`] of both, builds the first domain with [`dom0::build`], and
//! calls [`run::run`] on each CPU. The modules are layers: each names only modules above it in this list.
//!
//! | module | what it is |
//! |---|---|
//! | [`outcome`], [`settings`], [`budget`] | what a handler returns; what boot decided; how long a call may work |
//! | [`memory`] | frames, guest memory, p2m |
//! | [`components`] | what domains and vCPUs are made of, each by itself |
//! | [`domains`] | domain, vCPU, table, scheduler, hypervisor |
//! | [`lifecycle`] | creation, waking, pausing, shutdown, destruction, time, debug keys |
//! | [`x86`] | handlers behind an x86 guest's exits |
//! | [`hypercalls`] | the table, dispatch, every call |
//! | [`run`], [`dom0`] | the loop of a CPU; building the first domain |
//!
//! ```
//! use xen_abi::Errno;
//! use xenolith_core::{Frames, Hypervisor, Settings};
//! use xenolith_fake::FakeMachine;
//! use xenolith_hal::{DomId, Mfn};
//!
//! let frames = Frames::for_domains(Mfn(16), &[Mfn(1)..Mfn(16)], 1, 4).unwrap();
//! let hv = Hypervisor::new(FakeMachine::new(1, 16), frames, Settings::default());
//! assert_eq!(hv.frames.free_pages(), 15);
//! assert_eq!(hv.domain(DomId(0)).err(), Some(Errno::ESRCH));
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

#[doc(inline)]
pub use domains::domain::Domain;
#[doc(inline)]
pub use domains::hypervisor::{DomainRef, Hypervisor};
#[doc(inline)]
pub use domains::running::Running;
#[doc(inline)]
pub use domains::vcpu::{Vcpu, VcpuCore};
#[doc(inline)]
pub use hypercalls::Table;
#[doc(inline)]
pub use memory::frames::Frames;
#[doc(inline)]
pub use outcome::{After, Answer, CrashReason, Outcome};
#[doc(inline)]
pub use settings::Settings;
