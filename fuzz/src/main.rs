//! Random and mutated inputs for what a guest or a boot loader can reach, on the host.
//!
//! `xenolith-fuzz TARGET SECONDS [FIRST [COUNT]]`: runs inputs number FIRST, FIRST + 1 and so on. The number is the
//! seed, so one that fails is run again by itself with COUNT 1; `cargo xtask fuzz` says how.
#![forbid(unsafe_code)]

mod boot_tables;
mod command_line;
mod devices;
mod engine;
mod exits;
mod guests;
mod hypercalls;
mod instructions;
mod mutation;
mod nested_tables;
mod registers;
mod sequences;
mod store;
mod string_io;
mod svm;

use std::process::ExitCode;

use engine::{Plan, Target};

/// Everything that is fuzzed.
const TARGETS: &[Target] = &[
    Target { name: "bootinfo", run: |dice| one(boot_tables::run, dice), calls: "tables" },
    Target { name: "hypercalls", run: hypercalls::run, calls: "hypercalls" },
    Target { name: "sequences", run: sequences::run, calls: "hypercalls" },
    Target { name: "exits", run: exits::run, calls: "exits and hypercalls" },
    Target { name: "registers", run: registers::run, calls: "accesses" },
    Target { name: "command-line", run: |dice| one(command_line::run, dice), calls: "lines" },
    Target { name: "devices", run: |dice| one(devices::run, dice), calls: "rounds" },
    Target { name: "instructions", run: |dice| one(instructions::run, dice), calls: "instructions" },
    Target { name: "string-io", run: |dice| one(string_io::run, dice), calls: "instructions" },
    Target { name: "nested-tables", run: nested_tables::run, calls: "changes" },
    Target { name: "svm", run: svm::run, calls: "entries" },
    Target { name: "xenstore", run: store::run, calls: "requests" },
];

/// An input that is one call.
fn one(run: fn(&mut fastrand::Rng), dice: &mut fastrand::Rng) -> u64 {
    run(dice);
    1
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let target = words.first().and_then(|name| TARGETS.iter().find(|target| target.name == name));
    match (words.first().map(String::as_str), target, number(1)) {
        (Some("list"), ..) => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        (_, Some(target), Some(seconds)) => {
            let first = number(2).unwrap_or_else(|| fastrand::u64(..1 << 48));
            engine::run(target, Plan { seconds, first, count: number(3) });
        }
        _ => {
            eprintln!("usage: xenolith-fuzz list | TARGET SECONDS [FIRST [COUNT]]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
