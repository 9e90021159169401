//! A boot disc with GRUB under the BIOS, for an emulator that loads no kernel itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::media::Module;

/// GRUB's modules for the BIOS, as Debian's package grub-pc-bin lays them.
const MODULES: &str = "/usr/lib/grub/i386-pc";

/// Makes `disc.iso` in `place`, which boots the image by multiboot1 with these modules.
///
/// **Errors:** GRUB's tools are not installed or failed, a file cannot be read or written.
pub(crate) fn make(place: &Path, image: &Path, options: &str, modules: &[Module]) -> Result<PathBuf> {
    let root = place.join("root");
    // An earlier disc's files would go onto this one.
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("boot/grub")).context("cannot make the disc's directory")?;
    let lay = |file: &Path, name: &str| {
        fs::copy(file, root.join(name)).map(drop).with_context(|| format!("cannot copy {}", file.display()))
    };
    lay(image, "boot/hypervisor")?;
    for (number, module) in modules.iter().enumerate() {
        lay(&module.file, &format!("boot/module{number}"))?;
    }
    fs::write(root.join("boot/grub/grub.cfg"), menu(options, modules)).context("cannot write GRUB's menu")?;
    let disc = place.join("disc.iso");
    let made = Command::new("grub-mkrescue")
        .args(["-d", MODULES, "--locales=", "--fonts=", "--themes=", "-o"])
        .args([&disc, &root])
        .output()
        .context("cannot start grub-mkrescue; install it: apt-get install grub-common grub-pc-bin xorriso mtools")?;
    if !made.status.success() {
        bail!("grub-mkrescue failed:\n{}", String::from_utf8_lossy(&made.stderr));
    }
    Ok(disc)
}

/// Returns GRUB's menu. It asks for text, as a frame buffer that real Xen asks for ends Bochs' machine.
fn menu(options: &str, modules: &[Module]) -> String {
    let loads = modules
        .iter()
        .enumerate()
        .map(|(number, module)| format!("  module /boot/module{number} {}\n", module.command_line));
    let loads: String = loads.collect();
    format!(
        "set timeout=0\nset gfxpayload=text\nmenuentry machine {{\n  multiboot /boot/hypervisor {options}\n\
         {loads}}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_menu_loads_the_hypervisor_and_its_modules_with_their_words() {
        let module = |words: &str| Module { file: "kernel".into(), command_line: words.into() };
        let menu = menu("console=com1", &[module("root=/dev/x"), module("")]);
        assert!(menu.contains("\n  multiboot /boot/hypervisor console=com1\n"), "{menu}");
        assert!(menu.contains("\n  module /boot/module0 root=/dev/x\n"), "{menu}");
        assert!(menu.contains("\n  module /boot/module1 \n}\n"), "{menu}");
    }
}
