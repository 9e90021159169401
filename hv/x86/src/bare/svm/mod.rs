//! The CPU behind [`crate::guest::svm`]: enabling SVM, the world switch, the registers outside the VMCB.

mod fpu;
mod guest_report;
mod hardware;
mod lfence;
mod machine;
mod switch;

pub use guest_report::GuestReport;
pub use hardware::{Hardware, enable_cpu, features, look_for, open_ports, permission_maps};
pub use lfence::lfence_serializes;
pub use machine::{Space, Vcpu, has_started, new_space, new_vcpu, start_this_cpu};
pub use switch::before_host_state;
