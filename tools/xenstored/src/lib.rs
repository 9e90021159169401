//! The daemon that keeps xenstore, in place of Debian's C program: same sockets, rings, command line and limits.
#![forbid(unsafe_code)]

pub mod engine;
pub mod journal;
pub mod serve;
pub mod store;
