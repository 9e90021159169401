//! What an HVM guest boots from the network: Debian's installer from its package, and a server that gives its files out.

use std::fs;

use anyhow::{Context, Result};

use super::{Debian, kernels, packages, root};

/// Debian's installer for a boot from the network, in its package.
const INSTALLER: (&str, &str) = ("debian-installer-12-netboot-amd64", "usr/lib/debian-installer/images/12/amd64/text");

/// A server of files for such a boot, and the libraries that it is linked with.
const SERVER: &[&str] = &[
    "libcom-err2",
    "libgssapi-krb5-2",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "libnsl2",
    "libtirpc3",
    "libwrap0",
    "tftpd-hpa",
];

/// What of the installer no boot here asks for: the one with a graphical surface, and that of UEFI.
const TRIMMED: &[&str] = &[
    "usr/lib/debian-installer/images/12/amd64/gtk",
    "usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64/grub",
    "usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64/grubx64.efi",
    "usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64/bootnetx64.efi",
    "usr/share/doc",
    "usr/share/man",
];

/// Makes dom0's initial RAM disc in `target/debian/dom0-installer/`, with Debian's installer in /srv/tftp/ and a server that
/// gives it out, besides what it holds already.
///
/// **Errors:** a package cannot be had, or does not hold what it should; a file cannot be read or written.
pub fn with_installer(debian: &Debian) -> Result<Debian> {
    let (package, place) = INSTALLER;
    let wanted: Vec<&str> = SERVER.iter().copied().chain([package]).collect();
    let unpacked = packages::unpacked("installer", &wanted, TRIMMED)?;
    let made = unpacked.directory.join("made-from");
    kernels::with_part(debian, "dom0-installer", "adding Debian's installer", &[&made], |system| {
        let from = unpacked.directory.join("root");
        for directory in ["usr/sbin", "usr/lib/x86_64-linux-gnu"] {
            fs::create_dir_all(system.join(directory)).with_context(|| format!("cannot make /{directory}"))?;
            root::overlay(&system.join(directory), &from.join(directory))?;
        }
        fs::create_dir_all(system.join("srv/tftp")).context("cannot make /srv/tftp")?;
        root::overlay(&system.join("srv/tftp"), &from.join(place))
    })
}
