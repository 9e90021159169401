//! The lowest part: the image, per-CPU areas, the time stamp counter.

pub mod clock;
pub mod cpu_area;
pub mod image;
