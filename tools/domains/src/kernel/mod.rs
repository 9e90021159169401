//! A kernel for a PVH domain: its file, unpacked, and what of it goes where.

mod elf;
mod packed;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use packed::unpacked;

/// Why a kernel's file cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelError {
    /// It is neither an ELF file nor a bzImage with one.
    Unknown,
    /// A bzImage that does not say where the kernel in it lies.
    TooOld,
    /// A bzImage whose payload lies outside of the file.
    Truncated,
    /// Compressed in a way that is not understood.
    Compression(&'static str),
    /// The compressed data are damaged, or longer than the file says.
    Damaged(&'static str),
    /// It unpacks to more bytes than the domain has memory.
    TooLarge { bytes: u64, memory: u64 },
    /// A header of the ELF file makes no sense; the text says which.
    Header(String),
    /// It is not made for PVH: it has no entry for it.
    NoEntry,
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("it is neither an ELF file nor a bzImage"),
            Self::TooOld => f.write_str("its bzImage is older than boot protocol 2.08"),
            Self::Truncated => f.write_str("its file ends too early; copy it anew"),
            Self::Compression(how) => write!(f, "it is compressed with {how}; none, gzip, xz and lz4 are understood"),
            Self::Damaged(how) => write!(f, "its {how} data are damaged; copy it anew"),
            Self::TooLarge { bytes, memory } => {
                write!(f, "it unpacks to {bytes} bytes and the domain has {memory}; give it more memory")
            }
            Self::Header(what) => write!(f, "its ELF file is broken: {what}"),
            Self::NoEntry => f.write_str("it has no PVH entry (CONFIG_PVH of Linux makes one)"),
        }
    }
}

/// A part of the kernel that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The guest physical address.
    pub address: u64,
    /// Where it lies in the unpacked file.
    pub file: Range<usize>,
    /// Its length in memory; what is longer than in the file is zero.
    pub memory: u64,
}

impl Segment {
    /// Returns the guest physical address after its last byte.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.address.saturating_add(self.memory)
    }
}

/// A kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel<'a> {
    image: Cow<'a, [u8]>,
    segments: Vec<Segment>,
    entry: u32,
}

impl<'a> Kernel<'a> {
    /// Reads a kernel from its file's bytes: an ELF file, or a bzImage whose payload is one. `memory` is how many bytes
    /// the domain has.
    ///
    /// **Errors:** [`KernelError`].
    pub fn read(file: &'a [u8], memory: u64) -> Result<Self, KernelError> {
        let image = unpacked(file, memory)?;
        let (segments, entry) = elf::read(&image)?;
        Ok(Self { image, segments, entry })
    }

    /// Returns the segments in rising order, of which no two overlap; there is at least one.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Returns the bytes of a segment that come from the file.
    #[must_use]
    pub fn bytes(&self, segment: &Segment) -> &[u8] {
        self.image.get(segment.file.clone()).unwrap_or_default()
    }

    /// Returns the guest physical address of the 32-bit entry, which lies in a segment.
    #[must_use]
    pub const fn entry(&self) -> u32 {
        self.entry
    }

    /// Returns the guest physical address after the last byte that is loaded.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.segments.iter().map(Segment::end).max().unwrap_or(0)
    }
}
