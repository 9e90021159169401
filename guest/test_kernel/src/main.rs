//! A bare-metal domain 0 that asks the hypervisor hundreds of questions and prints what it answers.
//!
//! It judges nothing: each case is one line `CASE <name> = <what was observed>`, the same on every run on the same
//! hypervisor. Lines from two hypervisors are compared elsewhere. `only=<prefix>,<prefix>` on the command line
//! picks cases, `without=<prefix>,<prefix>` leaves some out.
//!
//! It makes a twin of itself as well, an ordinary domain, which asks most of them again.
#![no_std]
#![no_main]

mod cases;
mod runner;

use xen_abi::DomId;
use xenolith_guest_kit::console::line;
use xenolith_guest_kit::ending::{self, finish};
use xenolith_guest_kit::start_info::CommandLine;
use xenolith_guest_kit::{calls, domain, entry, grants, relay, toolstack, twin, waits};

entry!(main);

fn main() -> ! {
    let command_line = CommandLine::read();
    if command_line.value("role") == Some(cases::DOMU) {
        in_domu(&command_line, "domu/", cases::run_in_domu);
    }
    if let Some(group) = cases::VIRIDIAN.iter().find(|group| command_line.value("role") == Some(group.role)) {
        in_domu(&command_line, group.names, cases::run_in_viridian);
    }
    if command_line.value("role") == Some(cases::PIRQ) {
        in_domu(&command_line, cases::PIRQ_NAMES, cases::run_in_pirq);
    }
    line(format_args!("TESTS BEGIN"));
    place_shared_page();
    let mut runner = runner::Runner::new("", command_line.value("only"), command_line.value("without"));
    cases::run(&mut runner);
    line(format_args!("TESTS END {}", runner.count()));
    finish()
}

/// Runs what an ordinary domain is asked; domain 0 prints what it says.
fn in_domu(command_line: &CommandLine, names: &'static str, cases: fn(&mut runner::Runner<'_>)) -> ! {
    relay::begin();
    let id = command_line.value(twin::DOMID).and_then(|id| id.parse().ok());
    domain::remember_own_id(DomId(id.unwrap_or_default()));
    place_shared_page();
    let (only, without) = (command_line.value("only"), command_line.value("without"));
    cases(&mut runner::Runner::new(names, only, without));
    finish()
}

fn place_shared_page() {
    let placed = domain::set_up();
    if placed != 0 {
        line(format_args!("SETUP the shared page cannot be placed: {placed}"));
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    ending::panic(info)
}
