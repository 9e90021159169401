//! Formats of a kernel's file: ELF, bzImage, and the compressed forms.

use core::fmt;

use super::KernelFileError;

const ELF: &[u8] = b"\x7fELF";

/// The forms that Linux's build can give the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Bzip2,
    Lzma,
    Xz,
    Lzo,
    Lz4,
    Zstd,
}

impl Compression {
    /// Tells the form of `data` by its first bytes.
    pub(super) fn of(data: &[u8]) -> Option<Self> {
        let known: [(&[u8], Self); 8] = [
            (ELF, Self::None),
            (b"\x1f\x8b\x08", Self::Gzip),
            (b"BZh", Self::Bzip2),
            (b"\x5d\0\0", Self::Lzma),
            (b"\xfd7zXZ\0", Self::Xz),
            (b"\x89LZO", Self::Lzo),
            (b"\x02\x21\x4c\x18", Self::Lz4),
            (b"\x28\xb5\x2f\xfd", Self::Zstd),
        ];
        known.into_iter().find(|(magic, _)| data.starts_with(magic)).map(|(_, compression)| compression)
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "lzma",
            Self::Xz => "xz",
            Self::Lzo => "lzo",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

fn bytes<const N: usize>(file: &[u8], at: usize) -> Option<[u8; N]> {
    file.get(at..)?.first_chunk::<N>().copied()
}

/// Returns the payload of a bzImage; none if the file is no bzImage.
///
/// **Errors:** `TooOld`, `Truncated`.
pub(super) fn bz_image_payload(file: &[u8]) -> Result<Option<&[u8]>, KernelFileError> {
    if bytes(file, 0x1fe) != Some([0x55, 0xaa]) || bytes(file, 0x202) != Some(*b"HdrS") {
        return Ok(None);
    }
    let word = |at| bytes(file, at).map(u32::from_le_bytes).ok_or(KernelFileError::Truncated);
    if bytes(file, 0x206).map(u16::from_le_bytes).is_none_or(|version| version < 0x208) {
        return Err(KernelFileError::TooOld);
    }
    // Sectors of 512 bytes after the first one; 0 means 4.
    let sectors = match bytes(file, 0x1f1).ok_or(KernelFileError::Truncated)? {
        [0] => 4,
        [sectors] => u64::from(sectors),
    };
    // A byte and two words: no sum is out of range.
    let start = sectors.saturating_add(1).saturating_mul(512).saturating_add(word(0x248)?.into());
    let end = start.saturating_add(word(0x24c)?.into());
    let whole = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    whole.and_then(|(start, end)| file.get(start..end)).map(Some).ok_or(KernelFileError::Truncated)
}
