//! The daemon: one process watches xenstore for devices, and one serves each guest.

mod link;
mod log;
mod options;
mod supervisor;
mod worker;
mod xen;

pub use link::{Link, Store};
pub use log::Log;
pub use options::{Command, Options, Serving};
pub use supervisor::supervise;
pub use worker::{Worker, serve};
