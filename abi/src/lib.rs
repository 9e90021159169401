//! The public interface of Xen 4.17 as Rust types and constants.
//!
//! Nothing here does anything: it says how the structures that cross between a guest and the hypervisor lie in
//! memory and what the numbers in them are called. The names are those of the public headers, in Rust's spelling:
//! `struct evtchn_send` is [`event_channel::EvtchnSend`], `EVTCHNOP_send` is [`event_channel::EVTCHNOP_SEND`]; a
//! leading `xen_` of a structure is left out. A module stands for a header or a part of one.
//!
//! Every structure is made of fields that may hold any bytes, with all padding spelled out and zero in a default
//! value, so it can be copied in from a guest and out to one as bytes. Unions are bytes with a pair of methods for
//! each member. `tests/layout` compares every size, offset and number with the C headers.
//!
//! ```
//! use xen_abi::event_channel::EvtchnSend;
//! use xen_abi::{Errno, Port};
//! use zerocopy::{FromBytes, IntoBytes};
//!
//! // What a guest passes to EVTCHNOP_send, byte by byte.
//! let send = EvtchnSend::read_from_bytes(&[5, 0, 0, 0]).unwrap();
//! assert_eq!(send.port, Port(5));
//! assert_eq!(send.as_bytes(), [5, 0, 0, 0]);
//! // And what it gets back in RAX if the port is not bound.
//! assert_eq!(Errno::EINVAL.as_return(), -22);
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
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
#![warn(missing_docs)]

pub mod callback;
pub mod compat;
pub mod console_io;
pub mod cpu_features;
pub mod cpu_policy;
pub mod cpuid;
#[doc(hidden)]
pub mod describe;
pub mod dm_op;
pub mod domctl;
pub mod elfnote;
pub mod errno;
pub mod event_channel;
pub mod event_fifo;
pub mod grant_entry;
pub mod grant_table;
pub mod guest_context;
pub mod handle;
pub mod hvm_op;
pub mod hvm_param;
pub mod hvm_save;
pub mod hvm_save_cpu;
pub mod hvm_vcpu;
pub mod hypercall;
pub mod ids;
pub mod io;
pub mod ioreq;
pub mod memory;
pub mod memory_access;
pub mod memory_map;
pub mod nmi;
pub mod physdev;
pub mod physmap;
pub mod platform;
pub mod pmu;
pub mod sched;
pub mod shared_info;
pub mod shared_info_compat;
pub mod start_info;
pub mod sysctl;
pub mod union;
pub mod vcpu;
pub mod version;
pub mod virq;
pub mod vm_assist;
pub mod xsm;

pub use errno::Errno;
pub use handle::GuestHandle;
pub use ids::{DomId, Gfn, GrantHandle, GrantRef, Mfn, Port, VcpuId};
pub use union::Union;
