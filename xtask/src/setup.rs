//! What a command needs of the machine it runs on: looked for, and installed by apt where it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};
use xenolith_tests::Emulator;

use crate::process;

/// Something that a command needs and a fresh machine may lack.
pub struct Need {
    pub why: &'static str,
    /// Any of these files shows that it is there. A bare name is looked for in `PATH`.
    pub shown_by: &'static [&'static str],
    /// The Debian packages that bring it.
    pub packages: &'static [&'static str],
}

/// Runs a machine with AMD's virtualisation on any host.
pub const EMULATOR: Need = Need {
    why: "an emulated machine with AMD's virtualisation",
    shown_by: &["qemu-system-x86_64"],
    packages: &["qemu-system-x86"],
};

/// Compares the public interface with Xen's headers.
pub const XEN_HEADERS: Need = Need {
    why: "the public headers that the interface is compared with",
    shown_by: &["/usr/include/xen/xen.h"],
    packages: &["libxen-dev"],
};

const GRUB_TOOLS: Need = Need {
    why: "GRUB's tools, and its script that finds hypervisors",
    shown_by: &["grub-mkrescue"],
    packages: &["grub-common"],
};
const GRUB_FOR_BIOS: Need =
    Need { why: "GRUB for BIOS", shown_by: &["/usr/lib/grub/i386-pc"], packages: &["grub-pc-bin"] };
const GRUB_FOR_UEFI: Need =
    Need { why: "GRUB for UEFI", shown_by: &["/usr/lib/grub/x86_64-efi"], packages: &["grub-efi-amd64-bin"] };
const DISCS: Need = Need { why: "makes boot discs", shown_by: &["xorriso"], packages: &["xorriso"] };
const UEFI_PARTS: Need = Need { why: "makes the UEFI part of discs", shown_by: &["mformat"], packages: &["mtools"] };

/// Runs a machine with AMD's virtualisation in another emulator; it boots from discs only, and shows its screen as text.
pub const BOCHS: &[&Need] = &[
    &Need {
        why: "a second emulator with AMD's virtualisation",
        shown_by: &["bochs-bin"],
        packages: &["bochs", "bochs-term"],
    },
    &Need {
        why: "lets it run without a screen",
        shown_by: &["/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so"],
        packages: &["bochs-term"],
    },
    &Need { why: "its firmware", shown_by: &["/usr/share/bochs/BIOS-bochs-latest"], packages: &["bochsbios"] },
    &Need { why: "its screen's firmware", shown_by: &["/usr/share/bochs/VGABIOS-lgpl-latest"], packages: &["vgabios"] },
    &GRUB_TOOLS,
    &GRUB_FOR_BIOS,
    &DISCS,
    &UEFI_PARTS,
];

/// What the whole-machine tests need beside [`BOCHS`]: the emulator, UEFI's firmware, GRUB's tools and its script for Xen.
pub const WHOLE_MACHINES: &[&Need] = &[
    &EMULATOR,
    &Need {
        why: "UEFI's firmware for the emulated machine",
        shown_by: &["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_CODE.fd"],
        packages: &["ovmf"],
    },
    &GRUB_TOOLS,
    &GRUB_FOR_BIOS,
    &GRUB_FOR_UEFI,
    &Need { why: "unpacks Debian's kernel", shown_by: &["xz"], packages: &["xz-utils"] },
    &Need { why: "packs it in another way", shown_by: &["zstd"], packages: &["zstd"] },
    &DISCS,
    &UEFI_PARTS,
];

/// Makes discs that guests boot from, by BIOS and by UEFI.
pub const GUEST_DISCS: &[&Need] = &[&GRUB_TOOLS, &GRUB_FOR_BIOS, &GRUB_FOR_UEFI, &UEFI_PARTS];

/// Sees to it that an emulator is there.
///
/// **Errors:** as [`ensure`].
pub fn ensure_emulator(emulator: Emulator) -> Result<()> {
    match emulator {
        Emulator::Qemu => ensure(&[&EMULATOR]),
        Emulator::Bochs => ensure(BOCHS),
    }
}

impl Need {
    fn is_met(&self) -> bool {
        self.shown_by.iter().any(|name| find(name).is_some())
    }
}

/// Finds a program in `PATH`, or a file by its absolute name.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    if name.starts_with('/') {
        return Some(PathBuf::from(name)).filter(|path| path.exists());
    }
    // A user's PATH may lack the directories of the system's programs.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/sbin")]);
    places.map(|place| place.join(name)).find(|path| path.is_file())
}

