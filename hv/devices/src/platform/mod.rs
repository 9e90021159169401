//! The chipset of an HVM guest.

mod interval_timer;
mod pic;
mod ticks;

pub use pic::Acknowledged;
pub use ticks::MissedTicks;
