//! QEMU's NBD in dom0: one host serves a disc, and each host has it as a block device.

use anyhow::Result;

use super::{Debian, kernels, packages, root};

/// The server, which is the client as well, and the libraries that a dom0 with a device model and ssh has not got yet.
const PACKAGES: &[&str] = &[
    "libfuse3-3",
    "libgnutls30",
    "libhogweed6",
    "libnettle8",
    "libnuma1",
    "libp11-kit0",
    "libtasn1-6",
    "liburing2",
    "qemu-utils",
];

/// Programs besides it, which dom0 would unpack at every boot.
const TRIMMED: &[&str] = &["etc", "usr/share", "usr/libexec", "usr/bin/qemu-img", "usr/bin/qemu-io", "usr/sbin"];

/// Makes dom0's initial RAM disc in `target/debian/dom0-nbd/`, with `qemu-nbd` besides what it holds already.
///
/// **Errors:** a package cannot be had; a file cannot be read or written.
pub fn with_one(debian: &Debian) -> Result<Debian> {
    let tools = packages::unpacked("qemu-nbd", PACKAGES, TRIMMED)?;
    let stamp = tools.directory.join("made-from");
    kernels::with_part(debian, "dom0-nbd", "putting qemu-nbd into dom0", &[&stamp], |system| {
        root::overlay(system, &tools.directory.join("root"))
    })
}
