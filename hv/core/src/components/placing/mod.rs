//! Which page appears at which frame of a domain.

pub mod flushed;
pub mod place;
