//! `xenstore-cost SOCKET PROCESS NAME COUNT...`: what a daemon of xenstore takes for a request beside COUNT domains, in
//! nanoseconds of its processor time, which are instructions on a machine whose clock counts them.
//!
//! The domains are real and small: a page with a ring, an event channel, no vCPU. They have the nodes and the watches that a
//! guest with a disk and a card has; the nodes of its back ends lie where dom0's kernel does not look for any.
//!
//! ```text
//! STORE what NAME COUNT nanoseconds
//! ```
#![forbid(unsafe_code)]

mod domains;
mod operations;

use std::process::ExitCode;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [socket, process, name, counts @ ..] = &words[..] else {
        eprintln!("usage: xenstore-cost SOCKET PROCESS NAME COUNT...");
        return ExitCode::FAILURE;
    };
    match measure(socket, process, name, counts) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenstore-cost: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(socket: &str, process: &str, name: &str, counts: &[String]) -> Result<(), String> {
    let mut domains = domains::Domains::new(socket)?;
    for count in counts {
        let count = count.parse().map_err(|_| format!("{count:?} is no number of domains"))?;
        domains.grow(count)?;
        // Whoever watches is connected while it is measured, and not while domains are made.
        let _watches = domains.watched()?;
        for (what, taken) in operations::measure(socket, process, &domains.numbers)? {
            println!("STORE {what} {name} {count} {taken}");
        }
    }
    Ok(())
}
