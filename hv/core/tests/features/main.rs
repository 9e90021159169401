//! The core's features on a machine of vectors and maps, in one binary: `cargo test -p xenolith-core grant::` runs the
//! tests whose names begin with `grant::`.
#![cfg(not(loom))]

mod call_lists;
mod compat;
mod cpu_policy;
mod debug_keys;
mod domctl;
mod domu;
mod event_channel;
mod grant;
mod hvm;
mod machine_end;
mod memory;
mod passthrough;
mod platform;
mod scheduling;
mod sysctl;
mod vcpu;
