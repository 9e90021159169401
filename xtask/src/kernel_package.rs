//! Debian's kernel as packaged, for the whole-machine tests: unpacked into `target/debian-kernel/`, never installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use xenolith_tests::places;

use crate::process;
use crate::progress::Step;

/// The package that depends on the kernel of the day.
const PACKAGE: &str = "linux-image-amd64";

/// Fetches the kernel if it is not there.
///
/// **Errors:** apt is not there or does not know the package; the package holds no kernel.
pub fn ensure() -> Result<()> {
    let place = places::target().join("debian-kernel");
    if has_kernel(&place.join("boot")) {
        return Ok(());
    }
    let step = Step::begin("fetching Debian's kernel (70 MB; unpacked, not installed)".to_owned());
    let fresh = place.with_extension("part");
    // Of a run that was interrupted, if there is anything.
    let _ = fs::remove_dir_all(&fresh);
    fs::create_dir_all(&fresh).with_context(|| format!("cannot make {}", fresh.display()))?;
    let name = kernel_of_the_day().or_else(|_| {
        process::run(Command::new("apt-get").args(["update", "-q"]))?;
        kernel_of_the_day()
    })?;
    process::output(Command::new("apt-get").args(["download", "-q", &name]).current_dir(&fresh))?;
    let archive = only_file(&fresh)?;
    process::output(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(fresh.join("unpacked")))?;
    fs::create_dir_all(&place).with_context(|| format!("cannot make {}", place.display()))?;
    let boot = place.join("boot");
    let _ = fs::remove_dir_all(&boot);
    fs::rename(fresh.join("unpacked/boot"), boot).context("the package holds no /boot")?;
    fs::remove_dir_all(&fresh).context("cannot remove the package")?;
    step.end("done");
    Ok(())
}

fn has_kernel(boot: &Path) -> bool {
    let entries = fs::read_dir(boot).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("vmlinuz-"))
}

fn only_file(place: &Path) -> Result<std::path::PathBuf> {
    let mut entries = fs::read_dir(place).context("cannot read the directory of the package")?.flatten();
    entries.next().map(|entry| entry.path()).context("apt-get download left nothing")
}

fn kernel_of_the_day() -> Result<String> {
    let said = process::output(Command::new("apt-cache").args(["depends", PACKAGE]))?;
    dependency(&said).with_context(|| format!("apt knows no kernel that {PACKAGE} depends on"))
}

/// Returns the kernel in what `apt-cache depends` says.
fn dependency(said: &str) -> Option<String> {
    let named = said.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    named.map(str::trim).find(|name| name.starts_with("linux-image-")).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_of_the_day_is_what_the_package_depends_on() {
        let said = "linux-image-amd64\n  Depends: linux-image-6.1.0-56-amd64\n  Recommends: x\n";
        assert_eq!(dependency(said).as_deref(), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(dependency("linux-image-amd64\n"), None);
    }
}
