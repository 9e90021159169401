//! AMD's virtualisation (SVM): how a guest is entered, and what an exit from it means.
//!
//! Of these files only `switch`, `fpu` and `hardware` touch the CPU. The rest works on control blocks as plain words
//! and runs in tests on the host, with a scripted [`Processor`] in place of the CPU.

#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "used by `hardware` alone"))]
mod asid;
mod control_writes;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "shown by a key of the console"))]
pub mod exit_counts;
mod exits;
mod features;
mod fetch;
mod interrupt;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "used by `hardware` alone"))]
mod per_cpu;
#[cfg_attr(not(target_os = "none"), allow(dead_code, reason = "used by `hardware` alone"))]
mod permissions;
mod processor;
mod state;
mod vcpu;
mod vmcb;

#[cfg(target_os = "none")]
mod fpu;
#[cfg(target_os = "none")]
mod guest_report;
#[cfg(target_os = "none")]
mod hardware;
#[cfg(target_os = "none")]
mod machine;
#[cfg(target_os = "none")]
mod switch;

pub mod hypercall_page;

pub use features::{Features, Unfit};
#[cfg(target_os = "none")]
pub use guest_report::GuestReport;
#[cfg(target_os = "none")]
pub use hardware::{Hardware, enable_cpu, features, open_ports, permission_maps};
#[cfg(target_os = "none")]
pub use machine::{Space, Vcpu, new_space, new_vcpu, start_this_cpu};
pub use permissions::PermissionMaps;
pub use processor::Processor;
pub use vcpu::{Frame, SvmVcpu};

#[cfg(test)]
mod tests;
