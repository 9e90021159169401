//! The ELF file: its segments, and the note that says where a PVH kernel is entered. Every header is taken for a claim.

use std::ops::Range;

use object::Endianness;
use object::elf::{FileHeader32, FileHeader64, PT_LOAD, PT_NOTE};
use object::read::elf::{FileHeader, ProgramHeader};
use xen_abi::elfnote::{ELFNOTE_NAME, XEN_ELFNOTE_PHYS32_ENTRY};

use super::{KernelError, Segment};

/// The most segments that are loaded; Linux has 5.
const SEGMENTS_MAX: usize = 64;

/// Everything that is loaded lies below this guest physical address: the entry is 32-bit code.
const ADDRESS_MAX: u64 = 1 << 32;

/// Returns the segments in rising order, and the entry.
///
/// **Errors:** [`KernelError::Header`], [`KernelError::NoEntry`], [`KernelError::Unknown`].
pub fn read(image: &[u8]) -> Result<(Vec<Segment>, u32), KernelError> {
    const CLASS: usize = 4;
    match image.get(CLASS) {
        Some(1) => read_class::<FileHeader32<Endianness>>(image),
        Some(2) => read_class::<FileHeader64<Endianness>>(image),
        _ => Err(KernelError::Unknown),
    }
}

fn header(error: object::Error) -> KernelError {
    KernelError::Header(error.to_string())
}

fn read_class<Elf: FileHeader<Endian = Endianness>>(image: &[u8]) -> Result<(Vec<Segment>, u32), KernelError> {
    let file = Elf::parse(image).map_err(header)?;
    let endian = file.endian().map_err(header)?;
    let headers = file.program_headers(endian, image).map_err(header)?;
    let loads = |header: &&Elf::ProgramHeader| {
        header.p_type(endian) == PT_LOAD && Into::<u64>::into(header.p_memsz(endian)) > 0
    };
    if headers.iter().filter(loads).count() > SEGMENTS_MAX {
        return Err(KernelError::Header(format!("more than {SEGMENTS_MAX} segments are to be loaded")));
    }
    let segments: Result<Vec<Segment>, KernelError> =
        headers.iter().filter(loads).map(|header| segment(header, endian, image)).collect();
    let mut segments = segments?;
    segments.sort_by_key(|segment| segment.address);
    if let Some([one, other]) = segments.array_windows().find(|[one, other]| one.end() > other.address) {
        return Err(KernelError::Header(format!("segments overlap at {:#x} and {:#x}", one.address, other.address)));
    }
    let mut entry = None;
    for header in headers.iter().filter(|header| header.p_type(endian) == PT_NOTE) {
        entry = entry.or(entry_note::<Elf>(header, endian, image)?);
    }
    let entry = entry.ok_or(KernelError::NoEntry)?;
    let place = u64::from(entry);
    if !segments.iter().any(|segment| segment.address <= place && place < segment.end()) {
        return Err(KernelError::Header(format!("the entry {entry:#x} lies in no segment")));
    }
    Ok((segments, entry))
}

fn segment<Header: ProgramHeader<Endian = Endianness>>(
    header: &Header,
    endian: Endianness,
    image: &[u8],
) -> Result<Segment, KernelError> {
    let (address, memory) = (header.p_paddr(endian).into(), header.p_memsz(endian).into());
    let (offset, size): (u64, u64) = (header.p_offset(endian).into(), header.p_filesz(endian).into());
    let broken = |what: &str| Err(KernelError::Header(format!("the segment at {address:#x} {what}")));
    if size > memory {
        return broken("is longer in the file than in memory");
    }
    if address.checked_add(memory).is_none_or(|end| end > ADDRESS_MAX) {
        return broken("does not end below 4 GiB");
    }
    let Some(file) = range(offset, size).filter(|range| range.end <= image.len()) else {
        return broken("lies outside of the file");
    };
    Ok(Segment { address, file, memory })
}

fn range(start: u64, length: u64) -> Option<Range<usize>> {
    let end = start.checked_add(length)?;
    Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

/// Returns the entry that a note segment tells of.
///
/// **Errors:** [`KernelError::Header`] if the notes are broken.
fn entry_note<Elf: FileHeader<Endian = Endianness>>(
    header: &Elf::ProgramHeader,
    endian: Endianness,
    image: &[u8],
) -> Result<Option<u32>, KernelError> {
    let Some(mut notes) = header.notes(endian, image).map_err(self::header)? else { return Ok(None) };
    let name = ELFNOTE_NAME.strip_suffix(&[0]).unwrap_or(ELFNOTE_NAME);
    while let Some(note) = notes.next().map_err(self::header)? {
        if note.name() != name || note.n_type(endian).0 != XEN_ELFNOTE_PHYS32_ENTRY {
            continue;
        }
        let entry = match *note.desc() {
            [a, b, c, d] => Some(u32::from_le_bytes([a, b, c, d])),
            [a, b, c, d, 0, 0, 0, 0] => Some(u32::from_le_bytes([a, b, c, d])),
            _ => None,
        };
        return entry.map(Some).ok_or_else(|| KernelError::Header("the PVH entry is no address of 32 bits".into()));
    }
    Ok(None)
}
