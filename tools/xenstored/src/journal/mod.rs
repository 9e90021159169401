//! The journal: every change, written down before it is acknowledged.
//!
//! It lies in a directory of memory (`/run`): what is written to a file there outlives the program as soon as `write`
//! returns, and a restart of the machine, which it does not outlive, ends all domains too. So nothing is ever synced.

mod encoding;
mod file;

pub use encoding::Record;
pub use file::Journal;
