//! `xenstore-compare SOCKET SOCKET [SECONDS [SEED]]`: sends the same random requests to two daemons and compares
//! responses and events.
//!
//! The first daemon is the reference: Debian's, in the same dom0. Differences that have a documented reason are counted
//! by reason; any other ends the program and prints the seed.
#![forbid(unsafe_code)]

mod client;
mod reasons;
mod traffic;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use client::Client;
use reasons::Reasons;
use traffic::Pair;

/// Number of steps before both stores are compared as a whole and emptied.
const STEPS: u32 = 300;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let [first, second, ..] = &words[..] else {
        eprintln!("usage: xenstore-compare SOCKET SOCKET [SECONDS [SEED]]");
        return ExitCode::FAILURE;
    };
    let mut seed = number(3).unwrap_or(1);
    let (began, limit) = (Instant::now(), Duration::from_secs(number(2).unwrap_or(10)));
    let (mut reasons, mut steps) = (Reasons::default(), 0_u64);
    while began.elapsed() < limit {
        match round(first, second, seed, &mut reasons) {
            Ok(made) => steps = steps.saturating_add(made),
            Err(difference) => {
                eprintln!("seed {seed}: {difference}");
                return ExitCode::FAILURE;
            }
        }
        seed = seed.wrapping_add(1);
    }
    println!("{steps} requests, all answers equal but for these reasons:");
    reasons.counts().iter().for_each(|(reason, count)| println!("{count:>8} {reason}"));
    ExitCode::SUCCESS
}

/// Runs one round with one seed, on fresh connections.
fn round(first: &str, second: &str, seed: u64, reasons: &mut Reasons) -> Result<u64, String> {
    let connect = |path: &str| Client::connect(path).map_err(|error| format!("{path}: {error}"));
    let mut pair = Pair::new([connect(first)?, connect(first)?], [connect(second)?, connect(second)?], reasons);
    let mut dice = traffic::Dice::new(seed);
    let outcome = (0..STEPS).try_for_each(|_| pair.step(&mut dice)).and_then(|()| pair.finish());
    outcome.map(|()| pair.made)
}
