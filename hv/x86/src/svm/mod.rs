//! AMD's virtualisation (SVM): how a guest is entered, and what an exit from it means.
//!
//! All of this works on control blocks as plain words
//! and runs in tests on the host, with a scripted [`Processor`] in place of the CPU.

#[allow(dead_code, reason = "for the code that enables SVM")]
mod asid;
mod exits;
mod features;
mod interrupt;
#[allow(dead_code, reason = "for the code that enables SVM")]
mod per_cpu;
#[allow(dead_code, reason = "for the code that enables SVM")]
mod permissions;
mod processor;
mod state;
mod vcpu;
mod vmcb;

pub mod hypercall_page;

pub use features::{Features, Unfit};
pub use permissions::PermissionMaps;
pub use processor::Processor;
pub use vcpu::{Frame, SvmVcpu};

#[cfg(test)]
mod tests;
