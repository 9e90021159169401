//! Zstandard. What was unpacked is its own window.
//!
//! A frame says how far back it may refer: 128 MiB as Linux's build packs it. A decoder that hands its output on must
//! keep that much beside it; here the output stays where it is, in one piece, so nothing is kept twice. The decoder gets
//! the output's memory as its history, and a header that says as much: one segment, as long as the kernel.
//!
//! **Source:** RFC 8878, 3.1.1.1.

use alloc::vec::Vec;

use zstd_zero::{
    DecodeError, Decoder, DecoderBuffers, FSE_ENTRIES, FSE_SCRATCH_LEN, FseEntry, HUFFMAN_ENTRIES, HuffmanEntry,
    MAX_BLOCK_SIZE, StreamError,
};

use super::{Compression, KernelFileError};

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Bits of the frame header's descriptor.
const CHECKSUM: u8 = 1 << 2;
const RESERVED: u8 = 1 << 3;
const SINGLE_SEGMENT: u8 = 1 << 5;
/// Four bytes of length follow.
const LONG_LENGTH: u8 = 2 << 6;
/// What the decoder needs beside its history: a block, its literals, and tables.
const WORKSPACE: usize = 2 * MAX_BLOCK_SIZE
    + FSE_SCRATCH_LEN * size_of::<i16>()
    + FSE_ENTRIES * size_of::<FseEntry>()
    + HUFFMAN_ENTRIES * size_of::<HuffmanEntry>();

const DAMAGED: KernelFileError = KernelFileError::Damaged(Compression::Zstd);
const NO_MEMORY: KernelFileError = KernelFileError::NoMemory(Compression::Zstd);

/// What a frame's header says.
#[derive(Debug, PartialEq, Eq)]
struct Frame<'a> {
    has_checksum: bool,
    /// How many bytes it unpacks to, where it says so.
    length: Option<u64>,
    /// The blocks, and the checksum behind them.
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the header of a frame that needs no dictionary; none where there is no such header.
    fn parse(data: &'a [u8]) -> Option<Self> {
        let (&descriptor, rest) = data.strip_prefix(&MAGIC)?.split_first()?;
        let is_single = descriptor & SINGLE_SEGMENT != 0;
        let rest = if is_single { rest } else { rest.get(1..)? };
        let dictionary_bytes = match descriptor & 3 {
            3 => 4,
            bytes => usize::from(bytes),
        };
        let (dictionary, rest) = rest.split_at_checked(dictionary_bytes)?;
        if descriptor & RESERVED != 0 || dictionary.iter().any(|byte| *byte != 0) {
            return None;
        }
        let (length, body) = match descriptor >> 6 {
            0 if is_single => rest.split_first().map(|(length, body)| (Some(u64::from(*length)), body))?,
            0 => (None, rest),
            // Of two bytes: those below 256 have the short form.
            1 => rest
                .split_first_chunk()
                .map(|(length, body)| (Some(u64::from(u16::from_le_bytes(*length)).saturating_add(256)), body))?,
            2 => rest.split_first_chunk().map(|(length, body)| (Some(u32::from_le_bytes(*length).into()), body))?,
            _ => rest.split_first_chunk().map(|(length, body)| (Some(u64::from_le_bytes(*length)), body))?,
        };
        Some(Self { has_checksum: descriptor & CHECKSUM != 0, length, body })
    }
}

