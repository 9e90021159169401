//! The CPU behind [`crate::guest::svm`]: SVM switched on, the world switch, the registers that no control block has.

mod fpu;
mod guest_report;
mod hardware;
mod machine;
mod switch;

pub use guest_report::GuestReport;
pub use hardware::{Hardware, enable_cpu, features, open_ports, permission_maps};
pub use machine::{Space, Vcpu, new_space, new_vcpu, start_this_cpu};
