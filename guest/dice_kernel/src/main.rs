//! A bare-metal kernel that compares the hypervisor's emulation of instructions with the processor's own execution.
//!
//! As domain 0 it makes its twin, an HVM guest, and is its device model. The twin makes random instructions and runs each
//! twice with the same registers: on RAM and on the device's memory, which are seen at the same address in turn. Words on
//! the command line: `seed=`, `first=` (the first case), `cases=`, `seconds=`, `only=` (part of a form's name),
//! `splits=no` (no operands where pages meet), `faults=no` (no pages
//! that are missing or read-only).
#![no_std]
#![no_main]

mod case;
mod dice;
mod forms;
mod host;
mod mail;
mod place;
mod player;
mod run;
mod segments;
mod shape;

use core::fmt::Write;
use core::sync::atomic::{AtomicBool, Ordering};

use xenolith_guest_kit::console::{Line, line};
use xenolith_guest_kit::ending::{self, finish};
use xenolith_guest_kit::start_info::CommandLine;
use xenolith_guest_kit::{cpu, domain, entry};

entry!(main);

/// The word by which the twin knows that it is one.
const ROLE: &str = "player";

/// What the command line says.
struct Orders<'a> {
    seed: u64,
    first: u64,
    cases: u64,
    seconds: u64,
    only: &'a str,
    splits: bool,
    faults: bool,
}

impl<'a> Orders<'a> {
    fn read(command_line: &'a CommandLine) -> Self {
        let number = |name, without| command_line.value(name).and_then(|value| value.parse().ok()).unwrap_or(without);
        Self {
            seed: number("seed", 1),
            first: number("first", 0),
            cases: number("cases", u64::MAX),
            seconds: number("seconds", 1 << 32),
            only: command_line.value("only").unwrap_or_default(),
            splits: command_line.value("splits") != Some("no"),
            faults: command_line.value("faults") != Some("no"),
        }
    }
}

static IS_TWIN: AtomicBool = AtomicBool::new(false);

fn main() -> ! {
    let command_line = CommandLine::read();
    let orders = Orders::read(&command_line);
    if command_line.value("role") == Some(ROLE) {
        IS_TWIN.store(true, Ordering::Relaxed);
        player::play(&orders);
    }
    let placed = domain::set_up();
    if placed != 0 {
        line(format_args!("SETUP the shared page cannot be placed: {placed}"));
    }
    let mut words = Line::new();
    // It is shorter than a line.
    let _ = write!(words, "role={ROLE} {}", command_line.text());
    if let Err(result) = host::serve(words.text(), orders.seconds) {
        line(format_args!("DICE FAILED with result {result}"));
    }
    finish()
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo) -> ! {
    if IS_TWIN.load(Ordering::Relaxed) {
        mail::line(format_args!("PANIC of the twin: {info}"));
        mail::end(0, 0);
        cpu::stop();
    }
    ending::panic(info)
}
