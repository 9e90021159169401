//! The chipset of an HVM guest.

mod clock;
mod hpet;
mod interval_timer;
mod moment;
mod pic;
mod ticks;

pub use hpet::{HPET_BYTES, HPET_PAGE};
pub use moment::Moment;
pub use pic::Acknowledged;
pub use ticks::MissedTicks;
