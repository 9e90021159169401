//! Random and mutated inputs for what a guest or a boot loader can reach, on the host.
//!
//! `xenolith-fuzz TARGET SECONDS [FIRST [COUNT]]`: runs inputs number FIRST, FIRST + 1 and so on. The number is the
//! seed, so one that fails is run again by itself with COUNT 1; `cargo xtask fuzz` says how. Without COUNT the inputs
//! that are kept come first.
//!
//! `xenolith-fuzz calls TARGET COUNT [FIRST]`: runs inputs until they made COUNT calls.
//!
//! `xenolith-fuzz keep TARGET SECONDS [FIRST]`: prints the numbers of inputs each of which runs code that none before it
//! did.
#![forbid(unsafe_code)]

mod boot_tables;
mod command_line;
mod corpus;
mod counters;
mod devices;
mod engine;
mod exits;
mod guests;
mod hypercalls;
mod instructions;
mod mutation;
mod nested_tables;
mod pvcalls;
mod registers;
mod rings;
mod saved;
mod sequences;
mod serving;
mod store;
mod string_io;
mod svm;

use std::process::ExitCode;

use engine::{Plan, Target};

macro_rules! target {
    ($name:literal, $run:expr, $calls:literal) => {
        Target { name: $name, run: $run, calls: $calls, corpus: include_str!(concat!("../corpus/", $name)) }
    };
}

/// Everything that is fuzzed.
const TARGETS: &[Target] = &[
    target!("bootinfo", |dice| one(boot_tables::run, dice), "tables"),
    target!("hypercalls", hypercalls::run, "hypercalls"),
    target!("sequences", sequences::run, "hypercalls"),
    target!("exits", exits::run, "exits and hypercalls"),
    target!("registers", registers::run, "accesses"),
    target!("command-line", |dice| one(command_line::run, dice), "lines"),
    target!("devices", |dice| one(devices::run, dice), "rounds"),
    target!("instructions", |dice| one(instructions::run, dice), "instructions"),
    target!("string-io", |dice| one(string_io::run, dice), "instructions"),
    target!("nested-tables", nested_tables::run, "changes"),
    target!("svm", svm::run, "entries"),
    target!("xenstore", store::run, "messages"),
    target!("rings", rings::run, "calls"),
    target!("pvcalls", pvcalls::run, "requests"),
    target!("saved-domains", |dice| one(saved::run, dice), "files"),
];

/// An input that is one call.
fn one(run: fn(&mut fastrand::Rng), dice: &mut fastrand::Rng) -> u64 {
    run(dice);
    1
}

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let keeps = words.first().is_some_and(|word| word == "keep");
    let counts = words.first().is_some_and(|word| word == "calls");
    if keeps || counts {
        words.remove(0);
    }
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let target = words.first().and_then(|name| TARGETS.iter().find(|target| target.name == name));
    let first = number(2).unwrap_or_else(|| fastrand::u64(..1 << 48));
    match (words.first().map(String::as_str), target, number(1)) {
        (Some("list"), ..) => TARGETS.iter().for_each(|target| println!("{}", target.name)),
        (_, Some(target), Some(seconds)) if keeps => return keep(target, seconds, first),
        (_, Some(target), Some(calls)) if counts => {
            engine::run(target, Plan { calls: Some(calls), ..Plan::new(u64::MAX, first) });
        }
        (_, Some(target), Some(seconds)) => {
            engine::run(target, Plan { count: number(3), ..Plan::new(seconds, first) });
        }
        _ => {
            eprintln!("usage: xenolith-fuzz list | [keep] TARGET SECONDS [FIRST [COUNT]] | calls TARGET COUNT [FIRST]");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Prints the inputs to keep.
fn keep(target: &Target, seconds: u64, first: u64) -> ExitCode {
    match corpus::keep(target, seconds, first) {
        Ok(Some(numbers)) => {
            numbers.iter().for_each(|number| println!("{number}"));
            ExitCode::SUCCESS
        }
        Ok(None) => {
            eprintln!("this build does not count what runs: make it with RUSTFLAGS=-Cinstrument-coverage");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("the counters cannot be read: {error}");
            ExitCode::FAILURE
        }
    }
}
