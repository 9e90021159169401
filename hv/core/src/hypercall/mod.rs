//! Hypercalls: the table of them, and the way from the guest's registers to a handler.

mod call;
mod dispatch;
mod list;
mod multicall;
mod table;

pub use call::Call;
pub use dispatch::{After, answer, make};
pub use list::Table;
pub use multicall::multicall;
pub use table::{
    Body, Caller, Handler, Hypercall, Operation, OperationBody, Precondition, control, operation, refused,
};
