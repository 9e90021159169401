//! Ssh between two machines with Debian's dom0: a server, a client that xl starts, and keys of their own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use xenolith_tests::places;

use super::product::{self, Product};
use super::{Debian, kernels, packages, root};
use crate::process;

/// Dropbear as the server, which is small; OpenSSH's client, which unlike Dropbear's does not compress what it sends; a ping
/// that tells when an answer came; and the libraries that a dom0 with a device model has not got yet.
const PACKAGES: &[&str] = &[
    "dropbear-bin",
    "iputils-ping",
    "libcrypt1",
    "libgmp10",
    "libgssapi-krb5-2",
    "libidn2-0",
    "libk5crypto3",
    "libkeyutils1",
    "libkrb5-3",
    "libkrb5support0",
    "libtomcrypt1",
    "libtommath1",
    "libunistring2",
    "openssh-client",
];

/// Programs besides the server, the client and the ping, which dom0 would unpack at every boot.
const TRIMMED: &[&str] = &[
    "etc",
    "usr/lib/openssh",
    "usr/lib/systemd",
    "usr/share",
    "usr/bin/dbclient",
    "usr/bin/scp",
    "usr/bin/sftp",
    "usr/bin/ssh-add",
    "usr/bin/ssh-agent",
    "usr/bin/ssh-keygen",
    "usr/bin/ssh-keyscan",
];

/// What the machines call each other, and their addresses.
pub const HOSTS: [(&str, &str); 2] = [("first", "10.0.2.21"), ("second", "10.0.2.22")];

/// Makes dom0's initial RAM disc in `target/debian/dom0-ssh/`, with ssh besides what it holds already, a device model among
/// it. The same keys serve all of the machines that boot from it.
///
/// **Errors:** a package cannot be had; a key cannot be made; a file cannot be read or written.
pub fn with_ssh(debian: &Debian) -> Result<Debian> {
    let tools = packages::unpacked("ssh", PACKAGES, TRIMMED)?;
    let keys = keys(&tools)?;
    let stamps = [&tools, &keys].map(|product| product.directory.join("made-from"));
    kernels::with_part(debian, "dom0-ssh", "putting ssh into dom0", &[&stamps[0], &stamps[1]], |system| {
        root::overlay(system, &tools.directory.join("root"))?;
        for (from, to) in [("host", "etc/dropbear/key"), ("user.openssh", "root/.ssh/id_ed25519")] {
            fs::copy(keys.directory.join(from), place(system, to)?).with_context(|| format!("cannot copy to {to}"))?;
        }
        let public = |name: &str| fs::read_to_string(keys.directory.join(name)).context("a key is not there");
        let (host, user) = (public("host.pub")?, public("user.pub")?);
        let known: String = HOSTS.iter().map(|(name, _)| format!("{name} {host}\n")).collect();
        let named: String = HOSTS.iter().map(|(name, address)| format!("{address} {name}\n")).collect();
        for (name, text) in [
            ("root/.ssh/authorized_keys", format!("{user}\n")),
            ("root/.ssh/known_hosts", known),
            ("etc/hosts", format!("127.0.0.1 localhost\n{named}")),
            ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n".to_owned()),
        ] {
            let to = place(system, name)?;
            fs::write(&to, text).with_context(|| format!("cannot write /{name}"))?;
            fs::set_permissions(&to, fs::Permissions::from_mode(0o644)).context("cannot set a mode")?;
        }
        Ok(())
    })
}

/// Returns where `name` lies below `system`, in a directory that only its owner may change.
fn place(system: &Path, name: &str) -> Result<std::path::PathBuf> {
    let place = system.join(name);
    let directory = place.parent().context("a file lies nowhere")?;
    fs::create_dir_all(directory).context("cannot make a directory")?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).context("cannot set a mode")?;
    Ok(place)
}

/// Makes a key for the hosts and one for their root, each with its public half on one line.
fn keys(tools: &Product) -> Result<Product> {
    product::made("ssh-keys", "making keys for ssh", &[&tools.digest], &[], |place| {
        ["host", "user"].iter().try_for_each(|name| {
            let key = place.join(name);
            program(tools, "dropbearkey", &["-t", "ed25519", "-f"], &[&key])?;
            let openssh = key.with_extension("openssh");
            program(tools, "dropbearconvert", &["dropbear", "openssh"], &[&key, &openssh])?;
            let said = program(tools, "dropbearkey", &["-y", "-f"], &[&key])?;
            let line = public_half(&said).context("dropbearkey says no public key")?;
            fs::write(place.join(format!("{name}.pub")), line).context("cannot write a key")
        })
    })
}

/// Runs Debian's program from where it was unpacked, with dom0's own C library.
fn program(tools: &Product, name: &str, words: &[&str], keys: &[&Path]) -> Result<String> {
    let dom0 = places::target().join("debian/dom0-packages/root");
    let ours = tools.directory.join("root");
    let libraries = [&dom0, &ours].map(|root| root.join("usr/lib/x86_64-linux-gnu").display().to_string());
    let mut command = Command::new(dom0.join("usr/lib64/ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(libraries.join(":")).arg(ours.join("usr/bin").join(name));
    process::output(command.args(words).args(keys))
}

/// Returns the kind and the digits of the key in what dropbearkey says.
fn public_half(said: &str) -> Option<String> {
    let line = said.lines().find(|line| line.starts_with("ssh-"))?;
    Some(line.split(' ').take(2).collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_is_read_without_the_name_of_its_maker() {
        let said = "Public key portion is:\nssh-ed25519 AAAA root@here\nFingerprint: SHA256:x\n";
        assert_eq!(public_half(said).unwrap(), "ssh-ed25519 AAAA");
        assert_eq!(public_half("no key"), None);
    }
}
