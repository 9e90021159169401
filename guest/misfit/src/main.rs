//! A guest that misbehaves as it is told: `do=<behaviour>` on its command line, after `after=<seconds>`.
//!
//! What it is about to do it says on its own console first. It shows that a guest's misbehaviour ends with that guest.
#![no_std]
#![no_main]

mod behaviours;
mod calls;
mod clock;
mod console;

use xenolith_guest_kit::start_info::CommandLine;
use xenolith_guest_kit::{cpu, entry};

entry!(main);

fn main() -> ! {
    let words = CommandLine::read();
    let behaviour = words.value("do").unwrap_or("sleep");
    let seconds = words.value("after").and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    console::say("misfit: up");
    clock::wait(seconds);
    match behaviours::find(behaviour) {
        Some(does) => {
            console::say(behaviour);
            does()
        }
        None => console::say("misfit: there is no such behaviour"),
    }
    behaviours::sleep()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    console::say("misfit: panic");
    cpu::stop()
}
