//! `cargo xtask fuzz --coverage`: which lines fuzzing runs, and of the core fuzzing and its own tests together.
//!
//! The compiler counts (`-Cinstrument-coverage`), and LLVM's tools of the compiler's own version read what was counted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use xenolith_tests::places;

use super::lines;
use super::{FuzzArguments, build_into, targets};
use crate::process;
use crate::progress::Step;
use crate::setup::{self, Need};

/// The crate whose own tests count too, and which of them. Those of an empty heap are left out: they tell by its
/// backtrace which allocation may be refused, and an optimised build that counts does not pass them.
const TESTED: &str = "xenolith-core";
const TESTS: &[&str] = &["--lib", "--test", "features"];
/// The programs read the counts with the counters of all of them.
const FLAGS: &str = "-Cinstrument-coverage";

/// Stands above the numbers of a corpus.
const REMARK: &str = "# Inputs each of which runs code that none before it does; made by `cargo xtask fuzz --keep`.\n";

/// What the active compiler says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Compiler {
    host: String,
    /// LLVM's major version.
    llvm: u32,
}

impl Compiler {
    fn active() -> Result<Self> {
        let says = process::output(Command::new("rustc").arg("-vV"))?;
        Self::read(&says).context("the compiler does not say which LLVM it is made with")
    }

    /// Reads what `rustc -vV` prints.
    fn read(says: &str) -> Option<Self> {
        let field = |name: &str| says.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let llvm = field("LLVM version:")?.split('.').next()?.parse().ok()?;
        Some(Self { host: field("host:")?.to_owned(), llvm })
    }
}

/// LLVM's tools that read counts.
struct Tools {
    merge: PathBuf,
    export: PathBuf,
}

impl Tools {
    /// Finds them where rustup or Debian puts them, and has Debian's installed if there are none.
    ///
    /// **Errors:** there are none of the compiler's version, and apt has none.
    fn find(compiler: &Compiler) -> Result<Self> {
        let sysroot = process::output(Command::new("rustc").args(["--print", "sysroot"]))?;
        let rustups = Path::new(sysroot.trim()).join("lib/rustlib").join(&compiler.host).join("bin");
        let version = compiler.llvm;
        let debians = PathBuf::from(format!("/usr/lib/llvm-{version}/bin"));
        let there = || [&rustups, &debians].into_iter().find_map(|place| Self::within(place));
        if let Some(tools) = there() {
            return Ok(tools);
        }
        let package: &'static str = String::leak(format!("llvm-{version}"));
        let shown: &'static str = String::leak(debians.join("llvm-cov").display().to_string());
        let need = Need {
            why: "reads what the compiler's LLVM counted",
            shown_by: vec![shown].leak(),
            packages: vec![package].leak(),
        };
        setup::ensure(&[&need]).with_context(|| {
            format!(
                "coverage needs llvm-profdata and llvm-cov of LLVM {version}, which the compiler is made with: Debian's \
                 package {package}, or `rustup component add llvm-tools`"
            )
        })?;
        there().with_context(|| format!("{package} is installed, yet its llvm-profdata and llvm-cov are not there"))
    }

    fn within(place: &Path) -> Option<Self> {
        let tools = Self { merge: place.join("llvm-profdata"), export: place.join("llvm-cov") };
        (tools.merge.is_file() && tools.export.is_file()).then_some(tools)
    }
}

/// Where all of it is put.
fn folder() -> PathBuf {
    places::target().join("coverage")
}

/// Builds, fuzzes, tests the core and prints which lines ran.
///
/// **Errors:** an input or a test failed, or LLVM's tools are not there.
pub fn command(arguments: &FuzzArguments) -> Result<()> {
    let compiler = Compiler::active()?;
    let tools = Tools::find(&compiler)?;
    let counts = folder().join("counts");
    if counts.exists() {
        fs::remove_dir_all(&counts)?;
    }
    fs::create_dir_all(&counts)?;
    let pattern = counts.join("%p-%m.profraw");

    let fuzzers = build(&compiler)?;
    let step = Step::begin("building the core's tests so that they count");
    let tests = test_programs(&compiler)?;
    step.end("done");

    super::fuzz(&fuzzers, arguments, Some(&pattern))?;
    let step = Step::begin("running the core's own tests");
    for program in &tests {
        let mut run = Command::new(program);
        run.arg("--quiet").current_dir(places::root().join("hv/core")).env("LLVM_PROFILE_FILE", &pattern);
        process::output(&mut run)?;
    }
    step.end("done");

    let export = merge(&tools, &counts, &fuzzers, &tests)?;
    let files = lines::read(&export, &places::root());
    let source = |path: &Path| fs::read_to_string(places::root().join(path)).unwrap_or_default();
    println!("lines that fuzzing runs; in hv/core also those that its own tests run:\n");
    print!("{}", lines::table(&lines::count(&files, source)));
    Ok(())
}