/// Unpacks the frame in `data` to `into`, which it must fill, and returns how many bytes that made. The heap lends a
/// constant few hundred KiB, whatever the frame says of its window.
///
/// **Errors:** `Damaged`; `WrongLength`; `NoMemory` where not even that can be had, or may be (`heap_bytes`).
#[inline(never)]
pub(super) fn unpack(data: &[u8], into: &mut [u8], heap_bytes: usize) -> Result<usize, KernelFileError> {
    if heap_bytes < WORKSPACE {
        return Err(NO_MEMORY);
    }
    let frame = Frame::parse(data).ok_or(DAMAGED)?;
    let length = u32::try_from(into.len()).map_err(|_| KernelFileError::WrongLength)?;
    if frame.length.is_some_and(|stated| stated != u64::from(length)) {
        return Err(KernelFileError::WrongLength);
    }
    let flags = if frame.has_checksum { CHECKSUM } else { 0 };
    let header = [&MAGIC[..], &[LONG_LENGTH | SINGLE_SEGMENT | flags], &length.to_le_bytes()];

    let (mut block, mut literals) = (filled(MAX_BLOCK_SIZE, 0)?, filled(MAX_BLOCK_SIZE, 0)?);
    let (mut fse_scratch, mut fse) = (filled(FSE_SCRATCH_LEN, 0)?, filled(FSE_ENTRIES, FseEntry::new())?);
    let mut huffman = filled(HUFFMAN_ENTRIES, HuffmanEntry::default())?;
    let room = into.len();
    let mut decoder = Decoder::new(DecoderBuffers {
        fse_scratch: &mut fse_scratch,
        fse: &mut fse,
        huffman: &mut huffman,
        history: into,
        block: &mut block,
        literals: &mut literals,
    })
    .map_err(|_| DAMAGED)?;
    let mut done = 0_usize;
    let mut count = |bytes: &[u8]| {
        done = done.saturating_add(bytes.len());
        if done <= room { Ok(()) } else { Err(KernelFileError::WrongLength) }
    };
    for part in header.into_iter().chain([frame.body]) {
        decoder.push(part, &mut count).map_err(fault)?;
    }
    decoder.finish_with(&mut count).map_err(fault)?;
    Ok(done)
}

fn fault(error: StreamError<KernelFileError>) -> KernelFileError {
    match error {
        StreamError::Output(error) => error,
        StreamError::Decode(DecodeError::ContentSizeMismatch { .. }) => KernelFileError::WrongLength,
        StreamError::Decode(_) | StreamError::DecoderStalled => DAMAGED,
    }
}

/// Allocates a vector of `length` copies of `value`.
///
/// **Errors:** `NoMemory`.
#[expect(clippy::disallowed_methods, reason = "there is room: it was made just before")]
fn filled<T: Clone>(length: usize, value: T) -> Result<Vec<T>, KernelFileError> {
    let mut values = Vec::new();
    values.try_reserve_exact(length).map_err(|_| NO_MEMORY)?;
    values.resize(length, value);
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(header: &[u8]) -> Vec<u8> {
        [&MAGIC[..], header].concat()
    }

    #[test]
    fn every_form_of_the_header_is_read() {
        let length = |header: &[u8]| Frame::parse(&frame(header)).map(|frame| (frame.length, frame.body.len()));
        assert_eq!(length(&[0x00, 0x88, 1]), Some((None, 1)));
        assert_eq!(length(&[0x20, 7, 1, 2]), Some((Some(7), 2)));
        assert_eq!(length(&[0x60, 1, 0]), Some((Some(257), 0)));
        assert_eq!(length(&[0x40, 0x88, 1, 0]), Some((Some(257), 0)));
        assert_eq!(length(&[0xa0, 1, 0, 1, 0]), Some((Some(0x1_0001), 0)));
        assert_eq!(length(&[0xe0, 1, 0, 0, 0, 1, 0, 0, 0]), Some((Some(0x1_0000_0001), 0)));
        assert_eq!(length(&[0x23, 0, 0, 0, 0, 7]), Some((Some(7), 0)));
    }

    #[test]
    fn a_header_that_ends_early_or_wants_a_dictionary_is_none() {
        for header in [&[][..], &[0x00], &[0xa0, 1, 0, 0], &[0x21, 1, 7], &[0x28, 7], &[0x23, 0, 0, 0]] {
            assert_eq!(Frame::parse(&frame(header)), None, "{header:x?}");
        }
        assert_eq!(Frame::parse(b"\x28\xb5\x2f"), None);
    }
}
