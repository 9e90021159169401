//! The device model of HVM guests in dom0: Debian's QEMU for Xen, firmware for guests, hvmloader, and the discs that such
//! guests boot from.

use std::fs;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use xenolith_tests::places;

use super::{Debian, disc, guest_drivers, kernels, packages, root};
use crate::process;
use crate::progress::Step;

/// QEMU with the libraries that it loads, which only depend on a graphics system, and what it gives to a guest.
const PACKAGES: &[&str] = &[
    "ipxe-qemu",
    "kexec-tools",
    "libcap-ng0",
    "libdb5.3",
    "libdw1",
    "libffi8",
    "libglib2.0-0",
    "libgstreamer-plugins-base1.0-0",
    "libgstreamer1.0-0",
    "libjpeg62-turbo",
    "liblz4-1",
    "libmount1",
    "libopus0",
    "liborc-0.4-0",
    "libpcre2-8-0",
    "libsasl2-2",
    "libselinux1",
    "libspice-server1",
    "libssl3",
    "libstdc++6",
    "libsystemd0",
    "libudev1",
    "libunwind8",
    "libusb-1.0-0",
    "ovmf",
    "qemu-system-data",
    "qemu-system-xen",
    "seabios",
];

/// What no guest of the jobs has.
const TRIMMED: &[&str] = &[
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bug",
    "usr/share/icons",
    "usr/share/applications",
    "usr/lib/ipxe/qemu/efi-e1000e.rom",
    "usr/lib/x86_64-linux-gnu/gstreamer1.0",
    "usr/lib/x86_64-linux-gnu/engines-3",
    "usr/share/qemu/edk2-aarch64-code.fd",
    "usr/share/qemu/skiboot.lid",
    "usr/share/qemu/u-boot.e500",
    "usr/share/qemu/openbios-ppc",
    "usr/share/qemu/openbios-sparc32",
    "usr/share/qemu/openbios-sparc64",
    "usr/share/qemu/hppa-firmware.img",
    "usr/share/OVMF",
    "usr/share/ovmf/PkKek-1-snakeoil.key",
    "usr/share/ovmf/PkKek-1-snakeoil.pem",
];

/// What runs first in an HVM guest, in its package.
const HVMLOADER: &str = "usr/lib/xen-4.17/boot/hvmloader";

/// Where dom0 finds the beginning of a disc.
const DISC_HEAD: &str = "boot/guest/disc-head";

/// Where dom0 finds what a guest with Debian's standard kernel has besides its initial RAM disc.
const DRIVERS: &str = "boot/guest/drivers.lz4";

/// Discs in their packages, and where dom0 finds them.
const DISCS: [(&str, &str, &str); 2] = [
    ("memtest86+", "usr/lib/memtest86+/memtest86+x64.iso", "boot/guest/memtest.iso"),
    ("ipxe", "usr/lib/ipxe/ipxe.iso", "boot/guest/ipxe.iso"),
];

/// Where dom0 finds a device model that is hostile.
const HOSTILE: &str = "usr/bin/hostile-model";

/// Builds the hostile device model, and returns where it lies.
///
/// **Errors:** it does not compile.
fn hostile() -> Result<PathBuf> {
    let step = Step::begin("building a hostile device model");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--quiet", "-p", "hypervisor-access", "--example", "hostile_model"]);
    process::output(cargo.current_dir(places::root()))?;
    step.end("done");
    Ok(places::target().join("release/examples/hostile_model"))
}

/// Makes dom0's initial RAM disc in `target/debian/dom0-hvm/`, with a device model besides what it holds already.
///
/// **Errors:** a package cannot be had, or holds no hvmloader; a file cannot be read or written.
pub fn with_one(debian: &Debian) -> Result<Debian> {
    let model = packages::unpacked("device-model", PACKAGES, TRIMMED)?;
    let tools = packages::unpacked("xen-utils", &["xen-utils-4.17"], &["usr/share"])?;
    let loader = tools.directory.join("root").join(HVMLOADER);
    let made = model.directory.join("made-from");
    let (head, hostile, drivers) = (disc::head()?, hostile()?, guest_drivers::archive()?);
    let discs = packages::unpacked("guest-discs", &DISCS.map(|(package, ..)| package), &[])?.directory.join("root");
    let discs = DISCS.map(|(_, file, to)| (discs.join(file), to.to_owned()));
    let files: Vec<(PathBuf, String)> =
        [(loader, HVMLOADER), (head, DISC_HEAD), (hostile, HOSTILE), (drivers, DRIVERS)]
            .map(|(from, to)| (from, to.to_owned()))
            .into_iter()
            .chain(discs)
            .collect();
    let sources: Vec<&Path> = files.iter().map(|(from, _)| from.as_path()).chain([made.as_path()]).collect();
    kernels::with_part(debian, "dom0-hvm", "putting a device model into dom0", &sources, |system| {
        root::overlay(system, &model.directory.join("root"))?;
        for (from, to) in &files {
            let to = system.join(to);
            fs::create_dir_all(to.parent().context("a file lies nowhere")?).context("cannot make its directory")?;
            fs::copy(from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        }
        Ok(())
    })
}
