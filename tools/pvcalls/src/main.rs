//! `xenolith-pvcalls`: sockets for domains that have no network card.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use xenolith_pvcalls::serve::{Command, Options, serve, supervise};

fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Watch(serving) => supervise(&serving),
        Command::Serve { domain, serving } => serve(domain, &serving),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenolith-pvcalls: {error:#}");
            ExitCode::FAILURE
        }
    }
}
