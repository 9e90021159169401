//! `cargo xtask build`: the hypervisor's image and the small kernels, in `target/image/`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result, bail};
use clap::Args;
use flate2::{Compression, GzBuilder};
use xenolith_tests::places;

use crate::load_layout;
use crate::process;
use crate::progress::Step;
use crate::symbols;
use crate::toolchain::{self, BareMetal, TARGET, Use};

/// Builds target/image/xenolith (and .gz), target/image/test-kernel and target/image/misfit.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct BuildArguments {
    /// Build without optimisation, with every check that debugging wants
    #[arg(long)]
    pub debug: bool,
}

/// The package of the hypervisor, and the name of its program.
const HYPERVISOR: (&str, &str) = ("xenolith-image", "xenolith");
/// Those of the small kernels.
const KERNELS: [(&str, &str); 4] = [
    ("xenolith-bench-kernel", "bench-kernel"),
    ("xenolith-dice-kernel", "dice-kernel"),
    ("xenolith-misfit", "misfit"),
    TEST_KERNEL,
];
/// The one that has the kit's feature `modes`. One command gives a crate the features that any of its packages asks for, so
/// this one is built by a command of its own, and the others are without.
const TEST_KERNEL: (&str, &str) = ("xenolith-test-kernel", "test-kernel");

/// The profiles by which they are built, unless for debugging.
const OF_HYPERVISOR: &str = "hypervisor";
const OF_KERNELS: &str = "release";

/// Runs `cargo xtask build`.
///
/// **Errors:** no compiler can be had, a crate does not build, the image breaks a rule of its boot loaders.
pub fn command(arguments: BuildArguments) -> Result<()> {
    let compiler = BareMetal::find(Use::Build)?;
    compile(&compiler, arguments.debug)?;
    fs::create_dir_all(places::images()).context("cannot make the directory of images")?;
    let (of_hypervisor, of_kernels) = profiles(arguments.debug);
    finish(HYPERVISOR.1, of_hypervisor)?;
    for (_, program) in KERNELS {
        finish(program, of_kernels)?;
    }
    compress(&places::images().join(HYPERVISOR.1))
}

/// Returns the hypervisor's program as the linker left it, with what tells functions and lines of its code.
#[must_use]
pub fn linked_hypervisor() -> PathBuf {
    linked(HYPERVISOR.1, OF_HYPERVISOR)
}

/// Returns the profiles of the hypervisor and of the small kernels.
const fn profiles(debug: bool) -> (&'static str, &'static str) {
    if debug { ("dev", "dev") } else { (OF_HYPERVISOR, OF_KERNELS) }
}

/// Returns where cargo leaves a program.
fn linked(program: &str, profile: &str) -> PathBuf {
    let directory = if profile == "dev" { "debug" } else { profile };
    toolchain::target_directory().join(TARGET).join(directory).join(program)
}

fn compile(compiler: &BareMetal, debug: bool) -> Result<()> {
    let step = Step::begin(format!("building the images ({})", compiler.described()));
    let (of_hypervisor, of_kernels) = profiles(debug);
    let command = |packages: &[(&str, &str)], profile: &str| {
        let mut cargo = compiler.cargo("build");
        cargo.args(["--quiet", "--profile", profile]);
        packages.iter().for_each(|(package, _)| {
            cargo.args(["-p", package]);
        });
        cargo
    };
    let mut hypervisor = command(&[HYPERVISOR], of_hypervisor);
    let others: Vec<_> = KERNELS.into_iter().filter(|kernel| *kernel != TEST_KERNEL).collect();
    let mut kernels = [command(&others, of_kernels), command(&[TEST_KERNEL], of_kernels)];
    // Each spends much of its time on one CPU, on the last step of a single program.
    thread::scope(|scope| {
        let other = scope.spawn(|| kernels.iter_mut().try_for_each(process::run));
        process::run(&mut hypervisor)?;
        other.join().unwrap_or_else(|_| bail!("the build of the small kernels was broken off"))
    })?;
    step.end("done");
    Ok(())
}

/// Lays the names into a program, checks it, and leaves a copy of what is loaded in its place.
fn finish(program: &str, profile: &str) -> Result<()> {
    let built = linked(program, profile);
    let mut image = fs::read(&built).with_context(|| format!("cargo left no {}", built.display()))?;
    let laid = symbols::lay_into(&mut image)?;
    if program == HYPERVISOR.1 {
        load_layout::check(&load_layout::segments(&image)?)?;
    }
    let place = places::images().join(program);
    let bare = load_layout::bare_copy(&image)?;
    write(&place, &bare)?;
    let names = match laid {
        Some(laid) => {
            format!(", {} functions named ({} of {} bytes)", laid.functions, laid.used_bytes, laid.reserved_bytes)
        }
        None => String::new(),
    };
    eprintln!("    {} ({} KiB{names})", shown(&place), bare.len() / 1024);
    Ok(())
}

/// Makes the `.gz` beside an image, as boot loaders take it. The same image makes the same bytes.
fn compress(image: &Path) -> Result<()> {
    let bytes = fs::read(image).context("cannot read the image back")?;
    let place = image.with_extension("gz");
    let file = File::create(&place).with_context(|| format!("cannot write {}", place.display()))?;
    let mut packed = GzBuilder::new().mtime(0).write(file, Compression::best());
    std::io::Write::write_all(&mut packed, &bytes)
        .and_then(|()| packed.finish().map(drop))
        .context("cannot compress")?;
    eprintln!("    {}", shown(&place));
    Ok(())
}

fn write(place: &PathBuf, bytes: &[u8]) -> Result<()> {
    fs::write(place, bytes).with_context(|| format!("cannot write {}", place.display()))
}

/// Returns a path as one sees it from the root of the tree.
fn shown(path: &Path) -> String {
    path.strip_prefix(places::root()).unwrap_or(path).display().to_string()
}
