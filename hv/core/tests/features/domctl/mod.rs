//! `domctl` as a toolstack makes it, on a machine of vectors and maps.

mod affinity;
mod creating;
mod dead;
mod dirty_logging;
mod ending;
mod entry;
mod policy;
mod running;
mod settings;
mod soft_reset;
mod state;
pub mod toolstack;
