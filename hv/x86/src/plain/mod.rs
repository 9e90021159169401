//! Computation on words and bytes: no device, nothing of a CPU's own.

pub mod byte_ring;
pub mod calendar;
pub mod layout;
pub mod lfence;
pub mod paging;
pub mod symbol_table;
pub mod timestamp;
