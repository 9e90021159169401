//! A kernel as it lies in its file: bare, or packed.
//!
//! Distributions ship Linux as a bzImage: a loader for machines without a hypervisor, and behind it the kernel's ELF
//! file in one of several compressed forms. What is wanted here is the ELF file.
//!
//! **Source:** Linux's boot protocol (`Documentation/arch/x86/boot.rst`), versions 2.08 and later.

mod format;
mod unpack;
mod zstd;

use core::fmt;

pub use format::Compression;
use format::bz_image_payload;

/// Why a kernel's file cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KernelFileError {
    /// It is neither an ELF file, nor a bzImage, nor a compressed ELF file.
    Unknown,
    /// A bzImage from before version 2.08 of the boot protocol, which does not say where the kernel is.
    TooOld,
    /// The file ends too early, or its header points outside of it.
    Truncated,
    /// Compressed in a way that is not understood.
    Unsupported(Compression),
    /// The compressed data are damaged.
    Damaged(Compression),
    /// What comes out is not as long as the file says.
    WrongLength,
    /// Unpacking it needs more memory than there is.
    NoMemory(Compression),
}

impl fmt::Display for KernelFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str(
                "the first module is no kernel: neither an ELF file nor a bzImage nor a compressed ELF file",
            ),
            Self::TooOld => f.write_str("the kernel's bzImage is older than boot protocol 2.08; take a newer kernel"),
            Self::Truncated => f.write_str("the kernel's file ends too early; copy it anew"),
            Self::Unsupported(how) => {
                write!(f, "the kernel is compressed with {how}; supported are none, gzip, xz, zstd and lz4")
            }
            Self::Damaged(how) => write!(f, "the kernel's {how} data are damaged; copy it anew"),
            Self::WrongLength => f.write_str("the kernel unpacks to another length than its file says; copy it anew"),
            Self::NoMemory(how) => {
                write!(
                    f,
                    "not enough memory to unpack the kernel's {how} data; give the machine more, or the kernel unpacked"
                )
            }
        }
    }
}

/// A kernel's file, looked at but not unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelFile<'a> {
    payload: &'a [u8],
    compression: Compression,
    unpacked_bytes: usize,
}

impl<'a> KernelFile<'a> {
    /// Finds the kernel in its file.
    ///
    /// **Errors:** `Unknown`, `TooOld`, `Truncated`.
    pub fn open(file: &'a [u8]) -> Result<Self, KernelFileError> {
        let inside = bz_image_payload(file)?;
        let payload = inside.unwrap_or(file);
        let compression = Compression::of(payload).ok_or(KernelFileError::Unknown)?;
        let (data, length) = match (compression, payload.split_last_chunk::<4>()) {
            (Compression::None, _) => return Ok(Self { payload, compression, unpacked_bytes: payload.len() }),
            (Compression::Gzip, Some((_, length))) => (payload, length),
            // Linux's build appends the length to the forms that do not end with it anyway, as gzip does.
            (_, Some(parts)) if inside.is_some() => parts,
            _ => return Err(KernelFileError::Unknown),
        };
        let unpacked_bytes = u32::from_le_bytes(*length) as usize;
        Ok(Self { payload: data, compression, unpacked_bytes })
    }

    /// Returns how it is packed.
    #[must_use]
    pub const fn compression(&self) -> Compression {
        self.compression
    }

    /// Returns the kernel's ELF file if it is not compressed.
    #[must_use]
    pub fn plain(&self) -> Option<&'a [u8]> {
        (self.compression == Compression::None).then_some(self.payload)
    }

    /// Returns how many bytes it unpacks to, as the file says; the number is not trusted.
    #[must_use]
    pub const fn unpacked_bytes(&self) -> usize {
        self.unpacked_bytes
    }

    /// Unpacks it to `into`, which is [`KernelFile::unpacked_bytes`] long. Up to `heap_bytes` may come from the
    /// heap.
    ///
    /// **Errors:** `Truncated`, `Unsupported`, `Damaged`, `WrongLength`, `NoMemory`.
    pub fn unpack(&self, into: &mut [u8], heap_bytes: usize) -> Result<(), KernelFileError> {
        let written = unpack::unpack(self.compression, self.payload, into, heap_bytes)?;
        if written == into.len() { Ok(()) } else { Err(KernelFileError::WrongLength) }
    }
}
