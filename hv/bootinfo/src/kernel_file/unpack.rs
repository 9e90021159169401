//! Decompression, by crates that do it without a standard library.

use alloc::boxed::Box;

use ruzstd::decoding::FrameDecoder;
use xz4rust::{XzDecoder, XzNextBlockResult};

use super::{Compression, KernelFileError};

/// The blocks of LZ4's old format unpack to at most this much.
const LZ4_BLOCK: usize = 8 << 20;
/// Tables of the decompressors, roughly.
const ZSTD_TABLES: usize = 4 << 20;

/// How much memory a form refers back to, apart from what it takes from the heap.
pub(super) fn work_bytes(compression: Compression, data: &[u8]) -> usize {
    match compression {
        Compression::Xz => xz_window(data).unwrap_or(0),
        _ => 0,
    }
}

/// The window of an XZ file, from the header of its first block. **Source:** the .xz file format 1.2.1, 2.1.1, 3.1,
/// 5.3.1.
fn xz_window(data: &[u8]) -> Option<usize> {
    const STREAM_HEADER: usize = 12;
    const SIZES: [u8; 2] = [0x40, 0x80];
    const LZMA2: u8 = 0x21;
    let [_, flags, ..] = data.get(STREAM_HEADER..)? else { return None };
    let mut rest = data.get(STREAM_HEADER + 2..)?;
    for size in SIZES {
        if flags & size != 0 {
            // A number of several bytes: the last one has its highest bit clear.
            let end = rest.iter().position(|byte| byte & 0x80 == 0)?;
            rest = rest.get(end..)?.get(1..)?;
        }
    }
    for _ in 0..4 {
        let [kind, size, after @ ..] = rest else { return None };
        if *kind == LZMA2 {
            let bits = u32::from(after.first()? & 0x3f);
            return 1_usize.checked_shl(bits / 2 + 11)?.checked_mul((bits & 1) as usize + 2);
        }
        rest = after.get(usize::from(*size)..)?;
    }
    None
}

/// Unpacks `data` and gives how many bytes that made.
///
/// Each form has a function that is never inlined: together their tables would not fit the hypervisor's stack.
pub(super) fn unpack(
    compression: Compression,
    data: &[u8],
    into: &mut [u8],
    work: &mut [u8],
    heap_bytes: usize,
) -> Result<usize, KernelFileError> {
    let done = match compression {
        Compression::None => copy(data, into),
        Compression::Gzip => gzip(data, into),
        Compression::Xz => xz(data, into, work),
        Compression::Lz4 => lz4(data, into),
        Compression::Zstd => return zstd(data, into, heap_bytes),
        _ => return Err(KernelFileError::Unsupported(compression)),
    };
    done.ok_or(KernelFileError::Damaged(compression))
}

fn copy(data: &[u8], into: &mut [u8]) -> Option<usize> {
    into.get_mut(..data.len())?.copy_from_slice(data);
    Some(data.len())
}

/// **Source:** RFC 1952, 2.3.
#[inline(never)]
fn gzip(data: &[u8], into: &mut [u8]) -> Option<usize> {
    const HEADER_CHECKSUM: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let flags = *data.get(3)?;
    let mut rest = data.get(10..)?;
    if flags & EXTRA != 0 {
        let (length, after) = rest.split_first_chunk::<2>()?;
        rest = after.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = rest.get(end..)?.get(1..)?;
        }
    }
    if flags & HEADER_CHECKSUM != 0 {
        rest = rest.get(2..)?;
    }
    miniz_oxide::inflate::decompress_slice_iter_to_slice(into, core::iter::once(rest), false, true).ok()
}

#[inline(never)]
fn xz(data: &[u8], into: &mut [u8], work: &mut [u8]) -> Option<usize> {
    let mut decoder = Box::new(XzDecoder::with_fixed_size_dict(work));
    let (mut rest, mut done) = (data, 0);
    loop {
        let (taken, made, end) = match decoder.decode(rest, into.get_mut(done..)?).ok()? {
            XzNextBlockResult::NeedMoreData(taken, made) => (taken, made, false),
            XzNextBlockResult::EndOfStream(taken, made) => (taken, made, true),
        };
        rest = rest.get(taken..)?;
        done += made;
        if end {
            return Some(done);
        }
        if taken == 0 && made == 0 {
            return None;
        }
    }
}

/// The old format, which Linux's build makes: blocks with their length before them.
/// **Source:** LZ4's `lz4_Frame_format.md`, "Legacy frame".
#[inline(never)]
fn lz4(data: &[u8], into: &mut [u8]) -> Option<usize> {
    let mut rest = data.get(4..)?;
    let mut done = 0;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (block, next) = after.split_at_checked(length)?;
        let room = into.get_mut(done..)?;
        let most = room.len().min(LZ4_BLOCK);
        done += lz4_flex::block::decompress_into(block, room.get_mut(..most)?).ok()?;
        rest = next;
    }
    rest.is_empty().then_some(done)
}

#[inline(never)]
fn zstd(data: &[u8], into: &mut [u8], heap_bytes: usize) -> Result<usize, KernelFileError> {
    use ruzstd::decoding::errors::FrameDecoderError;
    let mut decoder = FrameDecoder::new();
    // The window is doubled at most while it grows.
    let room = heap_bytes.saturating_sub(ZSTD_TABLES);
    decoder.set_max_window_size(room as u64);
    decoder.decode_all(data, into).map_err(|error| match error {
        FrameDecoderError::WindowSizeTooBig { .. } => KernelFileError::NoMemory(Compression::Zstd),
        FrameDecoderError::TargetTooSmall => KernelFileError::WrongLength,
        _ => KernelFileError::Damaged(Compression::Zstd),
    })
}
