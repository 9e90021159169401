//! AMD's IOMMU: what devices reach of memory, and what they are refused.
//!
//! All devices are the control domain's, so all entries of the one device table lead to the same tables, which follow
//! the domain's nested tables. What was taken away is forgotten by the IOMMUs before its frame is used again, many
//! pages at a time ([`forget`]).

#[cfg(target_os = "none")]
mod all;
pub mod tables;
#[cfg(target_os = "none")]
mod unit;
#[cfg(any(target_os = "none", test))]
mod words;

#[cfg(target_os = "none")]
pub use all::{confine, find, forget, is_there, report};
