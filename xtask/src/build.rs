//! `cargo xtask build`: the hypervisor's image and the small kernels, in `target/image/`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
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

/// The packages that become images, and the names of their programs.
const PACKAGES: [(&str, &str); 4] = [
    ("xenolith-image", "xenolith"),
    ("xenolith-test-kernel", "test-kernel"),
    ("xenolith-bench-kernel", "bench-kernel"),
    ("xenolith-misfit", "misfit"),
];

/// The command.
///
/// **Errors:** no compiler can be had, a crate does not build, the image breaks a rule of its boot loaders.
pub fn command(arguments: BuildArguments) -> Result<()> {
    let compiler = BareMetal::find(Use::Build)?;
    compile(&compiler, arguments.debug)?;
    fs::create_dir_all(places::images()).context("cannot make the directory of images")?;
    for (_, program) in PACKAGES {
        finish(program, arguments.debug)?;
    }
    compress(&places::images().join("xenolith"))
}

fn compile(compiler: &BareMetal, debug: bool) -> Result<()> {
    let step = Step::begin(format!("building the images ({})", compiler.described()));
    let mut cargo = compiler.cargo("build");
    for (package, _) in PACKAGES {
        cargo.args(["-p", package]);
    }
    if !debug {
        cargo.arg("--release");
    }
    process::run(cargo.arg("--quiet"))?;
    step.end("done");
    Ok(())
}

/// Lays the names into a program, checks it, and leaves a copy of what is loaded in its place.
fn finish(program: &str, debug: bool) -> Result<()> {
    let profile = if debug { "debug" } else { "release" };
    let built = toolchain::target_directory().join(TARGET).join(profile).join(program);
    let mut image = fs::read(&built).with_context(|| format!("cargo left no {}", built.display()))?;
    let laid = symbols::lay_into(&mut image)?;
    if program == "xenolith" {
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

/// A path as one sees it from the root of the tree.
fn shown(path: &Path) -> String {
    path.strip_prefix(places::root()).unwrap_or(path).display().to_string()
}
