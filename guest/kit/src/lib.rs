//! What a bare-metal x86 guest of ours needs to run: the PVH entry, a one-to-one map, traps, the local APIC, hypercalls,
//! console lines, more processors, and what a domain and a toolstack do. Test kernels and benchmark kernels are built on it.
//!
//! A kernel names its entry with [`entry!`] and is linked by `kernel.ld` of this crate.
#![no_std]

pub mod calls;
pub mod console;
pub mod cpu;
pub mod device_model;
pub mod domain;
pub mod ending;
mod entry;
pub mod foreign;
pub mod grants;
pub mod hypercall;
pub mod lapic;
pub mod mode;
pub mod pages;
pub mod processors;
pub mod relay;
pub mod stamps;
pub mod start_info;
pub mod toolstack;
pub mod traps;
pub mod twin;
pub mod user;
pub mod waits;

pub use traps::{Fault, catch};

unsafe extern "Rust" {
    /// Returns the kernel's own first function; [`entry!`] defines it.
    fn kit_main() -> !;
}

/// Names the function `fn() -> !` that the boot processor runs.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn kit_main() -> ! {
            $main()
        }
    };
}

/// Waits with interrupts let in until `done`, at most about `bound_ticks` of the time-stamp counter, or the same time on
/// a slower one; answers whether it came.
pub fn wait_until(bound_ticks: u64, done: impl Fn() -> bool) -> bool {
    let bound_ticks = waits::at_this_rate(bound_ticks);
    let begin = cpu::ticks();
    loop {
        if done() {
            return true;
        }
        if cpu::ticks().wrapping_sub(begin) > bound_ticks {
            return false;
        }
        cpu::let_interrupts_in();
    }
}
