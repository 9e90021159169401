//! rustfmt, clippy and rustdoc, for what runs on the host and for what runs on bare metal.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use xenolith_tests::places;

use super::documentation;
use crate::process;
use crate::progress::Step;
use crate::toolchain::{BareMetal, Use};

/// The packages that are built for bare metal; clippy judges them for the target they run on.
pub const BARE_METAL: [&str; 5] =
    ["xenolith-bench-kernel", "xenolith-dice-kernel", "xenolith-image", "xenolith-misfit", "xenolith-test-kernel"];

/// Returns what was found, each with what the tool said. `host_is_linted` where [`lint_what_it_compiles`] saw to the
/// host's.
///
/// **Errors:** no compiler for the bare-metal crates can be had.
pub fn check(host_is_linted: bool) -> Result<Vec<String>> {
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
    if !host_is_linted {
        let mut host = cargo("clippy");
        host.args(["--workspace", "--all-targets", "--quiet"]);
        for package in BARE_METAL {
            host.args(["--exclude", package]);
        }
        judge("clippy for the host", "cargo clippy", host.args(["--", "-D", "warnings"]));
    }
    judge("clippy for bare metal", "cargo xtask check", &mut bare_metal()?);
    judge("rustdoc for the host", "mend the links that it names", &mut documentation::host());
    judge("rustdoc for bare metal", "mend the links that it names", &mut documentation::bare_metal()?);
    Ok(found)
}

/// Returns the command that runs Clippy for the bare-metal crates.
///
/// **Errors:** no compiler for them can be had.
pub fn bare_metal() -> Result<Command> {
    let mut metal = BareMetal::find(Use::Clippy)?.cargo("clippy");
    for package in BARE_METAL {
        metal.args(["-p", package]);
    }
    metal.args(["--quiet", "--", "-D", "warnings"]);
    Ok(metal)
}

/// Has a cargo command that compiles compile our own crates by way of clippy, which is a compiler too and fails at its
/// warnings: so one pass does both, and what comes from others is compiled once instead of compiled and checked.
///
/// **Errors:** clippy is not there.
pub fn lint_what_it_compiles(command: &mut Command) -> Result<()> {
    let cargo = PathBuf::from(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let beside = cargo.with_file_name("clippy-driver");
    // Where nobody says which cargo it is, the one on the path counts, and what lies beside that.
    let is_there = if cargo.is_absolute() {
        beside.exists()
    } else {
        process::output(Command::new(&beside).arg("--version")).is_ok()
    };
    if !is_there {
        bail!("clippy is missing beside {}; run: rustup component add clippy", cargo.display());
    }
    // What `cargo clippy -- -D warnings` sets for the compilers that it starts.
    command.env("RUSTC_WORKSPACE_WRAPPER", beside);
    command.env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");
    Ok(())
}

/// Returns a cargo command, at the root of the tree.
pub fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.arg(subcommand).current_dir(places::root());
    command
}
