//! Debian's 32-bit kernels for HVM guests, with PAE and without, and a small 32-bit system that they share. This machine's apt
//! knows no 32-bit packages, so it gets lists of its own for them.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use xenolith_tests::places;

use super::product::{self, Product};
use super::{Debian, initramfs, kernels, packages, root};
use crate::process;

/// The kernels by the ends of their names, by which dom0 finds them in /boot/guest/ as well.
const KERNELS: [&str; 2] = ["686", "686-pae"];

/// What the small system is made of, and where dom0 finds that.
const BUSYBOX: &str = "busybox-static";
const INITRD: &str = "initrd32.lz4";

/// Apt with lists of 32-bit packages, below a directory.
struct Apt<'a>(&'a Path);

impl Apt<'_> {
    fn fresh(place: &Path) -> Result<Apt<'_>> {
        for directory in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(place.join(directory)).context("cannot make a directory for apt's lists")?;
        }
        fs::write(place.join("nothing-is-installed"), "").context("cannot write a list of installed packages")?;
        let apt = Apt(place);
        // Where one list of several cannot be had, the others may do.
        if let Err(error) = process::run(apt.command("apt-get").args(["-q", "update"])) {
            eprintln!("apt has not all lists of 32-bit packages: {error:#}");
        }
        Ok(apt)
    }

    /// Returns a program of apt's that looks nowhere else.
    fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.args(["-o", "APT::Architecture=i386", "-o", "APT::Architectures=i386"]);
        let places =
            [("Dir::State::Lists", "lists"), ("Dir::State::Status", "nothing-is-installed"), ("Dir::Cache", "cache")];
        for (option, place) in places {
            command.arg("-o").arg(format!("{option}={}", self.0.join(place).display()));
        }
        command
    }

    /// Unpacks packages into `system`.
    fn unpack(&self, wanted: &[&str], system: &Path) -> Result<()> {
        let archives = self.0.join("archives");
        fs::create_dir_all(&archives).context("cannot make the directory of archives")?;
        process::output(self.command("apt-get").args(["-q", "download"]).args(wanted).current_dir(&archives))?;
        packages::unpack(&archives, system)?;
        root::remove(&archives)
    }
}

/// Makes the kernels and the system in `target/debian/kernels32/`.
fn made() -> Result<Product> {
    let ours = places::root().join("dom0/guest32-initrd");
    product::made("kernels32", "fetching Debian's 32-bit kernels (80 MB)", &KERNELS, &[&ours], |place| {
        let lists = place.join("apt");
        let apt = Apt::fresh(&lists)?;
        for kind in KERNELS {
            let package = packages::kernel_of_the_day(apt.command("apt-cache"), &format!("linux-image-{kind}"))?;
            let unpacked = place.join("unpacked");
            apt.unpack(&[&package], &unpacked)?;
            let image = packages::only_entry(&unpacked.join("boot"), "vmlinuz-")?;
            fs::copy(image, place.join(kind)).context("cannot copy a 32-bit kernel")?;
            root::remove(&unpacked)?;
        }
        let (busybox, system) = (place.join("busybox"), place.join("system"));
        root::skeleton(&busybox)?;
        apt.unpack(&[BUSYBOX], &busybox)?;
        root::skeleton(&system)?;
        fs::copy(busybox.join("usr/bin/busybox"), system.join("usr/bin/busybox"))
            .context("busybox-static holds no /bin/busybox")?;
        root::link(&system, "usr/bin/sh", "busybox")?;
        root::overlay(&system, &ours)?;
        initramfs::write(&system, &place.join(INITRD))?;
        [busybox, system, lists].iter().try_for_each(|each| root::remove(each))
    })
}

/// Makes dom0's initial RAM disc in `target/debian/dom0-kernels32/`, with the kernels and the system in /boot/guest/ besides
/// what it holds already.
///
/// **Errors:** a package cannot be had, or does not hold what it should; a file cannot be read or written.
pub fn with_them(debian: &Debian) -> Result<Debian> {
    let made = made()?.directory;
    let stamp = made.join("made-from");
    kernels::with_part(debian, "dom0-kernels32", "adding 32-bit kernels for guests", &[&stamp], |system| {
        let place = system.join("boot/guest");
        fs::create_dir_all(&place).context("cannot make /boot/guest")?;
        for name in KERNELS.into_iter().chain([INITRD]) {
            fs::copy(made.join(name), place.join(name)).with_context(|| format!("cannot copy {name}"))?;
        }
        Ok(())
    })
}
