//! `cargo xtask fuzz`: random and mutated inputs for what a guest or a boot loader can reach.
//!
//! Plain programs and stable Rust: no sanitiser, so the inputs are made to fit each target (`fuzz/`). They are built
//! optimised and with every check of a debug build. `--coverage` shows which lines they run.

mod coverage;
mod emulator;
mod lines;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

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
    /// Show which lines run, of the core by its own tests too
    #[arg(long, conflicts_with = "input")]
    pub coverage: bool,
    /// How many calls of the target to make, by as many programs as there are CPUs, instead of how long; with "emulator", how
    /// many cases
    #[arg(long, value_name = "NUMBER", requires = "target", conflicts_with_all = ["input", "coverage", "keep"])]
    pub cases: Option<u64>,
    /// With "emulator": where the cases come from, as a difference named it
    #[arg(long, value_name = "NUMBER", requires = "target")]
    pub seed: Option<u64>,
    /// With "emulator": run this one case
    #[arg(long, value_name = "NUMBER", requires = "seed")]
    pub case: Option<u64>,
    /// With "emulator": more words for the kernel (`only=FORM`, `splits=no`)
    #[arg(long, value_name = "WORD", requires = "target")]
    pub words: Vec<String>,
    /// With "emulator": take the images as they lie in target/image/
    #[arg(long, requires = "target")]
    pub no_build: bool,
    /// Look for inputs that run more code than the kept ones, and keep them (in `fuzz/corpus`)
    #[arg(long, conflicts_with_all = ["input", "coverage"])]
    pub keep: bool,
}

impl FuzzArguments {
    /// Returns true if something is asked that one target alone understands.
    fn is_for_emulator(&self) -> bool {
        self.seed.is_some() || !self.words.is_empty()
    }
}

/// Runs `cargo xtask fuzz`.
///
/// **Errors:** an input failed (the message says how to run it again), or there is no such target.
pub fn command(arguments: &FuzzArguments) -> Result<()> {
    match arguments.target.as_deref() {
        Some("list") => {}
        Some(emulator::NAME) => return emulator::command(arguments),
        _ if arguments.is_for_emulator() => {
            bail!("--seed, --case and --words are for `fuzz {}`", emulator::NAME)
        }
        _ if arguments.coverage => return coverage::command(arguments),
        _ if arguments.keep => return coverage::keep(arguments),
        _ => {}
    }
    fuzz(&build()?, arguments, None)
}

/// Runs the fuzzers of `program`. What they counted goes to files of the pattern `counts`.
fn fuzz(program: &Path, arguments: &FuzzArguments, counts: Option<&Path>) -> Result<()> {
    let names = targets(program, arguments)?;
    if arguments.target.as_deref() == Some("list") {
        names.iter().map(String::as_str).chain([emulator::NAME]).for_each(|name| println!("{name}"));
        return Ok(());
    }
    let at_once = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    if let (Some(cases), [name]) = (arguments.cases, &names[..]) {
        return counted(program, name, cases, at_once as u64);
    }
    let fuzz = |name: &str| {
        let mut fuzz = Command::new(program);
        fuzz.envs(counts.map(|counts| ("LLVM_PROFILE_FILE", counts)));
        match arguments.input {
            Some(input) => fuzz.args([name, "3600", &input.to_string(), "1"]),
            None => fuzz.args([name, &arguments.seconds.to_string()]),
        };
        process::run(&mut fuzz).with_context(|| format!("fuzzing {name}"))
    };
    // As many at a time as there are CPUs: each is one thread.
    let next = AtomicUsize::new(0);
    let work = || -> Result<()> {
        while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
            fuzz(name)?;
        }
        Ok(())
    };
    together(at_once, work)
}

/// Does a work by several threads.
fn together(at_once: usize, work: impl Fn() -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(&work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a fuzzer's watcher panicked")))
    })
}

/// Lets one target make a number of calls, by several programs, each from another input on.
fn counted(program: &Path, name: &str, cases: u64, at_once: u64) -> Result<()> {
    let began = Instant::now();
    let share = cases.div_ceil(at_once).to_string();
    let work =
        || process::run(Command::new(program).args(["calls", name, &share])).with_context(|| format!("fuzzing {name}"));
    together(usize::try_from(at_once)?, work)?;
    let seconds = began.elapsed().as_secs_f64();
    println!("{name}: {cases} cases in {seconds:.0} s, {:.0} a second, nothing found", cases as f64 / seconds);
    Ok(())
}

/// Returns the targets that are asked for: all of them for "list" and where none is named.
///
/// **Errors:** there is no such target.
fn targets(program: &Path, arguments: &FuzzArguments) -> Result<Vec<String>> {
    // A program that counts leaves what it counted where this says.
    let unused = places::target().join("unused.profraw");
    let listed = process::output(Command::new(program).arg("list").env("LLVM_PROFILE_FILE", unused))?;
    let all = matches!(arguments.target.as_deref(), None | Some("list"));
    let wanted = |name: &&str| all || arguments.target.as_deref() == Some(*name);
    let names: Vec<String> = listed.lines().filter(wanted).map(str::to_owned).collect();
    if names.is_empty() {
        bail!("there is no such target; these there are:\n{listed}{}", emulator::NAME);
    }
    Ok(names)
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
    build_into(&places::target())
}

/// Returns what compiles the fuzzers into a folder.
fn build_into(folder: &Path) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--package", "xenolith-fuzz", "--profile", "checked", "--target-dir"]);
    cargo.arg(folder).current_dir(places::root());
    cargo
}
