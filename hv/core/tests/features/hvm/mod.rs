//! HVM guests and their device models.

mod accesses;
mod emulator;
mod loops;
mod operations;
mod strings;
