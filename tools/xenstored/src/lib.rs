//! The xenstore daemon, in place of Debian's C program: same sockets, rings, command line and quotas.
#![forbid(unsafe_code)]

pub mod engine;
#[cfg(feature = "serve")]
pub mod journal;
#[cfg(feature = "serve")]
pub mod serve;
pub mod store;