/// Looks for inputs that run more code than the kept ones, and writes the corpora anew.
///
/// **Errors:** an input failed, or a corpus cannot be written.
pub fn keep(arguments: &FuzzArguments) -> Result<()> {
    let fuzzers = build(&Compiler::active()?)?;
    for name in targets(&fuzzers, arguments)? {
        let step = Step::begin(format!("looking for inputs of {name}"));
        let mut keep = Command::new(&fuzzers);
        keep.args(["keep", &name, &arguments.seconds.to_string()])
            .env("LLVM_PROFILE_FILE", folder().join("unused.profraw"));
        let numbers = process::output(&mut keep)?;
        fs::write(places::root().join("fuzz/corpus").join(&name), format!("{REMARK}{numbers}"))?;
        step.end(&format!("{} inputs", numbers.lines().count()));
    }
    Ok(())
}

/// Builds the fuzzers so that they count, and returns their program.
fn build(compiler: &Compiler) -> Result<PathBuf> {
    let step = Step::begin("building the fuzzers so that they count");
    process::run(counting(&mut build_into(&folder()), compiler))?;
    step.end("done");
    Ok(folder().join(&compiler.host).join("checked/xenolith-fuzz"))
}

/// Makes a build count what runs. A target that is named keeps the flags from programs of the build itself.
fn counting<'c>(cargo: &'c mut Command, compiler: &Compiler) -> &'c mut Command {
    cargo.args(["--target", &compiler.host]);
    // The tests' harness wants unwinding; with it, both are made of the same crates.
    cargo.env("RUSTFLAGS", FLAGS).env("CARGO_PROFILE_CHECKED_PANIC", "unwind")
}

/// Builds the core's tests and returns their programs.
fn test_programs(compiler: &Compiler) -> Result<Vec<PathBuf>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["test", "--quiet", "--no-run", "--message-format", "json", "--profile", "checked"]);
    cargo.arg("--target-dir").arg(folder()).args(["--package", TESTED]).args(TESTS).current_dir(places::root());
    let messages = process::output(counting(&mut cargo, compiler))?;
    let programs = programs_of(&messages);
    if programs.is_empty() {
        bail!("cargo names no test program of {TESTED}");
    }
    Ok(programs)
}

/// Returns the programs that cargo's messages name.
fn programs_of(messages: &str) -> Vec<PathBuf> {
    let parsed = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    parsed.filter_map(|message| Some(PathBuf::from(message.get("executable")?.as_str()?))).collect()
}

/// Puts all counts together, and returns them in the format of lcov.
fn merge(tools: &Tools, counts: &Path, fuzzers: &Path, tests: &[PathBuf]) -> Result<String> {
    let step = Step::begin("putting the counts together");
    let merged = folder().join("all.profdata");
    let mut merge = Command::new(&tools.merge);
    merge.args(["merge", "--sparse", "--output"]).arg(&merged).arg(counts);
    process::output(&mut merge)?;
    let mut export = Command::new(&tools.export);
    export.args(["export", "--format=lcov", "--instr-profile"]).arg(&merged).arg(fuzzers);
    for program in tests {
        export.arg("--object").arg(program);
    }
    let exported = process::output(&mut export)?;
    step.end("done");
    Ok(exported)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compilers_llvm_is_read() {
        let says = "rustc 1.95.0 (59807616e 2026-04-14)\nhost: x86_64-unknown-linux-gnu\nLLVM version: 22.1.2\n";
        let expected = Compiler { host: "x86_64-unknown-linux-gnu".into(), llvm: 22 };
        assert_eq!(Compiler::read(says), Some(expected));
        assert_eq!(Compiler::read("rustc 1.95.0\nhost: x\n"), None, "a compiler without LLVM");
    }

    #[test]
    fn programs_are_found_among_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"executable\":null}\nnot json\n\
                        {\"reason\":\"compiler-artifact\",\"executable\":\"/t/features\"}\n";
        assert_eq!(programs_of(messages), [PathBuf::from("/t/features")]);
    }
}
