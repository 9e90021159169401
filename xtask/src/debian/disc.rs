//! The beginning of a disc that an HVM guest boots from, up to its file system: GRUB for BIOS in the first track, GRUB for
//! UEFI on an EFI system partition. Dom0 adds the file system with Debian's kernel, which it has already.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::product;
use crate::process;
use crate::setup::{self, GUEST_DISCS};

/// GRUB's modules as Debian's packages grub-pc-bin and grub-efi-amd64-bin lay them.
const FOR_BIOS: &str = "/usr/lib/grub/i386-pc";
const FOR_UEFI: &str = "/usr/lib/grub/x86_64-efi";

/// What GRUB's images hold besides their core: enough to find the file system and to show a menu on screen and serial line.
const MODULES: &[&str] = &["part_msdos", "ext2", "normal", "linux", "serial", "terminal", "echo"];

/// Where GRUB finds its menu: on the second partition.
const PREFIX: &str = "(hd0,msdos2)/boot/grub";

const SECTOR: usize = 512;

/// The partitions' first sectors and lengths: the EFI system partition, and the file system, which dom0 makes. The offset and
/// the size of the latter stand in `dom0/root/job/hvm-guest` as well.
const EFI: (u32, u32) = (2048, 4096);
const SYSTEM: (u32, u32) = (6144, 48 << 11);

/// Kinds of partitions. **Source:** UEFI specification 2.10, 5.2.2, for EFI's; Linux has used 0x83 since its beginning.
const KIND_EFI: u8 = 0xef;
const KIND_LINUX: u8 = 0x83;

/// Where the code of an MBR ends and its partition table lies. **Source:** UEFI specification 2.10, 5.2.1.
const CODE: usize = 440;
const TABLE: usize = 446;

/// Makes the file `head` in `target/debian/disc-head/`.
///
/// **Errors:** GRUB's or mtools' programs cannot be had or fail.
pub fn head() -> Result<PathBuf> {
    setup::ensure(GUEST_DISCS)?;
    let sources = [Path::new(FOR_BIOS).join("boot.img"), Path::new(FOR_UEFI).join("normal.mod")];
    let from = format!("{} {PREFIX} {EFI:?} {SYSTEM:?}", MODULES.join(" "));
    let sources = [sources[0].as_path(), sources[1].as_path()];
    let product =
        product::made("disc-head", "making the beginning of a disc with GRUB", &[&from], &sources, |place| {
            let boot = fs::read(sources[0]).context("grub-pc-bin holds no boot.img")?;
            let core = grub_image(place, "i386-pc", FOR_BIOS, "biosdisk")?;
            let uefi = grub_image(place, "x86_64-efi", FOR_UEFI, "efi_gop")?;
            let partition = system_partition(place, &uefi)?;
            let core = fs::read(&core).context("cannot read GRUB's image for BIOS")?;
            fs::write(place.join("head"), joined(&boot, &core, &partition)?)
                .context("cannot write the disc's beginning")
        })?;
    Ok(product.directory.join("head"))
}

/// Makes GRUB's image for a platform.
fn grub_image(place: &Path, platform: &str, modules: &str, own: &str) -> Result<PathBuf> {
    let image = place.join(platform);
    let mut command = Command::new("grub-mkimage");
    command.args(["-O", platform, "-d", modules, "-p", PREFIX, "-o"]).arg(&image);
    process::output(command.args(MODULES).arg(own))?;
    Ok(image)
}

/// Makes the EFI system partition with GRUB where firmware looks for what it boots by default.
fn system_partition(place: &Path, grub: &Path) -> Result<Vec<u8>> {
    let image = place.join("efi.img");
    let mtool = |name: &str| {
        let mut command = Command::new(name);
        command.arg("-i").arg(&image);
        command
    };
    process::output(mtool("mformat").args(["-C", "-h", "16", "-s", "32", "-T", &EFI.1.to_string(), "::"]))?;
    process::output(mtool("mmd").args(["::EFI", "::EFI/BOOT"]))?;
    process::output(mtool("mcopy").arg(grub).arg("::EFI/BOOT/BOOTX64.EFI"))?;
    fs::read(image).context("cannot read the EFI system partition")
}

/// Joins an MBR of GRUB's code and a partition table, GRUB's image for BIOS, and the EFI system partition.
///
/// The code of the MBR loads the sector behind it, which loads the rest of the image behind itself: what GRUB's images are
/// made for, unless its set-up says otherwise. **Source:** GNU GRUB manual 2.06, "Images".
fn joined(boot: &[u8], core: &[u8], partition: &[u8]) -> Result<Vec<u8>> {
    let gap = EFI.0 as usize * SECTOR;
    if core.len() > gap - SECTOR {
        bail!("GRUB's image for BIOS has {} bytes, too many for the sectors before the first partition", core.len());
    }
    let mut head = boot.get(..CODE).context("GRUB's boot.img is shorter than its code")?.to_vec();
    head.resize(TABLE, 0);
    head.extend(entry(0, KIND_EFI, EFI));
    head.extend(entry(0x80, KIND_LINUX, SYSTEM));
    head.resize(SECTOR - 2, 0);
    head.extend([0x55, 0xaa]);
    head.extend(core);
    head.resize(gap, 0);
    head.extend(partition);
    head.resize(SYSTEM.0 as usize * SECTOR, 0);
    Ok(head)
}

/// Returns an entry of the partition table, which gives places by sectors alone.
fn entry(status: u8, kind: u8, (first, length): (u32, u32)) -> Vec<u8> {
    // Cylinders, heads and sectors that say: look at the numbers of sectors.
    const BY_SECTORS: [u8; 3] = [0xfe, 0xff, 0xff];
    let mut entry = vec![status];
    entry.extend(BY_SECTORS);
    entry.push(kind);
    entry.extend(BY_SECTORS);
    entry.extend(first.to_le_bytes());
    entry.extend(length.to_le_bytes());
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_table_image_and_partition_lie_where_firmware_and_grub_look_for_them() {
        let head = joined(&[0xb0; 512], &[0xc0; 1000], &[0xe0; 4096 * 512]).unwrap();
        assert_eq!(head.len(), 3 << 20);
        assert_eq!((head[439], head[440], &head[510..512]), (0xb0, 0, &[0x55, 0xaa][..]));
        assert_eq!((head[446 + 4], &head[446 + 8..446 + 12]), (0xef, &[0, 8, 0, 0][..]));
        assert_eq!((head[462], head[462 + 4], &head[462 + 8..462 + 12]), (0x80, 0x83, &[0, 24, 0, 0][..]));
        assert_eq!(head[494..510], [0; 16]);
        assert_eq!((head[511], head[512], head[1511], head[1512]), (0xaa, 0xc0, 0xc0, 0));
        assert_eq!((head[(1 << 20) - 1], head[1 << 20], head[(3 << 20) - 1]), (0, 0xe0, 0xe0));
    }

    #[test]
    fn an_image_that_would_reach_into_the_first_partition_is_refused() {
        assert!(joined(&[0; 512], &[0; 1 << 20], &[]).is_err());
        assert!(joined(&[0; 512], &[0; (1 << 20) - 512], &[]).is_ok());
    }
}
