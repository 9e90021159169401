//! Real Xen 4.17, from Debian's package: unpacked into `target/xen/`, never installed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use xenolith_tests::places;

use crate::process;
use crate::progress::Step;

const PACKAGE: &str = "xen-hypervisor-4.17-amd64";
const IMAGE: &str = "boot/xen-4.17-amd64.gz";

/// Returns Debian's Xen as an image that the emulator loads. Fetches it the first time.
///
/// **Errors:** apt is not there or does not know the package; the package holds something else.
pub fn image() -> Result<PathBuf> {
    let place = places::target().join("xen");
    let image = place.join("xen-4.17");
    if !image.is_file() {
        let step = Step::begin(format!("fetching Debian's {PACKAGE} (2 MB; unpacked, not installed)"));
        fetch(&place)?;
        decompress(&place.join("unpacked").join(IMAGE), &image)?;
        step.end("done");
    }
    Ok(image)
}

fn fetch(place: &Path) -> Result<()> {
    fs::create_dir_all(place).with_context(|| format!("cannot make {}", place.display()))?;
    if find_package(place).is_none() && download(place).is_err() {
        process::run(Command::new("apt-get").arg("update").arg("-q"))
            .with_context(|| format!("apt does not know {PACKAGE}; run: sudo apt-get update"))?;
        download(place)?;
    }
    let Some(package) = find_package(place) else { bail!("apt-get download left no {PACKAGE}_*.deb") };
    process::output(Command::new("dpkg-deb").arg("-x").arg(package).arg(place.join("unpacked")))?;
    Ok(())
}

fn download(place: &Path) -> Result<String> {
    process::output(Command::new("apt-get").args(["download", "-q", PACKAGE]).current_dir(place))
}

fn find_package(place: &Path) -> Option<PathBuf> {
    let names = fs::read_dir(place).ok()?.flatten().map(|entry| entry.path());
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with(PACKAGE) && name.ends_with(".deb")
    };
    names.into_iter().find(is_it)
}

fn decompress(from: &Path, to: &Path) -> Result<()> {
    let packed = File::open(from).with_context(|| format!("the package holds no {IMAGE}"))?;
    // Written beside and moved, so that an interrupted run leaves no half image.
    let part = to.with_extension("part");
    io::copy(&mut GzDecoder::new(packed), &mut File::create(&part)?).context("cannot decompress Xen")?;
    fs::rename(&part, to).context("cannot put Xen's image in its place")
}
