//! More kernels for guests, as a second part of dom0's initial RAM disc: Debian's standard kernel, GRUB's own image for PVH,
//! and ours that misbehaves.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xenolith_tests::places;

use super::product;
use super::{Debian, initramfs, packages, root};

/// Where our kernel lies once it was built.
#[must_use]
pub fn misfit() -> PathBuf {
    places::images().join("misfit")
}

/// GRUB's image in its package.
const GRUB: &str = "root/usr/lib/grub-xen/grub-i386-xen_pvh.bin";

/// Dom0's kernel and initial RAM disc in `target/debian/dom0-kernels/`, the latter with `standard`, `grub` and `misfit` in
/// /boot/guest/ besides what it holds already.
///
/// **Errors:** our kernel was not built; a file cannot be read or written.
pub fn with_more(debian: &Debian) -> Result<Debian> {
    let misfit = misfit();
    let unpacked = packages::unpacked("grub-xen-host", &["grub-xen-host"], &["usr/share"])?;
    let grub = unpacked.directory.join(GRUB);
    with_part(debian, "dom0-kernels", "adding kernels for guests", &[&misfit, &grub], |system| {
        fs::create_dir_all(system.join("boot/guest")).context("cannot make /boot/guest")?;
        for (from, name) in [(&debian.kernel, "standard"), (&grub, "grub"), (&misfit, "misfit")] {
            let to = system.join("boot/guest").join(name);
            fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        Ok(())
    })
}

/// Makes dom0's kernel and initial RAM disc in `target/debian/NAME/`, the latter with what `fill` puts into an empty
/// directory, and `sources` are what that comes from, on top of what it holds already.
///
/// **Errors:** those of `fill`; a file cannot be read or written.
pub fn with_part(
    debian: &Debian,
    name: &str,
    what: &str,
    sources: &[&Path],
    fill: impl FnOnce(&Path) -> Result<()>,
) -> Result<Debian> {
    let source = debian.initrd.parent().context("dom0's initial RAM disc lies nowhere")?;
    let from = fs::read_to_string(source.join("made-from")).context("dom0's initial RAM disc is of no known making")?;
    let product = product::made(name, what, &[&from], sources, |place| {
        let system = place.join("system");
        fs::create_dir_all(&system).context("cannot make a directory")?;
        fill(&system)?;
        let more = place.join("more.lz4");
        initramfs::write(&system, &more)?;
        root::remove(&system)?;
        // Linux unpacks one archive after the other.
        let mut whole = File::create(place.join(initramfs::NAME)).context("cannot write the initial RAM disc")?;
        for part in [&debian.initrd, &more] {
            let mut part = File::open(part).with_context(|| format!("cannot read {}", part.display()))?;
            io::copy(&mut part, &mut whole).context("cannot join the parts of the initial RAM disc")?;
        }
        root::remove(&more)?;
        fs::copy(&debian.kernel, place.join("vmlinuz")).map(drop).context("cannot copy dom0's kernel")
    })?;
    Ok(Debian { initrd: product.directory.join(initramfs::NAME), ..debian.clone() })
}
