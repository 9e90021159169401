//! Our own programs for domain 0: built, and put into its initial RAM disc.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use xenolith_tests::places;

use super::{Debian, kernels};
use crate::process;
use crate::progress::Step;

/// What makes domains without libxl, and where it lies in dom0.
const DOMAINS: (&str, &str) = ("xenolith-domain", "usr/sbin/xenolith-domain");

/// Builds the programs of a package, and returns the directory they lie in.
///
/// **Errors:** they do not compile.
pub fn built(package: &str) -> Result<PathBuf> {
    let step = Step::begin(format!("building our {package}"));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--quiet", "-p", package]).current_dir(places::root());
    process::output(&mut cargo)?;
    step.end("done");
    Ok(places::target().join("release"))
}

/// Copies programs into the root of a system: from where, and to which path in it.
///
/// **Errors:** a file cannot be read or written.
pub fn put(system: &Path, programs: &[(PathBuf, &str)]) -> Result<()> {
    for (from, place) in programs {
        let to = system.join(place);
        fs::create_dir_all(to.parent().context("a program lies nowhere")?).context("cannot make its directory")?;
        fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}

/// Makes dom0's initial RAM disc in `target/debian/dom0-own/`, with the program that makes domains besides what it holds
/// already.
///
/// **Errors:** the program does not compile; a file cannot be read or written.
pub fn with_domains(debian: &Debian) -> Result<Debian> {
    let (name, place) = DOMAINS;
    let program = built(name)?.join(name);
    kernels::with_part(debian, "dom0-own", "putting our programs into dom0", &[&program], |system| {
        put(system, &[(program.clone(), place)])
    })
}
