//! XZ files as Linux's build makes them: one block, the filter for x86 code or none, a CRC-32.
//!
//! **Source:** the .xz file format 1.2.1.

use super::branch_filter;
use super::lzma2::{self, Damaged};

const MAGIC: [u8; 6] = [0xfd, b'7', b'z', b'X', b'Z', 0];
const STREAM_HEADER: usize = 12;
/// The check is a CRC-32.
const FLAGS: [u8; 2] = [0, 1];
const FOOTER_MAGIC: [u8; 2] = *b"YZ";
/// The identifiers of filters, each with the length of its properties.
const LZMA2: [u8; 2] = [0x21, 1];
const X86: [u8; 2] = [0x04, 0];

/// A file of this form.
pub(super) struct SimpleXz<'a> {
    /// The LZMA2 data and what follows.
    packed: &'a [u8],
    /// How long what comes before is, in the block.
    header: usize,
    is_filtered: bool,
}

impl<'a> SimpleXz<'a> {
    /// Looks at the headers; none for another form, or a damaged one.
    pub(super) fn open(data: &'a [u8]) -> Option<Self> {
        let (stream, block) = data.split_first_chunk::<STREAM_HEADER>()?;
        let [magic @ .., f0, f1, c0, c1, c2, c3] = *stream;
        if magic != MAGIC || [f0, f1] != FLAGS || crc32fast::hash(&FLAGS).to_le_bytes() != [c0, c1, c2, c3] {
            return None;
        }
        let header = (usize::from(*block.first()?) + 1) * 4;
        let (described, packed) = block.split_at_checked(header)?;
        let (described, check) = described.split_last_chunk::<4>()?;
        if crc32fast::hash(described).to_le_bytes() != *check {
            return None;
        }
        // Sizes that stand in the header, which Linux's build leaves out, are another form.
        let (is_filtered, filters) = match described {
            [_, 0, filters @ ..] => (false, filters),
            [_, 1, id, length, filters @ ..] if [*id, *length] == X86 => (true, filters),
            _ => return None,
        };
        let [id, length, _dictionary, padding @ ..] = filters else { return None };
        let known = [*id, *length] == LZMA2 && padding.iter().all(|byte| *byte == 0);
        known.then_some(Self { packed, header, is_filtered })
    }

    /// Unpacks it, and gives how many bytes that made.
    ///
    /// **Errors:** `Damaged`.
    pub(super) fn unpack(&self, into: &mut [u8]) -> Result<usize, Damaged> {
        let (read, made) = lzma2::unpack(self.packed, into)?;
        let unpacked = into.get_mut(..made).ok_or(Damaged)?;
        if self.is_filtered {
            branch_filter::undo(unpacked);
        }
        let after = self.packed.get(read.next_multiple_of(4)..).ok_or(Damaged)?;
        let padding = self.packed.get(read..read.next_multiple_of(4)).ok_or(Damaged)?;
        let (check, after) = after.split_first_chunk::<4>().ok_or(Damaged)?;
        let sound = padding.iter().all(|byte| *byte == 0) && *check == crc32fast::hash(unpacked).to_le_bytes();
        let unpadded = (self.header + read + check.len()) as u64;
        if sound && is_end(after, unpadded, made as u64) { Ok(made) } else { Err(Damaged) }
    }
}

/// Whether the index names one block of these sizes and the footer follows.
fn is_end(after: &[u8], unpadded: u64, unpacked: u64) -> bool {
    let sizes = || {
        let after = after.strip_prefix(&[0, 1])?;
        let (first, after) = number(after)?;
        let (second, rest) = number(after)?;
        Some((first, second, rest.len()))
    };
    let Some((first, second, rest)) = sizes() else { return false };
    let index = (after.len() - rest).next_multiple_of(4);
    let footer = after.get(index..).and_then(|rest| rest.get(4..));
    let index_is_sound = after
        .get(..index)
        .zip(after.get(index..))
        .is_some_and(|(index, check)| check.first_chunk() == Some(&crc32fast::hash(index).to_le_bytes()));
    let footer_is_there = footer.and_then(<[u8]>::first_chunk::<STREAM_HEADER>).is_some_and(|footer| {
        let [check @ .., s0, s1, s2, s3, f0, f1, m0, m1] = *footer;
        let covered = [s0, s1, s2, s3, f0, f1];
        [m0, m1] == FOOTER_MAGIC && [f0, f1] == FLAGS && check == crc32fast::hash(&covered).to_le_bytes()
    });
    (first, second) == (unpadded, unpacked) && index_is_sound && footer_is_there
}

/// A number of up to nine bytes, seven bits each, lowest first.
fn number(data: &[u8]) -> Option<(u64, &[u8])> {
    let end = data.iter().take(9).position(|byte| byte & 0x80 == 0)?;
    let (bytes, rest) = data.split_at_checked(end + 1)?;
    let value = bytes.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, rest))
}
