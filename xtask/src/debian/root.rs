//! A system's root directory: its bare shape, and copies of files into it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;

/// Directories that a system has before any package is unpacked.
const DIRECTORIES: [&str; 14] = [
    "usr/bin",
    "usr/sbin",
    "usr/lib",
    "usr/lib64",
    "etc",
    "proc",
    "sys",
    "dev",
    "run",
    "tmp",
    "root",
    "var/lib",
    "var/log",
    "boot",
];

/// Names at the top that stand for directories below usr/, as on every Debian of today.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Makes the bare shape of a system in `root`.
///
/// **Errors:** it cannot be written.
pub fn skeleton(root: &Path) -> Result<()> {
    for directory in DIRECTORIES {
        fs::create_dir_all(root.join(directory)).with_context(|| format!("cannot make /{directory} of a root"))?;
    }
    MERGED.iter().try_for_each(|name| link(root, name, &format!("usr/{name}")))?;
    link(root, "var/run", "/run")?;
    link(root, "var/lock", "/run/lock")
}

/// Makes `name` below `root` a link to `target`, in place of what is there.
///
/// **Errors:** it cannot be written.
pub fn link(root: &Path, name: &str, target: &str) -> Result<()> {
    let place = root.join(name);
    remove(&place)?;
    symlink(target, &place).with_context(|| format!("cannot make the link {}", place.display()))
}

/// Removes a file, a link or a directory with all that is in it. It may be gone.
///
/// **Errors:** it cannot be removed.
pub fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Err(_) => return Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}

/// Copies what is in `from` over what is in `root`, with modes and links.
///
/// **Errors:** it cannot be read or written.
pub fn overlay(root: &Path, from: &Path) -> Result<()> {
    process::output(Command::new("cp").arg("-a").arg(from.join(".")).arg(root)).map(drop)
}
