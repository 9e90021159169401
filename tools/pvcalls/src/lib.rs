//! Sockets of domains that have no network card: the back end of PV Calls, in a program of domain 0.
//!
//! The engine ([`Device`]) is a state machine between a [`Guest`] and the host's [`Sockets`]. All that comes from the guest is
//! hostile: names, indexes, lengths, grants, events. It is checked, bounded by [`Limits`], and answered by an error number;
//! where a guest may connect to and listen is its [`Policy`]; what it did is a [`Record`] each, and [`Counters`].
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod counters;
mod engine;
mod host;
mod limits;
mod policy;
mod record;
#[cfg(feature = "serve")]
pub mod serve;
mod tcp;

pub use counters::{Counters, Usage};
pub use engine::{Device, number};
pub use host::{Guest, Readiness, Sockets, Token};
pub use limits::Limits;
pub use policy::{BadPolicy, Policy, Publish, Rule};
pub use record::Record;
pub use tcp::Tcp;
