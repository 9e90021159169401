//! rustfmt and clippy, for what runs on the host and for what runs on bare metal.

use std::process::Command;

use anyhow::Result;
use xenolith_tests::places;

use crate::process;
use crate::progress::Step;
use crate::toolchain::{BareMetal, Use};

/// The packages that are built for bare metal; clippy judges them for the target they run on.
const BARE_METAL: [&str; 4] = ["xenolith-bench-kernel", "xenolith-image", "xenolith-misfit", "xenolith-test-kernel"];

/// What was found, each with what the tool said.
///
/// **Errors:** no compiler for the bare-metal crates can be had.
pub fn check() -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut judge = |what: &str, remedy: &str, command: &mut Command| {
        let step = Step::begin(what);
        match process::output(command) {
            Ok(_) => step.end("clean"),
            Err(error) => {
                step.end("NOT CLEAN");
                found.push(format!("{what}: {error:#}\n    remedy: {remedy}"));
            }
        }
    };
    judge("rustfmt", "cargo fmt --all", cargo("fmt").args(["--all", "--check"]));
    let mut host = cargo("clippy");
    host.args(["--workspace", "--all-targets", "--quiet"]);
    for package in BARE_METAL {
        host.args(["--exclude", package]);
    }
    judge("clippy for the host", "cargo clippy", host.args(["--", "-D", "warnings"]));
    let compiler = BareMetal::find(Use::Clippy)?;
    let mut metal = compiler.cargo("clippy");
    for package in BARE_METAL {
        metal.args(["-p", package]);
    }
    judge("clippy for bare metal", "cargo xtask check", metal.args(["--quiet", "--", "-D", "warnings"]));
    Ok(found)
}

fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(subcommand).current_dir(places::root());
    command
}
