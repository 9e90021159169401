//! An emulated machine as an object: start it, read its serial line, type into it, learn how it ended.
//!
//! `cargo xtask boot`, `diff`, `run` and the whole-machine tests all start their machines here, so that a fault seen in
//! one of them can be repeated with another.
#![forbid(unsafe_code)]

mod bochs;
pub mod console;
mod debug_keys;
pub mod emulator;
pub mod ending;
mod grub_disc;
pub mod machine;
pub mod media;
pub mod places;
mod screen;

pub use console::Console;
pub use emulator::{Emulator, Keyboard};
pub use ending::Ending;
pub use machine::{Machine, MachineSpec, cpus_for_guests};
pub use media::{Media, Module};
