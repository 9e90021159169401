//! The configuration that a command line tells, with the files that it names.

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use domains::{Card, Config, Disk, NamedFile, Uuid};

use crate::arguments::Create;

/// Reads the files and builds the configuration.
///
/// **Errors:** a file cannot be read, a disk is no block device, a word has another form.
pub fn config(create: &Create) -> Result<Config> {
    Ok(Config {
        name: create.name.clone(),
        uuid: Uuid::random().context("Linux makes no UUID; mount /proc")?,
        memory_mib: create.memory,
        vcpus: create.vcpus,
        kernel: file(&create.kernel, "kernel")?,
        ramdisk: create.ramdisk.as_deref().map(|path| file(path, "initial RAM disc")).transpose()?,
        command_line: create.command_line.clone(),
        tsc: create.tsc.into(),
        disks: create.disk.iter().map(|words| disk(words)).collect::<Result<_>>()?,
        cards: create.card.iter().map(|words| card(words)).collect::<Result<_>>()?,
    })
}

fn file(path: &Path, what: &str) -> Result<NamedFile> {
    let bytes = fs::read(path).with_context(|| format!("the {what} {} cannot be read", path.display()))?;
    Ok(NamedFile { path: path.to_string_lossy().into_owned(), bytes })
}

fn disk(words: &str) -> Result<Disk> {
    let (path, device, writable) = match words.split(',').collect::<Vec<_>>()[..] {
        [path, device] | [path, device, "r"] => (path, device, false),
        [path, device, "w"] => (path, device, true),
        _ => bail!("the disk {words:?} is not written as PATH,xvdX or PATH,xvdX,w"),
    };
    let found = fs::metadata(path).with_context(|| format!("the disk {path} is not there"))?;
    if !found.file_type().is_block_device() {
        bail!("the disk {path} is no block device; losetup makes one of a file");
    }
    let number = found.st_rdev();
    // The bits of a device's number. **Source:** `makedev` of glibc.
    let major = (number >> 8 & 0xfff) | (number >> 32 & !0xfff);
    let minor = (number & 0xff) | (number >> 12 & !0xff);
    let physical = (u32::try_from(major)?, u32::try_from(minor & u64::from(u32::MAX))?);
    Ok(Disk { device: device.to_owned(), path: path.to_owned(), physical, writable })
}

fn card(words: &str) -> Result<Card> {
    match words.split_once(',') {
        Some((mac, bridge)) => Ok(Card { mac: mac.to_owned(), bridge: bridge.to_owned() }),
        None => bail!("the card {words:?} is not written as MAC,BRIDGE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_another_form_are_refused_by_name() {
        for words in ["", "/dev/null", "/dev/null,xvda,x", "/dev/null,xvda,w,w"] {
            assert!(disk(words).unwrap_err().to_string().contains("is not written as"), "{words}");
        }
        assert!(disk("/none,xvda").unwrap_err().to_string().contains("/none is not there"));
        assert!(disk("/dev/null,xvda").unwrap_err().to_string().contains("no block device"));
        assert!(card("xenbr0").is_err());
        assert_eq!(card("a,b").unwrap(), Card { mac: "a".into(), bridge: "b".into() });
        assert!(file(Path::new("/none"), "kernel").unwrap_err().to_string().contains("kernel /none"));
    }
}
