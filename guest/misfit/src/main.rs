//! A guest that misbehaves as it is told: `do=<deed>` on its command line, after `after=<seconds>`.
//!
//! What it is about to do it says on its own console first. It shows that a guest's misdeeds end with that guest.
#![no_std]
#![no_main]

mod calls;
mod clock;
mod console;
mod deeds;

use xenolith_guest_kit::start_info::CommandLine;
use xenolith_guest_kit::{cpu, entry};

entry!(main);

fn main() -> ! {
    let words = CommandLine::read();
    let deed = words.value("do").unwrap_or("sleep");
    let seconds = words.value("after").and_then(|seconds| seconds.parse().ok()).unwrap_or(0);
    console::say("misfit: up");
    clock::wait(seconds);
    match deeds::find(deed) {
        Some(does) => {
            console::say(deed);
            does()
        }
        None => console::say("misfit: there is no such deed"),
    }
    deeds::sleep()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    console::say("misfit: panic");
    cpu::stop()
}
