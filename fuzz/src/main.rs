//! Random and mutated inputs for what a guest or a boot loader can reach, on the host.
//!
//! `xenolith-fuzz TARGET SECONDS [FIRST [COUNT]]`: runs inputs number FIRST, FIRST + 1 and so on. The number is the
//! seed, so one that fails is run again by itself with COUNT 1; `cargo xtask fuzz` says how.
#![forbid(unsafe_code)]

mod boot_tables;
mod command_line;
mod devices;
mod engine;
mod guests;
mod hypercalls;
mod instructions;
mod mutation;

use std::process::ExitCode;

use engine::{Plan, Target};

/// Everything that is fuzzed.
const TARGETS: &[Target] = &[
    Target { name: "bootinfo", run: boot_tables::run },
    Target { name: "hypercalls", run: hypercalls::run },
    Target { name: "command-line", run: command_line::run },
    Target { name: "devices", run: devices::run },
    Target { name: "instructions", run: instructions::run },
];

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
