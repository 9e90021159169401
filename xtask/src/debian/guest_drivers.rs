//! Drivers of Debian's standard kernel for what QEMU emulates, and for what comes while an HVM guest runs: an archive that
//! dom0's jobs join to the guests' initial RAM disc.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::packages::{self, Kernel};
use super::{initramfs, modules, product, root};

/// IDE and CD, Xen's own disc and card, the cards that QEMU emulates, USB with sticks and tablets.
const MODULES: &[&str] = &[
    "ata_piix",
    "sd_mod",
    "sr_mod",
    "xen-blkfront",
    "xen-netfront",
    "e1000",
    "8139cp",
    "uhci-hcd",
    "ehci-pci",
    "xhci-pci",
    "usb-storage",
    "usbhid",
    "hid-generic",
    "evdev",
];

/// Makes the archive in `target/debian/guest-drivers/`.
///
/// **Errors:** the kernel cannot be had; a file cannot be read or written.
pub fn archive() -> Result<PathBuf> {
    let kernel: Kernel = packages::kernel("linux-image-amd64")?;
    let from = [kernel.product.digest.clone(), MODULES.join(" ")];
    let from = from.each_ref().map(String::as_str);
    let product = product::made("guest-drivers", "packing drivers for an HVM guest", &from, &[], |place| {
        let system = place.join("system");
        fs::create_dir_all(&system).context("cannot make a directory")?;
        modules::copy(&kernel, MODULES, &system)?;
        initramfs::write(&system, &place.join(initramfs::NAME))?;
        root::remove(&system)
    })?;
    Ok(product.directory.join(initramfs::NAME))
}
