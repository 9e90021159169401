//! Decompression, by crates that do it without a standard library.

use alloc::boxed::Box;

use lzma_rust2::{Action, Status, XzStream};

use super::{Compression, KernelFileError, zstd};

/// What the decoder of XZ needs beside its window, roughly.
const XZ_TABLES: usize = 1 << 20;
/// The blocks of LZ4's old format unpack to at most this much.
const LZ4_BLOCK: usize = 8 << 20;

/// Unpacks `data` and returns how many bytes that made.
///
/// Each form has a function that is never inlined: together their tables would not fit the hypervisor's stack.
pub(super) fn unpack(
    compression: Compression,
    data: &[u8],
    into: &mut [u8],
    heap_bytes: usize,
) -> Result<usize, KernelFileError> {
    let done = match compression {
        Compression::None => copy(data, into),
        Compression::Gzip => gzip(data, into),
        Compression::Xz => return xz(data, into, heap_bytes),
        Compression::Lz4 => lz4(data, into),
        Compression::Zstd => return zstd::unpack(data, into, heap_bytes),
        _ => return Err(KernelFileError::Unsupported(compression)),
    };
    done.ok_or(KernelFileError::Damaged(compression))
}

fn copy(data: &[u8], into: &mut [u8]) -> Option<usize> {
    into.get_mut(..data.len())?.copy_from_slice(data);
    Some(data.len())
}

/// Unpacks gzip's format. **Source:** RFC 1952, 2.3.
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
#[expect(clippy::disallowed_methods, reason = "only at boot: without room for it no kernel can be unpacked")]
fn xz(data: &[u8], into: &mut [u8], heap_bytes: usize) -> Result<usize, KernelFileError> {
    let mut stream = Box::new(XzStream::new_mem_limit(false, kib(window_limit(heap_bytes))));
    let mut done = 0_usize;
    // Without room for another byte the decoder would not look whether the file ends here.
    let mut beyond = [0];
    loop {
        // Also where it stopped for the limit it has taken something.
        let taken = usize::try_from(stream.total_in()).unwrap_or(usize::MAX);
        let rest = data.get(taken..).unwrap_or_default();
        let room = into.get_mut(done..).filter(|room| !room.is_empty()).unwrap_or(&mut beyond);
        let Ok(step) = stream.process(rest, room, Action::Finish) else {
            let stated = stream.memory_usage().filter(|stated| *stated > stream.mem_limit());
            if stated.is_none() {
                return Err(KernelFileError::Damaged(Compression::Xz));
            }
            // The window grows with what was unpacked, whatever the file says of it.
            if into.len() > window_limit(heap_bytes) {
                return Err(KernelFileError::NoMemory(Compression::Xz));
            }
            stream.set_mem_limit(u32::MAX);
            continue;
        };
        done = done.saturating_add(step.bytes_produced);
        if done > into.len() {
            return Err(KernelFileError::WrongLength);
        }
        if step.status == Status::StreamEnd {
            return Ok(done);
        }
        if step.bytes_consumed == 0 && step.bytes_produced == 0 {
            return Err(KernelFileError::Damaged(Compression::Xz));
        }
    }
}

/// Returns how long a window may become where `heap_bytes` of the heap may be used: it is doubled while it grows, so
/// there are one and a half of it for a while.
const fn window_limit(heap_bytes: usize) -> usize {
    (heap_bytes.saturating_sub(XZ_TABLES) / 3).saturating_mul(2)
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes / 1024).unwrap_or(u32::MAX)
}

/// Unpacks LZ4's legacy format, which Linux's build makes: blocks with their length before them. **Source:** LZ4's
/// `lz4_Frame_format.md`, "Legacy frame".
#[inline(never)]
fn lz4(data: &[u8], into: &mut [u8]) -> Option<usize> {
    let mut rest = data.get(4..)?;
    let mut done = 0;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (block, next) = after.split_at_checked(length)?;
        let room = into.get_mut(done..)?;
        let most = room.len().min(LZ4_BLOCK);
        done = done.checked_add(lz4_flex::block::decompress_into(block, room.get_mut(..most)?).ok()?)?;
        rest = next;
    }
    rest.is_empty().then_some(done)
}
