//! `cargo xtask fuzz`: random and mutated inputs for what a guest or a boot loader can reach.
//!
//! Plain programs and stable Rust: no sanitiser and no coverage, so the inputs are made to fit each target
//! (`fuzz/`). They are built optimised and with every check of a debug build.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, bail};
use clap::Args;
use xenolith_tests::places;

use crate::process;
use crate::progress::Step;

/// Fuzzes one target, or each of them in turn.
#[derive(Args, Clone, Debug, Default)]
pub struct FuzzArguments {
    /// What to fuzz; without it, everything ("list" shows what there is)
    pub target: Option<String>,
    /// How long each target runs
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub seconds: u64,
    /// Run this one input, as a failure named it
    #[arg(long, value_name = "NUMBER", requires = "target")]
    pub input: Option<u64>,
}

/// Runs `cargo xtask fuzz`.
///
/// **Errors:** an input failed (the message says how to run it again), or there is no such target.
pub fn command(arguments: &FuzzArguments) -> Result<()> {
    let program = build()?;
    let listed = process::output(Command::new(&program).arg("list"))?;
    if arguments.target.as_deref() == Some("list") {
        print!("{listed}");
        return Ok(());
    }
    let wanted = |name: &&str| arguments.target.as_deref().is_none_or(|target| target == *name);
    let targets: Vec<&str> = listed.lines().filter(wanted).collect();
    if targets.is_empty() {
        bail!("there is no such target; these there are:\n{listed}");
    }
    let fuzz = |name: &str| {
        let mut fuzz = Command::new(&program);
        match arguments.input {
            Some(input) => fuzz.args([name, "3600", &input.to_string(), "1"]),
            None => fuzz.args([name, &arguments.seconds.to_string()]),
        };
        process::run(&mut fuzz).with_context(|| format!("fuzzing {name}"))
    };
    // As many at a time as there are CPUs: each is one thread.
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(name) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
            fuzz(name)?;
        }
        Ok(())
    };
    let at_once = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a fuzzer's watcher panicked")))
    })
}

fn build() -> Result<PathBuf> {
    let step = Step::begin("building the fuzzers");
    process::run(&mut build_command())?;
    step.end("done");
    Ok(places::target().join("checked/xenolith-fuzz"))
}

/// Returns what compiles the fuzzers.
#[must_use]
pub fn build_command() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "xenolith-fuzz", "--profile", "checked", "--target-dir"]);
    cargo.arg(places::target()).current_dir(places::root());
    cargo
}
