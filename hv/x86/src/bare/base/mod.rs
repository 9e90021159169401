//! What everything else stands on: the image, each CPU's own area, the time stamp counter.

pub mod clock;
pub mod cpu_area;
pub mod image;
