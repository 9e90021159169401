//! The chipset of an HVM guest.

mod clock;
mod interval_timer;
mod moment;
mod pic;
mod ticks;

pub use moment::Moment;
pub use pic::Acknowledged;
pub use ticks::MissedTicks;
