//! HVM guests and their device models.

mod accesses;
mod chipset;
mod emulator;
mod loops;
mod operations;
mod strings;
mod vram;
