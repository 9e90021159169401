//! Which page appears at which frame of a domain.

pub mod place;
pub mod settle;
