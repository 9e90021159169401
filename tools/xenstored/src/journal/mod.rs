//! The journal: every change is written to it before it is acknowledged (write-ahead log).
//!
//! It is in a memory file system (`/run`). What is written to a file there survives the end of the program as soon as
//! `write` returns; it does not survive a reboot, but neither do the domains. So nothing is ever synced.

mod encoding;
mod file;

pub use encoding::Record;
pub use file::Journal;
