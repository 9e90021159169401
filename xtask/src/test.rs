//! `cargo xtask test`: everything that must hold, from the unit tests to whole machines, and a plain account at the end.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use xenolith_tests::places;

use crate::bench;
use crate::build::{self, BuildArguments};
use crate::check::{self, CheckArguments, style};
use crate::debian;
use crate::diff::{self, DiffArguments};
use crate::fuzz::{self, FuzzArguments};
use crate::kernel_package;
use crate::process;
use crate::run;
use crate::setup;
use crate::toolchain::{BareMetal, Use};

/// Builds and tests everything: host, models, rules, fuzzers, whole machines.
#[derive(Args, Clone, Debug, Default)]
pub struct TestArguments {
    /// Only the tests that need no emulator and no image
    #[arg(long)]
    pub host: bool,
}

/// Crates that exist for bare metal only; they are tested in an emulated machine.
const BARE_METAL: [&str; 6] = [
    "xenolith-image",
    "xenolith-test-kernel",
    "xenolith-bench-kernel",
    "xenolith-dice-kernel",
    "xenolith-misfit",
    "xenolith-guest-kit",
];

/// The packages whose docs have examples.
const WITH_EXAMPLES: [&str; 15] = [
    "domains",
    "hypervisor-access",
    "mapped-memory",
    "rings",
    "xen-abi",
    "xenolith-bootinfo",
    "xenolith-core",
    "xenolith-devices",
    "xenolith-fake",
    "xenolith-hal",
    "xenolith-sync",
    "xenolith-world",
    "xenolith-x86",
    "xenstore",
    "xenstore-wire",
];

/// How long each fuzz target runs, in seconds.
const FUZZ_SECONDS: u64 = 10;

/// One part of the whole.
struct Part {
    name: &'static str,
    /// It needs the images, so it is left out where those could not be built.
    on_images: bool,
    run: fn() -> Result<()>,
}

const PARTS: &[Part] = &[
    Part { name: "images", on_images: true, run: || build::command(BuildArguments::default()) },
    Part { name: "tests on the host", on_images: false, run: host_tests },
    Part { name: "models of concurrency", on_images: false, run: models },
    Part { name: "short fuzzing", on_images: false, run: short_fuzzing },
    Part { name: "rules of the code", on_images: false, run: rules },
    Part { name: "whole machines", on_images: true, run: whole_machines },
];

/// Parts that wait for a machine most of their time, so two of them run at a time; the longest first.
const LAST_PARTS: &[Part] = &[
    Part { name: "disks and cards", on_images: true, run: run::devices_quickly },
    Part { name: "comparison with Xen", on_images: true, run: compare },
    Part { name: "main job", on_images: true, run: main_job },
    Part { name: "rows of the benchmark", on_images: true, run: bench::short },
];

/// How one part came out.
enum Outcome {
    Passed,
    Failed(String),
    LeftOut,
}

/// Runs `cargo xtask test`.
///
/// **Errors:** a part failed; which ones, and why, stands in the account.
pub fn command(arguments: &TestArguments) -> Result<()> {
    set_up(arguments)?;
    let began = Instant::now();
    let mut ahead = vec![std::thread::spawn(compile_ahead)];
    if !arguments.host {
        // Whoever needs the packages asks for them again and says what went wrong.
        ahead.push(std::thread::spawn(|| fetch().map(drop).unwrap_or_default()));
    }
    let mut account = Account::new();
    let mut images = !arguments.host;
    for part in PARTS {
        let (name, outcome, took) = attempt(part, images);
        if name == "images" && !matches!(outcome, Outcome::Passed) {
            images = false;
        }
        account.push((name, outcome, took));
    }
    account.extend(two_at_a_time(LAST_PARTS, images));
    for thread in ahead {
        let _ = thread.join();
    }
    println!("\n{}", spelled(&account));
    println!("{:.0} s in all", began.elapsed().as_secs_f32());
    match account.iter().filter(|(_, outcome, _)| matches!(outcome, Outcome::Failed(_))).count() {
        0 => Ok(()),
        failed => bail!("{failed} of {} parts failed", account.len()),
    }
}

/// Installs what is missing. The tests' runner is compiled meanwhile, where it is: packages take a disk's time, it takes a
/// CPU's.
fn set_up(arguments: &TestArguments) -> Result<()> {
    let packages = || -> Result<()> {
        if !arguments.host {
            setup::ensure(&[setup::WHOLE_MACHINES, setup::BOCHS].concat())?;
        }
        setup::ensure(&[&setup::XEN_HEADERS])?;
        BareMetal::find(Use::Clippy).map(drop)
    };
    if !setup::is_root() {
        // What is missing is only named then, which nobody should wait for.
        packages()?;
        return setup::ensure_nextest();
    }
    let runner = std::thread::spawn(setup::ensure_nextest);
    let installed = packages();
    runner.join().unwrap_or_else(|_| bail!("the compilation of cargo-nextest was given up"))?;
    installed
}

/// The parts by name, how each came out and how long it took.
type Account = Vec<(&'static str, Outcome, Duration)>;

/// Runs one part, unless it needs the images and there are none.
fn attempt(part: &'static Part, images: bool) -> (&'static str, Outcome, Duration) {
    let began = Instant::now();
    if part.on_images && !images {
        return (part.name, Outcome::LeftOut, Duration::ZERO);
    }
    eprintln!("\n=== {}", part.name);
    let outcome = match (part.run)() {
        Ok(()) => Outcome::Passed,
        Err(error) => {
            eprintln!("error: {}: {error:#}", part.name);
            Outcome::Failed(format!("{error:#}"))
        }
    };
    (part.name, outcome, began.elapsed())
}

fn two_at_a_time(parts: &'static [Part], images: bool) -> Account {
    let (next, account) = (AtomicUsize::new(0), Mutex::new(Account::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let done = attempt(part, images);
                    account.lock().unwrap_or_else(PoisonError::into_inner).push(done);
                }
            });
        }
    });
    account.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// Returns a line for each part; of an error its first line.
