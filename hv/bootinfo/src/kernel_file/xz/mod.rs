//! Unpacking XZ straight to where the result belongs.
//!
//! The result itself is the window that references lead back into; so nothing is copied, and nothing but a few
//! kilobytes of tables comes from the heap. Only what Linux's own unpacker knows is known here, because only what it
//! unpacks is found in a bzImage: blocks of LZMA2, behind the filter for x86 code or not, with a CRC-32 or without a
//! check.
//!
//! **Source:** the .xz file format 1.2.1.

mod lzma2;
mod range_decoder;
mod x86_branches;

/// Blocks, their padding and their headers are multiples of this.
const ALIGNMENT: usize = 4;

/// What a block was packed with.
struct Filters {
    x86: bool,
}

/// Unpacks `data` to `into` and gives how many bytes that made. None when the data are damaged, or make more.
#[inline(never)]
pub fn unpack(data: &[u8], into: &mut [u8]) -> Option<usize> {
    let has_check = stream_header(data.first_chunk()?)?;
    let (mut rest, mut made) = (data.get(12..)?, 0);
    loop {
        // The index follows the last block. It repeats lengths, of which none is missed.
        if *rest.first()? == 0 {
            return Some(made);
        }
        let (filters, after) = block_header(rest)?;
        let (after, end) = lzma2::unpack(after, into, made)?;
        let block = into.get_mut(made..end)?;
        if filters.x86 {
            x86_branches::undo(block);
        }
        let taken = rest.len() - after.len();
        rest = rest.get(taken.next_multiple_of(ALIGNMENT)..)?;
        if has_check {
            let (check, after) = rest.split_first_chunk()?;
            (crc32fast::hash(block) == u32::from_le_bytes(*check)).then_some(())?;
            rest = after;
        }
        made = end;
    }
}

/// Whether a CRC-32 follows each block. **Source:** 2.1.1.
fn stream_header(header: &[u8; 12]) -> Option<bool> {
    const NONE: u8 = 0;
    const CRC32: u8 = 1;
    let [_, _, _, _, _, _, zero, check, crc @ ..] = *header;
    let is_sound = zero == 0 && crc32fast::hash(&[zero, check]) == u32::from_le_bytes(crc);
    (is_sound && matches!(check, NONE | CRC32)).then_some(check == CRC32)
}

/// What the next block was packed with, and what follows its header. **Source:** 3.1.
fn block_header(data: &[u8]) -> Option<(Filters, &[u8])> {
    const SIZES: [u8; 2] = [0x40, 0x80];
    const FILTERS: u8 = 3;
    const X86: u8 = 4;
    const LZMA2: u8 = 0x21;
    let length = (usize::from(*data.first()?) + 1) * ALIGNMENT;
    let (header, after) = data.split_at_checked(length)?;
    let (header, crc) = header.split_last_chunk::<4>()?;
    (crc32fast::hash(header) == u32::from_le_bytes(*crc)).then_some(())?;
    let [_, flags, rest @ ..] = header else { return None };
    let mut rest = rest;
    for size in SIZES {
        if flags & size != 0 {
            // A number of several bytes: the last one has its highest bit clear.
            let end = rest.iter().position(|byte| byte & 0x80 == 0)?;
            rest = rest.get(end..)?.get(1..)?;
        }
    }
    match (flags & FILTERS, rest) {
        (0, [LZMA2, 1, _, ..]) => Some((Filters { x86: false }, after)),
        (1, [X86, 0, LZMA2, 1, _, ..]) => Some((Filters { x86: true }, after)),
        _ => None,
    }
}
