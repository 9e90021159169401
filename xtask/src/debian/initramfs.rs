//! Initial RAM discs: a directory's files as a compressed archive that Linux unpacks.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::NewcBuilder;
use flate2::{Compression, GzBuilder};

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Writes what is in `root` to `archive`, as root's own files, with a console device. The same files make the same bytes.
///
/// **Errors:** a file cannot be read, or the archive cannot be written.
pub fn write(root: &Path, archive: &Path) -> Result<()> {
    let file = File::create(archive).with_context(|| format!("cannot write {}", archive.display()))?;
    // Unpacked by an emulated CPU at every boot, and read once from a disk: the fastest packing is the best.
    let mut packed = GzBuilder::new().mtime(0).write(BufWriter::new(file), Compression::fast());
    let mut inode = 0;
    for path in below(root)? {
        inode += 1;
        entry(root, &path, inode, &mut packed)?;
    }
    let console = NewcBuilder::new("dev/console").mode(CHARACTER_DEVICE | 0o600).ino(inode + 1);
    add(console.rdev_major(5).rdev_minor(1), &[], &mut packed)?;
    cpio::newc::trailer(&mut packed).context("cannot write the archive's end")?;
    packed.finish().and_then(|mut file| file.flush()).context("cannot write the archive")
}

/// Every path below `root`, directories before what is in them.
fn below(root: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(root).with_context(|| format!("cannot read {}", root.display()))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut all = Vec::new();
    for path in paths {
        let is_directory = fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir());
        all.push(path.clone());
        if is_directory {
            all.extend(below(&path)?);
        }
    }
    Ok(all)
}

fn entry(root: &Path, path: &Path, inode: u32, archive: &mut impl Write) -> Result<()> {
    let context = || format!("cannot read {}", path.display());
    let found = fs::symlink_metadata(path).with_context(context)?;
    let name = path.strip_prefix(root).context("a path outside its root")?.to_string_lossy();
    let permissions = found.permissions().mode() & 0o7777;
    let (mode, data) = if found.is_dir() {
        (DIRECTORY | permissions, Vec::new())
    } else if found.is_symlink() {
        (LINK | 0o777, fs::read_link(path).with_context(context)?.as_os_str().as_bytes().to_vec())
    } else {
        (REGULAR | permissions, fs::read(path).with_context(context)?)
    };
    add(NewcBuilder::new(&name).mode(mode).ino(inode).nlink(1), &data, archive)
}

fn add(entry: NewcBuilder, data: &[u8], archive: &mut impl Write) -> Result<()> {
    let size = u32::try_from(data.len()).context("a file is too large for an initial RAM disc")?;
    let mut writer = entry.write(archive, size);
    writer.write_all(data).and_then(|()| writer.finish().map(drop)).context("cannot write to the archive")
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read;
    use xenolith_tests::places;

    #[test]
    fn files_links_directories_and_the_console_are_in_it_and_the_same_files_make_the_same_bytes() {
        let place = places::target().join("tmp").join(format!("initramfs-{}", std::process::id()));
        let root = place.join("root");
        fs::create_dir_all(root.join("d")).unwrap();
        fs::write(root.join("d/file"), "held").unwrap();
        super::super::root::link(&root, "l", "d/file").unwrap();
        let archives = [place.join("one"), place.join("two")];
        archives.iter().for_each(|archive| write(&root, archive).unwrap());
        assert_eq!(fs::read(&archives[0]).unwrap(), fs::read(&archives[1]).unwrap());

        let mut reader: Box<dyn Read> = Box::new(GzDecoder::new(File::open(&archives[0]).unwrap()));
        let mut found = Vec::new();
        loop {
            let mut each = cpio::NewcReader::new(reader).unwrap();
            if each.entry().is_trailer() {
                break;
            }
            let mut data = String::new();
            each.read_to_string(&mut data).unwrap();
            found.push((each.entry().name().to_owned(), each.entry().mode() & 0o170_000, data));
            reader = each.finish().unwrap();
        }
        let wanted = [
            ("d", DIRECTORY, ""),
            ("d/file", REGULAR, "held"),
            ("l", LINK, "d/file"),
            ("dev/console", CHARACTER_DEVICE, ""),
        ];
        let wanted: Vec<_> = wanted.map(|(name, kind, data)| (name.to_owned(), kind, data.to_owned())).into();
        assert_eq!(found, wanted);
        fs::remove_dir_all(place).unwrap();
    }
}
