//! Hypercalls: the table, dispatch, and every call.

mod call;
pub mod console_io;
pub mod ctl_bitmap;
mod dispatch;
pub mod dm_op;
pub mod domctl;
pub mod event_channel;
pub mod grant_table;
pub mod hvm_op;
mod list;
pub mod memory;
pub mod mmuext_op;
mod multicall;
pub mod physdev_op;
pub mod platform_op;
pub mod sched_op;
pub mod sysctl;
mod table;
pub mod vcpu_op;
mod vcpu_start;
pub mod version;
pub mod viridian;
pub mod vm_assist;

pub use call::Call;
pub use dispatch::{answer, make};
pub use list::Table;
pub use multicall::multicall;
pub use table::{
    Body, Handler, Hypercall, Operation, OperationBody, Precondition, in_order, operation, permitted, refused,
};
