//! A Debian guest: its kernel, an initrd that finds its disk, and the disk with Debian's userland and a web server.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use xenolith_tests::places;

use super::packages;
use super::product::{self, Product};
use super::{initramfs, modules, root};
use crate::process;
use crate::setup;

/// What is asked for; apt adds what these depend on.
const PACKAGES: &[&str] = &[
    "base-files",
    "base-passwd",
    "bash",
    "busybox-static",
    "coreutils",
    "dash",
    "debianutils",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "iproute2",
    "iputils-ping",
    "libc-bin",
    "login",
    "mawk",
    "mount",
    "nginx",
    "passwd",
    "procps",
    "sed",
    "tar",
    "usr-is-merged",
    "util-linux",
];

const TRIMMED: &[&str] =
    &["usr/share/bug", "usr/share/doc", "usr/share/info", "usr/share/lintian", "usr/share/locale", "usr/share/man"];

/// What the guest's initrd needs to reach its disk, and its card while it is at it.
const MODULES: &[&str] = &["xen-blkfront", "xen-netfront", "ext4", "crc32c-generic"];

/// The size of the guest's disk, in bytes; half of it is free.
const DISK_BYTES: u64 = 192 << 20;

/// What makes load in a guest, with the libraries that it is linked with. All that they depend on would be a whole
/// graphics system.
const LOAD_PACKAGES: &[&str] = &[
    "iperf3",
    "libapparmor1",
    "libdrm2",
    "libegl1",
    "libexpat1",
    "libffi8",
    "libgbm1",
    "libgles2",
    "libglvnd0",
    "libiperf0",
    "libipsec-mb1",
    "libjpeg62-turbo",
    "libjudydebian1",
    "libkmod2",
    "libsctp1",
    "libwayland-server0",
    "libxau6",
    "libxcb-randr0",
    "libxcb1",
    "libxdmcp6",
    "libxxhash0",
    "stress-ng",
];

/// What measures traffic in a guest; apt adds what these depend on.
const TRAFFIC_PACKAGES: &[&str] = &["fio", "iperf3"];

/// The size of the disk of a guest under load, in bytes, and of one whose traffic is measured.
const LOAD_DISK_BYTES: u64 = 384 << 20;

/// A guest's files.
pub struct Guest {
    /// Holds `vmlinuz` and the initial RAM disc.
    pub boot: Product,
    pub disk: PathBuf,
}

/// Makes the guest's files.
///
/// **Errors:** a package cannot be had; a file cannot be read or written; mke2fs failed.
pub fn make() -> Result<Guest> {
    let userland = userland()?;
    let ours = places::root().join("dom0/guest-disk");
    let disk = disk("guest-disk", "making the guest's disk", &[&userland], &[&ours], DISK_BYTES)?;
    Ok(Guest { boot: boot(&userland)?, disk })
}

/// Makes the disk of a guest under load.
///
/// **Errors:** as [`make`].
pub fn load_disk() -> Result<PathBuf> {
    let userland = userland()?;
    let load = packages::unpacked("load-packages", LOAD_PACKAGES, TRIMMED)?;
    let root = places::root();
    let ours = [root.join("dom0/guest-disk"), root.join("dom0/stress-disk")];
    let what = "making the disk of a guest under load";
    disk("load-disk", what, &[&userland, &load], &[&ours[0], &ours[1]], LOAD_DISK_BYTES)
}

/// Makes the disk of the guest whose traffic is measured.
///
/// **Errors:** as [`make`].
pub fn traffic_disk() -> Result<PathBuf> {
    let userland = userland()?;
    let measures = packages::unpacked_with_dependencies("traffic-packages", TRAFFIC_PACKAGES, TRIMMED)?;
    let ours = places::root().join("dom0/traffic-disk");
    let what = "making the disk of the guest whose traffic is measured";
    disk("traffic-disk", what, &[&userland, &measures], &[&ours], LOAD_DISK_BYTES)
}

fn userland() -> Result<Product> {
    packages::unpacked_with_dependencies("guest-packages", PACKAGES, TRIMMED)
}

fn boot(userland: &Product) -> Result<Product> {
    let kernel = packages::kernel("linux-image-cloud-amd64")?;
    let ours = places::root().join("dom0/guest-initrd");
    let wanted = MODULES.join(" ");
    let from = [&kernel.product.digest, &userland.digest, &wanted].map(String::as_str);
    product::made("guest-boot", "packing the guest's initrd", &from, &[&ours], |place| {
        let system = place.join("system");
        root::skeleton(&system)?;
        let busybox = userland.directory.join("root/usr/bin/busybox");
        fs::copy(&busybox, system.join("usr/bin/busybox")).context("busybox-static holds no /bin/busybox")?;
        root::link(&system, "usr/bin/sh", "busybox")?;
        modules::copy(&kernel, MODULES, &system)?;
        root::overlay(&system, &ours)?;
        initramfs::write(&system, &place.join(initramfs::NAME))?;
        fs::copy(kernel.image()?, place.join("vmlinuz")).context("cannot copy the guest's kernel")?;
        root::remove(&system)
    })
}

/// Makes a disk with what these products hold, and then what these directories of the tree hold.
fn disk(name: &str, what: &str, from: &[&Product], ours: &[&Path], bytes: u64) -> Result<PathBuf> {
    let digests: Vec<&str> = from.iter().map(|product| product.digest.as_str()).collect();
    let product = product::made(name, what, &digests, ours, |place| {
        let system = place.join("system");
        fs::create_dir_all(&system).context("cannot make the guest's root")?;
        from.iter().try_for_each(|product| root::overlay(&system, &product.directory.join("root")))?;
        settle(&system)?;
        ours.iter().try_for_each(|each| root::overlay(&system, each))?;
        let image = place.join("disk.img");
        File::create(&image).and_then(|file| file.set_len(bytes)).context("cannot make the guest's disk")?;
        let mke2fs = setup::find("mke2fs").context("mke2fs is not there")?;
        let mut command = Command::new(mke2fs);
        command.args(["-q", "-F", "-t", "ext4", "-E", "root_owner=0:0", "-d"]).arg(&system).arg(&image);
        process::output(&mut command)?;
        root::remove(&system)
    })?;
    Ok(product.directory.join("disk.img"))
}

/// Does what the packages' own scripts would do on an installation, as far as this guest has a use for it.
fn settle(system: &Path) -> Result<()> {
    for name in ["passwd", "group"] {
        let master = system.join(format!("usr/share/base-passwd/{name}.master"));
        fs::copy(&master, system.join("etc").join(name))
            .with_context(|| format!("there is no {}", master.display()))?;
    }
    root::link(system, "usr/bin/sh", "dash")?;
    root::link(system, "usr/bin/awk", "mawk")?;
    root::link(system, "etc/nginx/sites-enabled/default", "../sites-available/default")?;
    // Busybox, Debian's own, is the first program: it does what the kernel asks for when xl asks the guest to end.
    ["init", "poweroff", "reboot", "halt"]
        .iter()
        .try_for_each(|name| root::link(system, &format!("usr/sbin/{name}"), "../bin/busybox"))
}
