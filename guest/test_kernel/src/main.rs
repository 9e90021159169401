//! A bare-metal domain 0 that asks the hypervisor hundreds of questions and prints what it answers.
//!
//! It judges nothing: each case is one line `CASE <name> = <what was observed>`, the same on every run on the same
//! hypervisor. Lines from two hypervisors are compared elsewhere. `only=<prefix>,<prefix>` on the command line
//! picks cases, `without=<prefix>,<prefix>` leaves some out.
#![no_std]
#![no_main]

mod cases;
mod runner;

use xenolith_guest_kit::console::line;
use xenolith_guest_kit::ending::{self, finish};
use xenolith_guest_kit::start_info::CommandLine;
use xenolith_guest_kit::{calls, domain, entry, grants, toolstack, waits};

entry!(main);

fn main() -> ! {
    let command_line = CommandLine::read();
    line(format_args!("TESTS BEGIN"));
    let placed = domain::set_up();
    if placed != 0 {
        line(format_args!("SETUP the shared page cannot be placed: {placed}"));
    }
    let mut runner = runner::Runner::new(command_line.value("only"), command_line.value("without"));
    cases::run(&mut runner);
    line(format_args!("TESTS END {}", runner.count()));
    finish()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    ending::panic(info)
}
