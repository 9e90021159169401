//! Debian's packages: found by apt, fetched into `target/debian/`, unpacked by dpkg-deb.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::product::{self, Product};
use super::root;
use crate::process;

/// A kernel as Debian packages it.
pub struct Kernel {
    pub product: Product,
}

/// Returns the kernel that `package`, which only depends on the kernel of the day, stands for.
///
/// **Errors:** apt does not know it, or it cannot be fetched.
pub fn kernel(package: &str) -> Result<Kernel> {
    let what = format!("fetching and unpacking Debian's kernel of {package} (25 to 70 MB)");
    let product = product::made(package, &what, &[package], &[], |place| {
        let name = with_lists(|| kernel_of_the_day(Command::new("apt-cache"), package))?;
        let archives = place.join("archives");
        fetch(&[&name], &archives)?;
        unpack(&archives, &place.join("unpacked"))?;
        fs::remove_dir_all(archives).context("cannot remove the archive")
    })?;
    Ok(Kernel { product })
}

impl Kernel {
    /// Its image, compressed as it is packaged.
    ///
    /// **Errors:** the package holds none.
    pub fn image(&self) -> Result<PathBuf> {
        let boot = self.product.directory.join("unpacked/boot");
        only_entry(&boot, "vmlinuz-")
    }

    /// Returns the directory of its modules, named by its release.
    ///
    /// **Errors:** the package holds none.
    pub fn modules(&self) -> Result<PathBuf> {
        only_entry(&self.product.directory.join("unpacked/lib/modules"), "")
    }
}

/// Returns the entry of `directory` whose name begins with `prefix`.
///
/// **Errors:** there is none, or more than one.
pub fn only_entry(directory: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(directory).with_context(|| format!("there is no {}", directory.display()))?;
    let mut found = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one.path()),
        (None, _) => bail!("{} holds no {prefix}*", directory.display()),
        (Some(_), Some(_)) => bail!("{} holds more than one {prefix}*", directory.display()),
    }
}

/// Returns the kernel that `package` depends on, as `cache`, which is apt-cache, says.
///
/// **Errors:** it knows none.
pub fn kernel_of_the_day(mut cache: Command, package: &str) -> Result<String> {
    let said = process::output(cache.args(["depends", package]))?;
    dependency(&said).with_context(|| format!("apt says no kernel that {package} depends on"))
}

/// Returns the kernel in what `apt-cache depends` says.
fn dependency(said: &str) -> Option<String> {
    let named = said.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    named.map(str::trim).find(|name| name.starts_with("linux-image-")).map(str::to_owned)
}

/// Makes the root that these packages make, without what they depend on, and without the paths `trimmed`, which nothing
/// there uses.
///
/// **Errors:** a package cannot be fetched or unpacked.
pub fn unpacked(name: &str, packages: &[&str], trimmed: &[&str]) -> Result<Product> {
    let what = format!("fetching and unpacking {} packages of Debian for {name}", packages.len());
    product::made(name, &what, &[&packages.join(" "), &trimmed.join(" ")], &[], |place| {
        root_from(place, trimmed, |archives| with_lists(|| fetch(packages, archives)))
    })
}

/// Makes the root that these packages make with all that they depend on, as apt finds it for an empty system.
///
/// **Errors:** as [`unpacked`].
pub fn unpacked_with_dependencies(name: &str, packages: &[&str], trimmed: &[&str]) -> Result<Product> {
    let what = format!("fetching and unpacking {} packages of Debian, and what they need, for {name}", packages.len());
    product::made(name, &what, &["all", &packages.join(" "), &trimmed.join(" ")], &[], |place| {
        root_from(place, trimmed, |archives| with_lists(|| fetch_all(packages, archives)))
    })
}

fn root_from(place: &Path, trimmed: &[&str], fetch: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let (archives, system) = (place.join("archives"), place.join("root"));
    fetch(&archives)?;
    root::skeleton(&system)?;
    unpack(&archives, &system)?;
    fs::remove_dir_all(archives).context("cannot remove the archives")?;
    trimmed.iter().try_for_each(|path| root::remove(&system.join(path)))
}

/// Does `work`, and once more with fresh lists of packages where apt did not know enough for it.
fn with_lists<T>(work: impl Fn() -> Result<T>) -> Result<T> {
    let first = match work() {
        Ok(done) => return Ok(done),
        Err(first) => first,
    };
    // Where one list of several cannot be had, apt says so and has the others.
    let updated = process::run(Command::new("apt-get").args(["update", "-q"]));
    work().map_err(|error| match updated {
        Ok(()) => error,
        Err(lists) => {
            lists.context(format!("{first:#}\nperhaps apt has no lists of packages yet; run: sudo apt-get update"))
        }
    })
}

/// Fetches just these packages into `archives`.
fn fetch(packages: &[&str], archives: &Path) -> Result<()> {
    fs::create_dir_all(archives).context("cannot make the directory of archives")?;
    process::output(Command::new("apt-get").args(["download", "-q"]).args(packages).current_dir(archives))?;
    Ok(())
}

/// Fetches these packages and all that they depend on into `archives`, as if nothing were installed.
fn fetch_all(packages: &[&str], archives: &Path) -> Result<()> {
    fs::create_dir_all(archives.join("partial")).context("cannot make the directory of archives")?;
    let nothing = archives.join("nothing-is-installed");
    fs::write(&nothing, "").context("cannot write an empty list of installed packages")?;
    let mut apt = Command::new("apt-get");
    apt.args(["-q", "-y", "--no-install-recommends", "--download-only"]);
    apt.arg("-o").arg(format!("Dir::State::Status={}", nothing.display()));
    apt.arg("-o").arg(format!("Dir::Cache::Archives={}", archives.display()));
    process::output(apt.args(["-o", "Debug::NoLocking=1", "install"]).args(packages))?;
    Ok(())
}

/// Unpacks every package in `archives` into `system`, through the links that join /bin with /usr/bin.
///
/// **Errors:** one cannot be unpacked.
pub fn unpack(archives: &Path, system: &Path) -> Result<()> {
    fs::create_dir_all(system).context("cannot make the directory to unpack into")?;
    let entries = fs::read_dir(archives).context("cannot read the directory of archives")?;
    let mut packages: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    packages.retain(|path| path.extension().is_some_and(|extension| extension == "deb"));
    packages.sort();
    packages.iter().try_for_each(|package| unpack_one(package, system))
}

fn unpack_one(package: &Path, system: &Path) -> Result<()> {
    let mut opener = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let contents = opener.stdout.take().context("dpkg-deb has no output")?;
    let mut tar = Command::new("tar");
    tar.args(["-x", "--keep-directory-symlink", "-C"]).arg(system).stdin(contents);
    process::run(&mut tar)?;
    let status = opener.wait().context("cannot wait for dpkg-deb")?;
    if !status.success() {
        bail!("dpkg-deb cannot unpack {} ({status})", package.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_of_the_day_is_read_among_other_dependencies() {
        let said = "linux-image-amd64\n  Depends: kmod\n  Depends: linux-image-6.1.0-56-amd64\n";
        assert_eq!(dependency(said).unwrap(), "linux-image-6.1.0-56-amd64");
        assert_eq!(dependency("x\n  Suggests: linux-image-1\n"), None);
    }
}
