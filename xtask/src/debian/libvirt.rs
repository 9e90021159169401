//! libvirt in dom0: Debian's daemons with the driver for Xen, and virsh.

use std::fs;

use anyhow::{Context, Result};

use super::{Debian, device_model, kernels, packages, root};

/// The daemons and virsh with the libraries that they load, and a program that gives virsh a terminal. What they depend on
/// as packages would be QEMU's driver and all of systemd.
const PACKAGES: &[&str] = &[
    "bsdutils",
    "libacl1",
    "libapparmor1",
    "libaudit1",
    "libbrotli1",
    "libcurl3-gnutls",
    "libdbus-1-3",
    "libdevmapper1.02.1",
    "libgcrypt20",
    "libgmp10",
    "libgnutls30",
    "libgpg-error0",
    "libgssapi-krb5-2",
    "libhogweed6",
    "libicu72",
    "libidn2-0",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "libldap-2.5-0",
    "libnettle8",
    "libnghttp2-14",
    "libnuma1",
    "libp11-kit0",
    "libparted2",
    "libpcap0.8",
    "libpciaccess0",
    "libpsl5",
    "libreadline8",
    "librtmp1",
    "libssh-4",
    "libssh2-1",
    "libtasn1-6",
    "libtirpc3",
    "libunistring2",
    "libvirt-clients",
    "libvirt-daemon",
    "libvirt-daemon-driver-xen",
    "libvirt0",
    "libxml2",
];

/// What the jobs do not use. The configuration is the jobs' own: the packaged one asks polkit who may connect.
const TRIMMED: &[&str] = &[
    "etc",
    "usr/lib/systemd",
    "usr/share/augeas",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/doc",
    "usr/share/doc-base",
    "usr/share/libvirt/schemas",
    "usr/share/libvirt/test-screenshot.png",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
];

/// Makes dom0's initial RAM disc in `target/debian/dom0-libvirt/`, with libvirt and a device model besides what it holds
/// already.
///
/// **Errors:** a package cannot be had; a file cannot be read or written.
pub fn with_libvirt(debian: &Debian) -> Result<Debian> {
    let libvirt = packages::unpacked("libvirt", PACKAGES, TRIMMED)?;
    let made = libvirt.directory.join("made-from");
    let debian = device_model::with_one(debian)?;
    kernels::with_part(&debian, "dom0-libvirt", "putting libvirt into dom0", &[&made], |system| {
        root::overlay(system, &libvirt.directory.join("root"))?;
        // The daemons ask who they are.
        let etc = system.join("etc");
        fs::create_dir_all(&etc).context("cannot make /etc")?;
        for (name, text) in [("passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("group", "root:x:0:\n")] {
            fs::write(etc.join(name), text).with_context(|| format!("cannot write /etc/{name}"))?;
        }
        Ok(())
    })
}
