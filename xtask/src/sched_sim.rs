//! `cargo xtask sched-sim`: the simulator of the schedulers, built with optimisation and every check.

use std::process::Command;

use anyhow::Result;

use crate::process;

/// What the simulator is told: see its `--help`.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub struct SchedSimArguments {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the simulator and runs it.
///
/// **Errors:** it cannot be built, or something that must hold does not.
pub fn command(arguments: &SchedSimArguments) -> Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["run", "--quiet", "--profile", "checked", "-p", "xenolith-sched-sim", "--bin", "sched-sim", "--"]);
    process::run(cargo.args(&arguments.arguments))
}
