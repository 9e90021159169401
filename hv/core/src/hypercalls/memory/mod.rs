//! `memory_op`: memory of domains: how much, and where.
//!
//! What the operations do to a domain is in [`place`](crate::components::placing::place) and
//! [`populate`](crate::memory::populate), which know nothing of hypercalls.

mod acquire;
pub mod list;
mod place_calls;
mod reservation;
mod settings;

pub use list::operations;
