//! A bare-metal kernel that measures what the hypervisor under it costs, in ticks of the time-stamp counter.
//!
//! As domain 0 it prints a line `ROW <name> = <ticks>` for each operation, the least of repeated single ones, or
//! `ROW <name> = - <why not>`. With no hypervisor under it, it measures a world switch of its own: what the machine
//! itself charges. `only=<text>` on the command line picks the rows whose names hold the text. `profile=<name>`
//! lets one row go round for ever. `cpus=2` says that another domain gets a CPU of its own: then only the rows are taken
//! that differ by that. With `role=peer` it is the other domain that some operations take.
#![no_std]
#![no_main]

mod bare;
mod bench;
mod events;
mod exits;
mod grants;
mod growth;
mod heap;
mod hypercalls;
mod life;
mod locks;
mod memory;
mod models;
mod pairs;
mod peer;
mod saves;
mod sleepers;
mod timers;

use xenolith_guest_kit::console::line;
use xenolith_guest_kit::ending::{self, finish};
use xenolith_guest_kit::start_info::CommandLine;
use xenolith_guest_kit::{cpu, domain, entry};

entry!(main);

fn main() -> ! {
    let command_line = CommandLine::read();
    if cpu::cpuid(0x4000_0000, 0).ebx != u32::from_le_bytes(*b"XenV") {
        bare::run();
        finish();
    }
    if command_line.value("role") == Some("peer") {
        peer::run();
    }
    line(format_args!("BENCH BEGIN"));
    let placed = domain::set_up();
    if placed != 0 {
        line(format_args!("SETUP the shared page cannot be placed: {placed}"));
    }
    let at_boot = memory::AtBoot::read();
    hypercalls::name_compiler();
    let mut bench = bench::Bench::new(command_line.value("only"), command_line.value("profile"));
    if command_line.value("cpus") == Some("2") {
        at_boot.row_of_cpus(&mut bench);
        pairs::on_two_cpus(&mut bench);
        line(format_args!("BENCH END {}", bench.count()));
        finish();
    }
    hypercalls::run(&mut bench);
    exits::run(&mut bench);
    events::run(&mut bench);
    timers::run(&mut bench);
    memory::run(&mut bench, &at_boot);
    pairs::run(&mut bench);
    life::run(&mut bench);
    models::run(&mut bench);
    saves::run(&mut bench);
    locks::run(&mut bench);
    growth::run(&mut bench);
    line(format_args!("BENCH END {}", bench.count()));
    finish()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    ending::panic(info)
}
