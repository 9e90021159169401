//! Initial RAM discs: a directory's files as a compressed archive that Linux unpacks.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cpio::NewcBuilder;
use lz4_flex::block;

/// What an archive is called.
pub const NAME: &str = "initrd.lz4";

/// The old frame of LZ4, the only one that Linux knows: its number, then blocks of at most this much, packed, each with its
/// length before it. **Source:** LZ4's `lz4_Frame_format.md`, "Legacy frame".
const LEGACY_FRAME: u32 = 0x184c_2102;
const BLOCK: usize = 8 << 20;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Writes what is in `root` to `archive`, as root's own files, with a console device. The same files make the same bytes.
///
/// **Errors:** a file cannot be read, or the archive cannot be written.
pub fn write(root: &Path, archive: &Path) -> Result<()> {
    let file = File::create(archive).with_context(|| format!("cannot write {}", archive.display()))?;
    let mut packed = Packer::begin(BufWriter::new(file)).context("cannot write the archive's beginning")?;
    let mut inode = 0;
    for path in below(root)? {
        inode += 1;
        entry(root, &path, inode, &mut packed)?;
    }
    let console = NewcBuilder::new("dev/console").mode(CHARACTER_DEVICE | 0o600).ino(inode + 1);
    add(console.rdev_major(5).rdev_minor(1), &[], &mut packed)?;
    cpio::newc::trailer(&mut packed).context("cannot write the archive's end")?;
    packed.finish().context("cannot write the archive")
}

/// Packs what is written to it. It is unpacked by an emulated CPU at every boot and read once from a disk: the fastest
/// form to unpack is the best.
struct Packer<W> {
    to: W,
    block: Vec<u8>,
}

impl<W: Write> Packer<W> {
    fn begin(mut to: W) -> io::Result<Self> {
        to.write_all(&LEGACY_FRAME.to_le_bytes())?;
        Ok(Self { to, block: Vec::with_capacity(BLOCK) })
    }

    fn pack(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let packed = block::compress(&self.block);
        let length = u32::try_from(packed.len()).map_err(io::Error::other)?;
        self.block.clear();
        self.to.write_all(&length.to_le_bytes())?;
        self.to.write_all(&packed)
    }

    fn finish(mut self) -> io::Result<()> {
        self.pack()?;
        self.to.flush()
    }
}

impl<W: Write> Write for Packer<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = data.len().min(BLOCK - self.block.len());
        let (now, _) = data.split_at(taken);
        self.block.extend_from_slice(now);
        // All blocks but the last are full, as the form asks.
        if self.block.len() == BLOCK {
            self.pack()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Returns every path below `root`, directories before what is in them.
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
    use std::io::{Cursor, Read};
    use xenolith_tests::places;

    /// Unpacks an archive, and says how long its blocks are.
    fn unpacked(packed: &[u8]) -> (Vec<u8>, Vec<usize>) {
        let (mut rest, mut all, mut blocks) =
            (packed.strip_prefix(&LEGACY_FRAME.to_le_bytes()).unwrap(), vec![], vec![]);
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (block, next) = after.split_at(u32::from_le_bytes(*length) as usize);
            let data = block::decompress(block, BLOCK).unwrap();
            blocks.push(data.len());
            all.extend(data);
            rest = next;
        }
        assert!(rest.is_empty());
        (all, blocks)
    }

    #[test]
    fn all_blocks_but_the_last_are_full() {
        let data: Vec<u8> = (0..BLOCK + 5).map(|at| (at % 251) as u8).collect();
        let mut packed = Vec::new();
        let mut packer = Packer::begin(&mut packed).unwrap();
        data.chunks(1_000_003).for_each(|part| packer.write_all(part).unwrap());
        packer.finish().unwrap();
        assert_eq!(unpacked(&packed), (data, vec![BLOCK, 5]));
    }

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

        let mut reader: Box<dyn Read> = Box::new(Cursor::new(unpacked(&fs::read(&archives[0]).unwrap()).0));
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