fn spelled(account: &[(&str, Outcome, Duration)]) -> String {
    let width = account.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    let line = |(name, outcome, took): &(&str, Outcome, Duration)| {
        let (word, why) = match outcome {
            Outcome::Passed => ("passed", String::new()),
            Outcome::Failed(why) => ("FAILED", format!("  {}", why.lines().next().unwrap_or_default())),
            Outcome::LeftOut => ("left out", String::new()),
        };
        format!("{name:<width$}  {word:<8}  {:>4.0} s{why}\n", took.as_secs_f32())
    };
    account.iter().map(line).collect()
}

/// Returns the command of the tests' runner, nextest.
fn nextest() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["nextest", "run", "--cargo-quiet"]).current_dir(places::root());
    command
}

/// Runs tests, showing results of `level` and worse as it goes.
fn run_tests(command: &mut Command, level: &str) -> Result<()> {
    process::run(command.args(["--no-fail-fast", "--status-level", level, "--final-status-level", "slow"]))
}

fn host_tests() -> Result<()> {
    run_tests(host_command()?.args(["--filterset", "not binary_id(xenolith-tests::machine)"]), "fail")?;
    process::run(&mut examples_command()?)
}

/// Returns the command that runs the examples of the crates' front pages, which nextest leaves out.
fn examples_command() -> Result<Command> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["test", "--doc", "--quiet"]).current_dir(places::root());
    style::lint_what_it_compiles(&mut command)?;
    for package in WITH_EXAMPLES {
        command.args(["-p", package]);
    }
    Ok(command)
}

fn host_command() -> Result<Command> {
    let mut command = nextest();
    style::lint_what_it_compiles(&mut command)?;
    // Those of the targets that have no tests are there to be linted.
    command.args(["--workspace", "--all-targets"]);
    for package in BARE_METAL {
        command.args(["--exclude", package]);
    }
    Ok(command)
}

/// Compiles in the background what later parts run: building the images leaves half of the CPUs idle for minutes, and so
/// does fuzzing. The part that needs it waits for cargo's own lock, and says what does not compile.
fn compile_ahead() {
    let quietly = |command: Result<Command>| {
        if let Ok(mut command) = command {
            let _ = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    };
    let without_running = |mut command: Command| {
        command.arg("--no-run");
        command
    };
    quietly(host_command().map(without_running));
    quietly(models_command().map(without_running));
    quietly(Ok(fuzz::build_command()));
    quietly(style::bare_metal());
}

/// Fetches Debian's packages, unless they are here already.
fn fetch() -> Result<debian::Debian> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock();
    kernel_package::ensure()?;
    debian::make()
}

/// Checks the rules of the code that the build of the host's tests did not check.
fn rules() -> Result<()> {
    check::command(CheckArguments { host_is_linted: true, ..CheckArguments::default() })
}

/// Runs every interleaving of small models, in the crates that have `tests/loom*.rs`.
fn models() -> Result<()> {
    run_tests(&mut models_command()?, "fail")
}

fn models_command() -> Result<Command> {
    let packages = packages_with_models(&places::root().join("hv"))?;
    if packages.is_empty() {
        bail!("no crate has a model (tests/loom*.rs), so nothing was tried");
    }
    let mut command = nextest();
    command.env("RUSTFLAGS", "--cfg loom").args(["--cargo-profile", "checked", "--target-dir"]);
    command.arg(places::target().join("loom"));
    for package in packages {
        command.args(["-p", &package]);
    }
    command.args(["--test", "loom*"]);
    Ok(command)
}

fn packages_with_models(directory: &Path) -> Result<Vec<String>> {
    let mut packages = Vec::new();
    for member in fs::read_dir(directory).context("cannot read the crates' directory")?.flatten() {
        let tests = fs::read_dir(member.path().join("tests")).into_iter().flatten().flatten();
        if tests.into_iter().any(|file| file.file_name().to_string_lossy().starts_with("loom")) {
            packages.push(format!("xenolith-{}", member.file_name().to_string_lossy()));
        }
    }
    packages.sort();
    Ok(packages)
}

fn short_fuzzing() -> Result<()> {
    fuzz::command(&FuzzArguments { seconds: FUZZ_SECONDS, ..FuzzArguments::default() })
}

fn compare() -> Result<()> {
    diff::command(&DiffArguments { no_build: true, ..DiffArguments::default() })
}

/// Runs the main job: Debian's dom0, its xl, and a guest that serves a page.
fn main_job() -> Result<()> {
    run::check()
}

fn whole_machines() -> Result<()> {
    let debian = debian::kernels::with_more(&fetch()?)?;
    debian::programs::with_domains(&debian)?;
    debian::libvirt::with_libvirt(&debian)?;
    let mut command = nextest();
    style::lint_what_it_compiles(&mut command)?;
    run_tests(command.args(["-p", "xenolith-tests", "--test", "machine"]), "pass")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_lines_up_and_names_the_cause() {
        let account = [
            ("a", Outcome::Passed, Duration::from_secs(5)),
            ("longer", Outcome::Failed("cause\nand more".into()), Duration::from_secs(100)),
        ];
        assert_eq!(spelled(&account), "a       passed       5 s\nlonger  FAILED     100 s  cause\n");
    }

    #[test]
    fn the_crate_with_the_locks_has_models() {
        assert!(packages_with_models(&places::root().join("hv")).unwrap().contains(&"xenolith-sync".into()));
    }
}
