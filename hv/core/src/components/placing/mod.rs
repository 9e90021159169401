//! Placing pages into a p2m and taking them out.

pub mod place;
pub mod settle;
