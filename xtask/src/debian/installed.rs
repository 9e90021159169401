//! A disc with an ordinary Debian, made of its packages by mmdebstrap, as an admin's machine has it before our package comes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use xenolith_tests::places;

use super::product;
use crate::process;
use crate::setup::{self, Need};

const TOOLS: &[&Need] = &[
    &Need { why: "makes a Debian system of packages", shown_by: &["mmdebstrap"], packages: &["mmdebstrap"] },
    &Need { why: "makes its file system without mounting it", shown_by: &["mke2fs"], packages: &["e2fsprogs"] },
    &Need { why: "parts its disc", shown_by: &["sfdisk"], packages: &["fdisk"] },
];

/// What is on it besides the essential packages: what a server with Xen has.
const PACKAGES: &str =
    "systemd-sysv,linux-image-amd64,grub-pc,xen-system-amd64,xen-utils-common,openssh-server,ifupdown,bridge-utils";

const SUITE: &str = "bookworm";

/// Where the file system begins, in bytes.
const BEGINS: u64 = 1 << 20;

/// The disc, and the kernel and initial RAM disc that lie on it.
#[derive(Clone, Debug)]
pub struct Installed {
    pub disc: PathBuf,
    pub kernel: PathBuf,
    pub initrd: PathBuf,
}

/// Makes it in `target/debian/installed/`.
///
/// **Errors:** a package cannot be had, or a tool fails.
pub fn make() -> Result<Installed> {
    setup::ensure(TOOLS)?;
    let ours = places::root().join("dom0/installed");
    let what = "making a disc with Debian as it is installed";
    let product = product::made("installed", what, &[PACKAGES, SUITE], &[&ours], |place| {
        let finish = format!("--customize-hook=sh {} \"$1\" {}", quoted(&ours.join("finish")), quoted(place));
        let mut make = Command::new("mmdebstrap");
        make.args(["--quiet", "--variant=apt", "--format=null", &format!("--include={PACKAGES}"), &finish, SUITE, "-"]);
        process::output(&mut make).map(drop)
    })?;
    let file = |name: &str| product.directory.join(name);
    Ok(Installed { disc: file("disc"), kernel: file("vmlinuz"), initrd: file("initrd") })
}

/// Copies the disc to `place`, with packages in `/root/packages/` under the names before their versions.
///
/// **Errors:** a file cannot be read or written.
pub fn with_packages(installed: &Installed, place: &Path, packages: &[PathBuf]) -> Result<()> {
    fs::create_dir_all(place.parent().context("a disc lies nowhere")?).context("cannot make a directory")?;
    process::output(Command::new("cp").args(["--sparse=always", "--reflink=auto"]).arg(&installed.disc).arg(place))?;
    for package in packages {
        let name = package.file_name().unwrap_or_default().to_string_lossy();
        let name = name.split('_').next().unwrap_or_default();
        let mut debugfs = Command::new("debugfs");
        let write = format!("write {} /root/packages/{name}.deb", package.display());
        debugfs.args(["-w", "-R", &write]).arg(format!("{}?offset={BEGINS}", place.display()));
        process::output(&mut debugfs)?;
    }
    Ok(())
}

/// Returns a path as a word for the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_for_the_shell() {
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }
}