/// Sees to it that all of `needs` are met.
///
/// **Errors:** something is missing and this is not root, or apt is not there, or it failed. The message is the command
/// to run.
pub fn ensure(needs: &[&Need]) -> Result<()> {
    let missing: Vec<&&Need> = needs.iter().filter(|need| !need.is_met()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().flat_map(|need| need.packages.iter().copied()).collect();
    packages.sort_unstable();
    packages.dedup();
    let reasons: Vec<String> =
        missing.iter().map(|need| format!("  {}: {}", need.packages.join(" "), need.why)).collect();
    install(&packages, &reasons.join("\n"))?;
    match needs.iter().find(|need| !need.is_met()) {
        Some(still) => bail!("apt installed {}, yet none of {:?} is there", still.packages.join(" "), still.shown_by),
        None => Ok(()),
    }
}

/// Sees to it that the tests' runner is there; it comes from the package registry of Rust, compiled here.
///
/// **Errors:** it does not compile, or cannot be fetched.
pub fn ensure_nextest() -> Result<()> {
    let cargo = || Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    if process::output(cargo().args(["nextest", "--version"])).is_ok() {
        return Ok(());
    }
    eprintln!("missing: cargo-nextest, which runs the tests; it is compiled now, once (3 to 4 minutes on 2 cores)");
    // It waits for tests most of its time, so compiling it takes longer than optimising it could ever save; and it need
    // not know how to replace itself by a newer one.
    let plainly = ["--debug", "--no-default-features", "--features", "default-no-update"];
    let mut install = cargo();
    install.args(["install", "cargo-nextest", "--locked"]).args(plainly).env("CARGO_PROFILE_DEV_DEBUG", "0");
    process::run(&mut install)
}

/// Installs Debian packages, saying which and why.
fn install(packages: &[&str], reasons: &str) -> Result<()> {
    let line = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if find("apt-get").is_none() {
        bail!("missing, and there is no apt here; install what your system calls these:\n{reasons}");
    }
    if !is_root() {
        bail!("missing:\n{reasons}\nrun this, then the same command again:\n\n  sudo {line}\n");
    }
    eprintln!("missing, to be installed by apt:\n{reasons}");
    let words = || line.split(' ');
    let apt = |mut words: std::str::Split<'_, char>| {
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        process::run(&mut command)
    };
    // Old lists lead to old packages, or to none.
    if apt("apt-get update".split(' ')).is_err() {
        eprintln!("apt could not fetch its lists; those that are here have to do");
    }
    let Err(error) = apt(words()) else { return Ok(()) };
    // QEMU's tools from another release keep out an emulator of this one: both must be of one version.
    let Some(tools) = packages.contains(&"qemu-system-x86").then(tools_of_the_emulator).flatten() else {
        return Err(error);
    };
    let with_tools = format!("{line} --allow-downgrades {tools}");
    eprintln!("QEMU's tools are of another version than the emulator that apt has; they are replaced: {with_tools}");
    apt(with_tools.split(' '))
}

/// Returns QEMU's tools in the version that the emulator has in apt's lists, as `apt-get` takes it; none if they are not
/// installed.
fn tools_of_the_emulator() -> Option<String> {
    process::output(Command::new("dpkg-query").args(["--status", "qemu-utils"])).ok()?;
    let policy = process::output(Command::new("apt-cache").args(["policy", "qemu-system-x86"])).ok()?;
    candidate(&policy).map(|version| format!("qemu-utils={version}"))
}

/// Reads the version that would be installed from what `apt-cache policy` prints.
fn candidate(policy: &str) -> Option<&str> {
    policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: ")).filter(|version| *version != "(none)")
}

/// Installs a need's packages though something of them is there: it is too old.
///
/// **Errors:** as [`ensure`].
pub fn renew(need: &Need) -> Result<()> {
    install(need.packages, &format!("  {}: {}, in a newer version", need.packages.join(" "), need.why))
}

/// Returns true for the superuser.
pub fn is_root() -> bool {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).unwrap_or_default();
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    user.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_in_the_path_and_a_missing_one_is_not() {
        assert!(find("sh").is_some());
        assert!(find("/bin/sh").is_some());
        assert!(find("no-such-program").is_none());
    }

    #[test]
    fn the_version_that_apt_would_install_is_read() {
        let policy = "qemu-system-x86:\n  Installed: (none)\n  Candidate: 1:7.2+dfsg-7\n  Version table:\n";
        assert_eq!(candidate(policy), Some("1:7.2+dfsg-7"));
        assert_eq!(candidate("x:\n  Candidate: (none)\n"), None);
    }

    #[test]
    fn a_need_that_is_met_asks_for_nothing() {
        let met = Need { why: "a shell", shown_by: &["no-such-program", "sh"], packages: &["no-such-package"] };
        assert!(ensure(&[&met]).is_ok());
    }
}
