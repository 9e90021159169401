//! `xenstored`: the xenstore daemon, in place of Debian's.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use xenstored::serve::{Options, keep, work};

fn main() -> ExitCode {
    let options = Options::of_program();
    let done = if options.serve { work(&options) } else { keep(&options) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xenstored: {error:#}");
            ExitCode::FAILURE
        }
    }
}
