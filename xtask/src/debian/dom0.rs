//! Debian's dom0 as an initial RAM disc: busybox, Debian's tools for Xen, the modules, and our jobs from `dom0/root/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use xenolith_tests::places;

use super::guest::Guest;
use super::packages::{self, Kernel};
use super::{initramfs, modules, product, root};

/// The tools for Xen with the libraries they load, a shell for Debian's hotplug scripts, and busybox for the rest.
const PACKAGES: &[&str] = &[
    "bash",
    "busybox-static",
    "iproute2",
    "libaio1",
    "libblkid1",
    "libbpf1",
    "libbsd0",
    "libbz2-1.0",
    "libc6",
    "libcap2",
    "libcom-err2",
    "libelf1",
    "libext2fs2",
    "libfdt1",
    "libgcc-s1",
    "liblzma5",
    "libmd0",
    "libmnl0",
    "libncurses6",
    "libnl-3-200",
    "libnl-route-3-200",
    "libpixman-1-0",
    "libtinfo6",
    "libuuid1",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxenhypfs1",
    "libxenmisc4.17",
    "libxenstore4",
    "libxentoolcore1",
    "libxentoollog1",
    "libyajl2",
    "libzstd1",
    "xen-utils-4.17",
    "xen-utils-common",
    "xenstore-utils",
    "zlib1g",
];

/// What the jobs do not use; the emulated CPU unpacks the rest at every boot.
const TRIMMED: &[&str] = &[
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/lib/systemd",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/lib/xen-4.17/boot",
    "usr/lib/xen-4.17/bin/oxenstored",
    "usr/sbin/tc",
];

/// Dom0's side of Xen, the bridge, and the disks and cards that the emulator has.
const MODULES: &[&str] = &[
    "xen-privcmd",
    "xenfs",
    "xen-evtchn",
    "xen-gntdev",
    "xen-gntalloc",
    "xen-blkback",
    "xen-netback",
    "bridge",
    "tun",
    "loop",
    "brd",
    "nbd",
    "ahci",
    "sd-mod",
    "nvme",
    "e1000e",
    "virtio-pci",
    "virtio-net",
    "virtio-blk",
    "xhci-pci",
    "usb-storage",
    "ext4",
    "crc32c-generic",
];

/// Makes dom0's initial RAM disc for `kernel`, with `guest`'s kernel and initrd in /boot/guest/.
///
/// **Errors:** a package cannot be had; a file cannot be read or written.
pub fn make(kernel: &Kernel, guest: &Guest) -> Result<PathBuf> {
    let tools = packages::unpacked("dom0-packages", PACKAGES, TRIMMED)?;
    let locks = packages::unpacked("dom0-util-linux", &["util-linux"], &[])?;
    let disks = packages::unpacked("dom0-e2fsprogs", &["e2fsprogs"], &[])?;
    let ours = places::root().join("dom0/root");
    let wanted = MODULES.join(" ");
    let from = [&tools.digest, &locks.digest, &disks.digest, &kernel.product.digest, &guest.boot.digest, &wanted]
        .map(String::as_str);
    let product = product::made("dom0", "packing dom0's initial RAM disc", &from, &[&ours], |place| {
        let system = place.join("system");
        fs::create_dir_all(&system).context("cannot make dom0's root")?;
        root::overlay(&system, &tools.directory.join("root"))?;
        // Debian's hotplug scripts take locks by it, and busybox-static has none.
        fs::copy(locks.directory.join("root/usr/bin/flock"), system.join("usr/bin/flock"))
            .context("util-linux holds no flock")?;
        for name in ["usr/sbin/mke2fs", "usr/sbin/e2fsck", "etc/mke2fs.conf"] {
            fs::copy(disks.directory.join("root").join(name), system.join(name))
                .with_context(|| format!("e2fsprogs holds no {name}"))?;
        }
        modules::copy(kernel, MODULES, &system)?;
        guest_files(guest, &system)?;
        root::overlay(&system, &ours)?;
        root::link(&system, "usr/bin/sh", "bash")?;
        initramfs::write(&system, &place.join(initramfs::NAME))?;
        root::remove(&system)
    })?;
    Ok(product.directory.join(initramfs::NAME))
}

fn guest_files(guest: &Guest, system: &Path) -> Result<()> {
    let place = system.join("boot/guest");
    fs::create_dir_all(&place).context("cannot make /boot/guest of dom0")?;
    for (from, name) in [
        (guest.boot.directory.join("vmlinuz"), "vmlinuz"),
        (guest.boot.directory.join(initramfs::NAME), initramfs::NAME),
    ] {
        fs::copy(&from, place.join(name)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    Ok(())
}
