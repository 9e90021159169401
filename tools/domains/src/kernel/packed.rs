//! A bzImage, as distributions ship Linux: a loader, and behind it the kernel's ELF file, compressed.
//!
//! **Source:** Linux's boot protocol (`Documentation/arch/x86/boot.rst`), versions 2.08 and later.

use std::borrow::Cow;
use std::io::{self, Read};

use flate2::read::GzDecoder;
use lzma_rust2::XzReader;

use super::KernelError;

const ELF: &[u8] = b"\x7fELF";

/// The forms in which Linux's build packs the kernel, by their first bytes.
const FORMS: [(&[u8], &str); 7] = [
    (b"\x1f\x8b\x08", "gzip"),
    (b"BZh", "bzip2"),
    (b"\x5d\0\0", "lzma"),
    (b"\xfd7zXZ\0", "xz"),
    (b"\x89LZO", "lzo"),
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
];

/// The blocks of LZ4's old format unpack to at most this many bytes.
const LZ4_BLOCK: usize = 8 << 20;

/// Returns the ELF file in a kernel's file. It may have at most `memory` bytes.
///
/// **Errors:** all of [`KernelError`] but those about the ELF file.
pub fn unpacked(file: &[u8], memory: u64) -> Result<Cow<'_, [u8]>, KernelError> {
    if file.starts_with(ELF) {
        return Ok(file.into());
    }
    let payload = payload(file)?;
    if payload.starts_with(ELF) {
        return Ok(payload.into());
    }
    let form = FORMS.iter().find(|(first, _)| payload.starts_with(first)).map(|(_, name)| *name);
    let form = form.ok_or(KernelError::Unknown)?;
    // Linux's build appends how long the kernel is unpacked; gzip's own format ends in the same number.
    let (data, length) = payload.split_last_chunk::<4>().ok_or(KernelError::Truncated)?;
    let length = u64::from(u32::from_le_bytes(*length));
    if length > memory {
        return Err(KernelError::TooLarge { bytes: length, memory });
    }
    let room = usize::try_from(length).map_err(|_| KernelError::TooLarge { bytes: length, memory })?;
    let image = match form {
        "gzip" => read(GzDecoder::new(payload), room),
        "xz" => read(XzReader::new(data, false), room),
        "lz4" => lz4(data, room),
        other => return Err(KernelError::Compression(other)),
    };
    let image = image.filter(|image| image.len() == room).ok_or(KernelError::Damaged(form))?;
    if image.starts_with(ELF) { Ok(image.into()) } else { Err(KernelError::Unknown) }
}

/// Returns what a bzImage's header says is the kernel.
fn payload(file: &[u8]) -> Result<&[u8], KernelError> {
    if bytes(file, 0x1fe) != Some([0x55, 0xaa]) || bytes(file, 0x202) != Some(*b"HdrS") {
        return Err(KernelError::Unknown);
    }
    if bytes(file, 0x206).map(u16::from_le_bytes).is_none_or(|version| version < 0x208) {
        return Err(KernelError::TooOld);
    }
    let word = |at| bytes(file, at).map(|word| u64::from(u32::from_le_bytes(word))).ok_or(KernelError::Truncated);
    // Sectors of 512 bytes after the first one; 0 means 4.
    let sectors = match bytes(file, 0x1f1).ok_or(KernelError::Truncated)? {
        [0] => 4,
        [sectors] => u64::from(sectors),
    };
    let start = sectors.saturating_add(1).saturating_mul(512).saturating_add(word(0x248)?);
    let end = start.saturating_add(word(0x24c)?);
    let whole = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    whole.and_then(|(start, end)| file.get(start..end)).ok_or(KernelError::Truncated)
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..)?.first_chunk::<N>().copied()
}

/// Reads at most one byte more than there is room for, so that a file with too much in it is told.
fn read(from: impl Read, room: usize) -> Option<Vec<u8>> {
    let mut image = Vec::with_capacity(room);
    let most = (room as u64).saturating_add(1);
    let read: io::Result<usize> = from.take(most).read_to_end(&mut image);
    read.ok().map(|_| image)
}

/// Unpacks LZ4's legacy format: blocks with their length before them. **Source:** LZ4's `lz4_Frame_format.md`.
fn lz4(data: &[u8], room: usize) -> Option<Vec<u8>> {
    let mut rest = data.get(4..)?;
    let mut image = vec![0; room];
    let mut done = 0_usize;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (block, next) = after.split_at_checked(length)?;
        let free = image.get_mut(done..)?;
        let most = free.len().min(LZ4_BLOCK);
        done = done.checked_add(lz4_flex::block::decompress_into(block, free.get_mut(..most)?).ok()?)?;
        rest = next;
    }
    image.truncate(done);
    rest.is_empty().then_some(image)
}
