//! AMD's virtualisation (SVM): entering a guest, and decoding its exits.
//!
//! It works on VMCBs as plain words and runs in tests on the host, with a scripted [`Processor`] (`scripted`) in place
//! of the CPU; the real one is `bare::svm`.

pub mod asid;
pub mod control_writes;
pub mod exit_counts;
pub mod exits;
pub mod features;
pub mod fetch;
pub mod hypercall_page;
pub mod interrupt;
pub mod per_cpu;
pub mod permissions;
pub mod processor;
#[cfg(not(target_os = "none"))]
#[cfg_attr(
    not(test),
    expect(clippy::disallowed_methods, reason = "for tests and fuzzing, where memory does not run out")
)]
pub mod scripted;
pub mod state;
pub mod vcpu;
pub mod vmcb;

pub use features::{Features, Unfit};
pub use permissions::PermissionMaps;
pub use processor::Processor;
pub use vcpu::{Frame, SvmVcpu};

#[cfg(test)]
mod tests;
