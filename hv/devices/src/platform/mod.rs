//! The chipset of an HVM guest.

mod pic;

pub use pic::Acknowledged;
