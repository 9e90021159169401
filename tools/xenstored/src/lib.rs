//! The daemon that keeps xenstore, in place of Debian's C program: same sockets, rings, command line and limits.
#![forbid(unsafe_code)]

pub mod engine;
#[cfg(feature = "serve")]
pub mod journal;
#[cfg(feature = "serve")]
pub mod serve;
pub mod store;
