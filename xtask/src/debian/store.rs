//! The daemon that keeps xenstore in dom0: Debian's, or ours in its place.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use xenolith_tests::places;

use super::{Debian, kernels};
use crate::process;
use crate::progress::Step;

/// Our programs, and where they lie in dom0: the daemon at the place of Debian's, and what compares the two.
const PROGRAMS: [(&str, &str); 2] =
    [("xenstored", "usr/lib/xen-4.17/bin/xenstored"), ("xenstore-compare", "usr/bin/xenstore-compare")];
/// Where Debian's own daemon lies then.
const DEBIANS: &str = "usr/lib/xen-4.17/bin/xenstored-debian";

/// Builds our programs and returns the directory they lie in.
///
/// **Errors:** they do not compile.
fn build() -> Result<PathBuf> {
    let step = Step::begin("building our xenstored");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--quiet", "-p", "xenstored"]).current_dir(places::root());
    process::output(&mut cargo)?;
    step.end("done");
    Ok(places::target().join("release"))
}

/// Makes dom0's initial RAM disc in `target/debian/dom0-store/`, with our daemon in place of Debian's.
///
/// **Errors:** our daemon does not compile; a file cannot be read or written.
pub fn with_ours(debian: &Debian) -> Result<Debian> {
    let built = build()?;
    let programs = PROGRAMS.map(|(name, place)| (built.join(name), place));
    let sources = programs.each_ref().map(|(program, _)| program.as_path());
    kernels::with_part(debian, "dom0-store", "putting our xenstored into dom0", &sources, |system| {
        let debians = places::target().join("debian/dom0-packages/root/usr/lib/xen-4.17/bin/xenstored");
        let copies = programs.iter().map(|(program, place)| (program, *place)).chain([(&debians, DEBIANS)]);
        for (from, place) in copies {
            let to = system.join(place);
            fs::create_dir_all(to.parent().context("a program lies nowhere")?).context("cannot make its directory")?;
            fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        Ok(())
    })
}
