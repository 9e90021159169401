//! Debian's dom0 and a Debian guest, made from packages in `target/debian/`: fetched and unpacked, never installed.
//!
//! Each part is made once and made again when what it is made from changes; `dom0/` of the tree holds our own files.

pub mod device_model;
mod disc;
mod dom0;
mod guest;
mod guest_drivers;
mod initramfs;
pub mod installed;
pub mod kernels;
pub mod kernels32;
pub mod libvirt;
mod modules;
pub mod netboot;
pub mod network_disc;
mod packages;
mod product;
pub mod programs;
mod root;
pub mod ssh;
pub mod store;

use std::path::PathBuf;

use anyhow::Result;

use crate::setup::{self, Need};

/// What making them takes, besides the emulator.
const TOOLS: &[&Need] = &[
    &Need { why: "fetches Debian's packages", shown_by: &["apt-get"], packages: &["apt"] },
    &Need { why: "unpacks Debian's packages", shown_by: &["dpkg-deb"], packages: &["dpkg"] },
    &Need { why: "makes the guest's file system without mounting it", shown_by: &["mke2fs"], packages: &["e2fsprogs"] },
];

/// The files a machine with Debian's dom0 boots from.
#[derive(Clone, Debug)]
pub struct Debian {
    /// Debian's kernel as packaged, for dom0.
    pub kernel: PathBuf,
    /// Dom0's whole system, with the guests' kernel and initrd in it.
    pub initrd: PathBuf,
    /// The disk of the guest that serves a page.
    pub disk: PathBuf,
}

/// Makes what is not there yet, or is out of date.
///
/// **Errors:** a tool or a package cannot be had, or a package does not hold what it should.
pub fn make() -> Result<Debian> {
    setup::ensure(TOOLS)?;
    let kernel = packages::kernel("linux-image-amd64")?;
    let guest = guest::make()?;
    Ok(Debian { initrd: dom0::make(&kernel, &guest)?, kernel: kernel.image()?, disk: guest.disk })
}

/// Makes the disk of a guest under load, if it is not there yet or out of date.
///
/// **Errors:** as [`make`].
pub fn load_disk() -> Result<PathBuf> {
    setup::ensure(TOOLS)?;
    guest::load_disk()
}

/// Makes the disk of the guest whose traffic is measured, if it is not there yet or out of date.
///
/// **Errors:** as [`make`].
pub fn traffic_disk() -> Result<PathBuf> {
    setup::ensure(TOOLS)?;
    guest::traffic_disk()
}
