//! GRUB's own script for Xen, as a distribution runs it when it writes its boot menu.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::image::{built, scratch};

const SCRIPT: &str = "/etc/grub.d/20_linux_xen";

/// `unshare`'s words for mounts of one's own: with a user namespace where there is no privilege, without one where user
/// namespaces are forbidden, as they are in a changed root.
const WAYS: [&[&str]; 2] = [&["--map-root-user", "--mount"], &["--mount"]];

/// Returns the first of [`WAYS`] that works here.
fn own_mounts() -> &'static [&'static str] {
    let works =
        |way: &&[&str]| Command::new("unshare").args(*way).arg("true").output().is_ok_and(|it| it.status.success());
    WAYS.into_iter()
        .find(works)
        .expect("this test needs mounts of its own: user namespaces, or root with CAP_SYS_ADMIN")
}

/// Runs the script over `boot`, which stands where `/boot` is, and returns the menu it writes.
///
/// It sees its own mounts only. What asks about real discs is answered by a stub: there is none.
fn menu(place: &Path, boot: &Path) -> String {
    let stub = place.join("stub");
    fs::write(&stub, "#!/bin/sh\nexit 0\n").unwrap();
    fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).unwrap();
    let path_printer = place.join("relative-path");
    fs::write(&path_printer, "#!/bin/sh\necho \"$1\"\n").unwrap();
    fs::set_permissions(&path_printer, fs::Permissions::from_mode(0o755)).unwrap();
    let run = format!("mount --bind '{}' /boot && exec {SCRIPT}", boot.display());
    let written = Command::new("unshare")
        .args(own_mounts())
        .args(["sh", "-c", &run])
        .env("pkgdatadir", "/usr/share/grub")
        .env("grub_probe", &stub)
        .env("grub_mkrelpath", &path_printer)
        .env("GRUB_DEVICE", "/dev/none1")
        .env("GRUB_DEVICE_BOOT", "/dev/none1")
        .env("GRUB_DISTRIBUTOR", "Debian")
        .env("GRUB_CMDLINE_XEN", "dom0_mem=512M")
        .env("GRUB_CMDLINE_LINUX", "console=hvc0")
        .env("LANG", "C")
        .output()
        .expect("unshare is there");
    let complaints = String::from_utf8_lossy(&written.stderr);
    assert!(written.status.success(), "{SCRIPT} failed:\n{complaints}");
    String::from_utf8_lossy(&written.stdout).into_owned()
}

/// Returns the lines of the first menu entry whose title holds `title`.
fn entry<'a>(menu: &'a str, title: &str) -> Vec<&'a str> {
    let lines = menu.lines().map(str::trim).skip_while(|line| !(line.starts_with("menuentry") && line.contains(title)));
    lines.take_while(|line| *line != "}").collect()
}

#[test]
fn grubs_xen_script_lists_it_beside_xen_and_loads_it_by_multiboot2() {
    let place = scratch("grub-script");
    let boot = place.join("boot");
    fs::create_dir_all(&boot).unwrap();
    let name = format!("xenolith-{}-amd64", env!("CARGO_PKG_VERSION"));
    // The neighbour only has to be found under Xen's name.
    for file in [format!("{name}.gz"), "xen-4.17-amd64.gz".into()] {
        fs::copy(built("xenolith.gz"), boot.join(file)).unwrap();
    }
    fs::write(boot.join("vmlinuz-6.1.0-1-amd64"), "a kernel").unwrap();
    fs::write(boot.join("initrd.img-6.1.0-1-amd64"), "its initrd").unwrap();
    fs::write(boot.join("config-6.1.0-1-amd64"), "CONFIG_XEN_DOM0=y\n").unwrap();

    let menu = menu(&place, &boot);

    let ours = entry(&menu, &format!("with Xen {name} and Linux 6.1.0-1-amd64"));
    let holds = |beginning: &str, words: &str| {
        ours.iter().any(|line| line.split_whitespace().next() == Some(beginning) && line.contains(words))
    };
    assert!(holds("multiboot2", &format!("/boot/{name}.gz placeholder dom0_mem=512M")), "{menu}");
    assert!(holds("module2", "/boot/vmlinuz-6.1.0-1-amd64 placeholder root="), "{menu}");
    assert!(holds("module2", "/boot/initrd.img-6.1.0-1-amd64"), "{menu}");
    assert!(!entry(&menu, "with Xen 4.17-amd64 and Linux 6.1.0-1-amd64").is_empty(), "{menu}");
}
