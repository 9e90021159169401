//! `xenstore-stress SOCKET FILE`: asks a daemon for all sorts of things until FILE exists, and checks each answer, also while
//! the daemon is killed and started again.
//!
//! What was acknowledged is there, each request has one answer, transactions are done as a whole or not at all, and a change
//! is told to its watchers. Where the daemon closes its sockets, because both of its programs were killed, the
//! request under way may have been done or not; all that was acknowledged before must be there still.
#![forbid(unsafe_code)]

mod client;
mod load;
mod watched;

use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

/// Clients of each kind.
const CLIENTS: u32 = 3;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [socket, end] = &words[..] else {
        eprintln!("usage: xenstore-stress SOCKET FILE");
        return ExitCode::FAILURE;
    };
    let end = PathBuf::from(end);
    let found = thread::scope(|scope| {
        let clients = (0..CLIENTS).flat_map(|number| {
            let end = &end;
            [
                scope.spawn(move || load::run(socket, &format!("/stress/{number}"), end)),
                scope.spawn(move || watched::run(socket, &format!("/stress/watched-{number}"), end)),
            ]
        });
        let clients: Vec<_> = clients.collect();
        clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| Err("a client panicked".into())))
            .collect::<Vec<_>>()
    });
    let mut is_well = true;
    for outcome in found {
        match outcome {
            Ok(said) => println!("{said}"),
            Err(fault) => {
                eprintln!("xenstore-stress: {fault}");
                is_well = false;
            }
        }
    }
    if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
