//! A boot disc with GRUB, for BIOS and UEFI alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use xenolith_tests::Media;

use crate::image::{OPTIONS, built, scratch};

/// Where distributions keep UEFI's firmware for the emulator: the code, and its variables as they leave the factory.
const FIRMWARE: [(&str, &str); 2] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
];

/// Makes a disc that boots the compressed image by `multiboot2`, with these modules.
pub fn disc(test: &str, options: &str, modules: &[(&Path, &str)]) -> PathBuf {
    let place = scratch(test);
    let root = place.join("root");
    fs::create_dir_all(root.join("boot/grub")).unwrap();
    fs::copy(built("xenolith.gz"), root.join("boot/xenolith.gz")).unwrap();
    let mut menu = format!(
        "set timeout=0\nmenuentry xenolith {{\n  multiboot2 /boot/xenolith.gz placeholder {OPTIONS} {options}\n"
    );
    for (number, (file, words)) in modules.iter().enumerate() {
        fs::copy(file, root.join(format!("boot/module{number}"))).unwrap();
        menu.push_str(&format!("  module2 /boot/module{number} placeholder {words}\n"));
    }
    fs::write(root.join("boot/grub/grub.cfg"), menu + "}\n").unwrap();
    let iso = place.join("disc.iso");
    let made = Command::new("grub-mkrescue").arg("-o").arg(&iso).arg(&root).output().expect("grub-mkrescue is there");
    assert!(made.status.success(), "grub-mkrescue failed:\n{}", String::from_utf8_lossy(&made.stderr));
    iso
}

/// Returns the disc in a machine with UEFI, whose variables are a copy beside the disc.
pub fn under_uefi(iso: PathBuf) -> Media {
    let found = FIRMWARE.iter().find(|(code, _)| Path::new(code).is_file());
    let (code, fresh) = found.expect("UEFI's firmware is there; Debian's package is ovmf");
    let variables = iso.with_file_name("variables.fd");
    fs::copy(fresh, &variables).unwrap();
    Media::UefiDisc { iso, code: code.into(), variables }
}
