//! The daemon around the state machine: sockets, rings, the journal, and two programs, keeper and worker, that keep
//! each other's sockets open.

mod handover;
mod inside;
mod keeper;
mod log;
mod machine;
mod mailbox;
mod options;
mod outside;
mod ring;
mod startup;
mod stream;
mod update;
mod worker;

pub use inside::Inside;
pub use keeper::keep;
pub use machine::{Machine, Page};
pub use options::Options;
pub use worker::work;
