//! Hypercalls that need a file and no more.

pub mod console_io;
pub mod dm_op;
pub mod hvm_op;
pub mod mmuext_op;
pub mod physdev_op;
pub mod platform_op;
pub mod sched_op;
pub mod vcpu_op;
mod vcpu_start;
pub mod version;
pub mod vm_assist;
