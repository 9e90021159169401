//! HVM guests and their device models.

mod accesses;
mod chipset;
pub mod emulator;
mod hostile;
mod loops;
mod operations;
mod parts;
mod pirqs;
mod strings;
mod viridian;
mod vram;
